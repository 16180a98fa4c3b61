"""The command line of `python -m benchmarks.duplicates`."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.command_line import Comparison, whole_numbers
from benchmarks.duplicates.copies import COLUMNS, make_encoder, search_copies, some_slides
from benchmarks.duplicates.page import page, table_of
from benchmarks.duplicates.size import QUERIES, measure, multiplied
from wsc_ray.bench.environment import commit, describe_machine, unquiet, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.errors import DataError
from wsc_ray.files import atomic
from wsc_ray.places import local_path

PROGRAM = "python -m benchmarks.duplicates"


@click.command(PROGRAM, cls=Comparison)
@click.argument("patches", metavar="TABLE")
@click.option("--encoder", required=True, metavar="ENCODER", help="Encoder, as `wsc-ray embed --encoder` takes it.")
@click.option("--size", type=click.IntRange(8), help="Side that patches are resized to, px.  [default: the encoder's]")
@click.option("--slides", type=click.IntRange(2), help="Slides of the table to use, drawn at random.  [default: all]")
@click.option("--copies", default=64, show_default=True, type=click.IntRange(1), help="Slides to copy.")
@click.option("--seed", default=0, show_default=True, help="Seed of the slides to copy, and of made-up features.")
@click.option("--many", metavar="N,N", help="Also measure the search among so many made-up patches, such as 1000000.")
@click.option("--queries", default=QUERIES, show_default=True, type=click.IntRange(1), help="Searches to time.")
@click.option("--markdown", metavar="FILE", help="File for the page.")
def main(patches: str, markdown: str | None, **options: Any) -> None:
    """Add copies of slides to a table of patches, and search for them.

    TABLE is a Parquet file with the columns slide_id, patient_id, x, y and image.
    """
    file = require_file(markdown) if markdown else None
    load = os.getloadavg()[0]
    counts = whole_numbers("many", options["many"]) if options["many"] else []
    found = measure_copies(patches, counts, **{name: value for name, value in options.items() if name != "many"})
    command = f"{PROGRAM} {patches}"
    summary = {**found, "remarks": unquiet(load, usable_cores()), "invocation": invocation(command, options, markdown)}
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary))
    click.echo(table_of(summary))


def measure_copies(
    patches: str,
    counts: list[int],
    *,
    encoder: str,
    size: int | None,
    slides: int | None,
    copies: int,
    seed: int,
    queries: int,
) -> dict[str, Any]:
    """Return the results, without the parts that only the page needs.

    Raises:
        DataError: the table cannot be read, or has too few slides.
        WeightsError: the encoder cannot be read.
    """
    started = time.monotonic()
    table = _read(patches)
    if slides is not None:
        table = some_slides(table, slides, seed)
    encode = make_encoder(encoder, size)
    results, vectors = search_copies(table, encode, copies, seed)
    count = len(set(table["slide_id"].to_pylist()))
    return {
        "copies": {what: asdict(each) for what, each in results.items()},
        "copied": copies,
        "patches": table.num_rows,
        "slides": count,
        "pairs": count * (count - 1) // 2,
        "sizes": [asdict(measure(multiplied(vectors, many, seed), queries, seed)) for many in counts],
        "machine": describe_machine(usable_cores()),
        "versions": versions(["wsc-ray", "faiss-cpu", "torch", "timm", "numpy"]),
        "commit": commit(),
        "seconds": round(time.monotonic() - started, 1),
    }


def _read(patches: str) -> pa.Table:
    path: Path = local_path(patches)
    try:
        return pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{patches} cannot be read as a table with {', '.join(COLUMNS)}: {error}") from None


if __name__ == "__main__":
    main()
