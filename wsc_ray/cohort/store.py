"""Write and read `slides.parquet`: the file of a cohort, in the folder of its manifest or of its features.

It has the columns `slide_id` and `patient_id` (text), then `label` and other targets, `split` or folds (text), and other
facts of slides. The file's metadata holds the format version.
"""

from __future__ import annotations

import pyarrow as pa

import wsc_ray
from wsc_ray.cohort.cohort import KEYS, Cohort, make_cohort
from wsc_ray.cohort.problems import find_problems
from wsc_ray.errors import ManifestError
from wsc_ray.files import first_line, read_table, write_table
from wsc_ray.storage import AnyPath, as_path

COHORT_FILE = "slides.parquet"
FORMAT = 1
_FORMAT_KEY, _CREATOR_KEY = b"wsc_ray.cohort", b"wsc_ray.creator"


def write_cohort(folder: AnyPath, slides: pa.Table) -> Cohort:
    """Write a table of slides as `slides.parquet` in one step and return its cohort.

    Args:
        slides: see `Cohort.slides`.

    Raises:
        ManifestError: the table is not a cohort; every problem is listed.
    """
    path = folder / COHORT_FILE
    _raise(str(path), find_problems(slides))
    cohort = make_cohort(slides, str(path))
    metadata = {_FORMAT_KEY: str(FORMAT).encode(), _CREATOR_KEY: f"wsc-ray {wsc_ray.__version__}".encode()}
    write_table(path, cohort.slides.replace_schema_metadata(metadata))
    return cohort


def read_cohort(folder: str | AnyPath) -> Cohort | None:
    """Return the cohort of a folder; None where there is none.

    Raises:
        ManifestError: the file cannot be read, has a newer format, or holds no cohort; problems are listed.
    """
    path = as_path(folder) / COHORT_FILE
    if not path.is_file():
        return None
    try:
        slides = read_table(path)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {first_line(error)}; write it anew") from None
    version = (slides.schema.metadata or {}).get(_FORMAT_KEY, b"1")
    if not version.isdigit() or int(version) > FORMAT:
        raise ManifestError(
            f"{path} has format {version.decode(errors='replace')}, and this wsc-ray reads up to {FORMAT}"
        )
    if set(KEYS) <= set(slides.column_names):
        slides = slides.replace_schema_metadata(None)
    _raise(str(path), find_problems(slides))
    return make_cohort(slides, str(path))


def _raise(source: str, problems: list[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ManifestError(f"{source}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))
