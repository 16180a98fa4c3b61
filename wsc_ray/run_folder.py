"""The run folder: the contract between commands. `pretrain --out RUN` starts one, the later commands fill it.

RUN is a local path or a URI (`s3://bucket/runs/a`).

RUN/
  recipe.yaml          the resolved recipe
  identity.json        format, versions, manifest and its digest, digest of the recipe's training part
  mlflow.json          the MLflow store and run of this command (each command's folder has its own)
  mlflow.db            the MLflow store of a run on an object store, where no other is configured
  metrics.jsonl        a line each `log_every` steps
  quarantine.parquet   patches that could not be read; samples/: with stream.record, what was fed to the model
  ending.json          why the run ended early, where it is the user's to mend
  cluster.json         of a run on a cluster: jobs, nodes, versions
  checkpoints/         Ray Train's: checkpoint_<step>/ with model.safetensors, trainer.pt, state.json
  encoder/             model.safetensors and config.json, as timm loads them; written when training is complete
  ledger.jsonl         a line each time that test slides were looked at
  summary.json
  steps.json           of `wsc-ray run`: how far it has come
  features/            <slide>.h5 (TRIDENT's datasets and attributes), slides.parquet, summary.json
  mil/                 the chosen head (model.safetensors, config.json), members/, trials.csv, summary.json
  probe/               neighbours.csv, linear.csv, summary.json
  evaluate/            predictions.csv, member_predictions.csv, confusion.csv, summary.json
  predict/             predictions.csv, attention/, geojson/, summary.json; manifest/ and features/ of new slides
"""

from __future__ import annotations

from typing import Any, final

from wsc_ray import checksums
from wsc_ray.errors import RunFolderError
from wsc_ray.files import atomic, first_line, local_file, read_json
from wsc_ray.storage import AnyPath, as_path

FORMAT = 1
STEPS = ("pretrain", "embed", "tune", "evaluate")  # of `wsc-ray run`
STEPS_FILE = "steps.json"
IDENTITY = "identity.json"  # in every folder that a command writes: whose it is, and what work it holds
OLDER_IDENTITIES = {  # what that file was called, by command
    "demo": "demo.json",
    "embed": "embed.json",
    "evaluate": "predictions.csv",
    "pretrain": "run.json",
    "tile": "tile.json",
    "tune": "search.json",
}


@final
class RunFolder:
    """Paths of one run; nothing is created by naming them."""

    def __init__(self, path: str | AnyPath):
        self.path = as_path(path)
        self.recipe = self.path / "recipe.yaml"
        self.info = self.path / IDENTITY
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.features = self.path / "features"
        self.mil = self.path / "mil"
        self.evaluate = self.path / "evaluate"

    def write_recipe(self, text: str) -> None:
        """Keep the resolved recipe, with a checksum in its first line."""
        with atomic(self.recipe, checksum=True) as temporary:
            temporary.write_text(f"# {checksums.KEY}: {checksums.ZEROS}\n{text}", encoding="utf-8")

    def checked_recipe(self) -> AnyPath:
        """Return the path of the run's recipe, if it is as it was written.

        Raises:
            RunFolderError: it is damaged.
        """
        try:
            with local_file(self.recipe) as local:
                checksums.check(local)
                if not local.stat().st_size:
                    raise ValueError("it is empty")
        except FileNotFoundError:
            pass  # whoever reads it says so
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self.recipe} cannot be used: {first_line(error)}; if the change is yours, delete its first line, or give another "
                "recipe"
            ) from None
        return self.recipe

    def read_info(self) -> dict[str, Any]:
        """Return what the run is: format, versions, manifest and its digest, the part of the recipe that decides the weights.

        Raises:
            RunFolderError: the folder is no run folder, or of a newer format.
        """
        try:
            older = self.path / OLDER_IDENTITIES["pretrain"]
            path = self.info if self.info.is_file() else older
            info = read_json(path)
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.path} is not a run folder: it has no readable identity.json; `wsc-ray pretrain --out` makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self.path} is not a run folder: {path.name} cannot be read: {first_line(error)}; restore it, or make a new run"
            ) from None
        if info.get("format") != FORMAT:
            raise RunFolderError(
                f"{self.path} is a run folder of another format than {FORMAT}; use the wsc-ray that wrote it"
            )
        return info


def step_of(run: str | AnyPath) -> str | None:
    """Return the step at which `wsc-ray run` stands in a folder; None if all are complete.

    Raises:
        OSError: the folder cannot be read from here.
        ValueError, KeyError: the file is damaged, or holds something else.
    """
    try:
        return read_json(as_path(run) / STEPS_FILE)["step"]
    except FileNotFoundError:
        return STEPS[0]
