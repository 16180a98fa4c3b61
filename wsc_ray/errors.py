"""What a user can do wrong: one class each, one sentence that says what to do.

The command line prints the sentence and exits with status 2; Python callers catch `UserError`.
Anything else that is raised is our own mistake and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

from wsc_ray.uris import without_secrets


class UserError(ValueError):
    """Something only the user can mend; `str(error)` is the whole message, in which URIs have no secrets."""

    exit_status = 2

    def __init__(self, sentence: str):
        super().__init__(without_secrets(str(sentence)))


class RecipeError(UserError):
    """A recipe with unknown keys, wrong types or impossible combinations, listed together."""

    LISTED = 50

    def __init__(self, source: str, problems: Sequence[str]):
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems):,} problems"
        lines = [f"  {problem}" for problem in self.problems[: self.LISTED]]
        if len(self.problems) > self.LISTED:
            lines.append(f"  and {len(self.problems) - self.LISTED:,} more")
        super().__init__("\n".join([f"{source}: {count}", *lines]))


class ManifestError(UserError):
    """A manifest, or a table to import as one, that cannot be used as it is."""


class PlaceError(UserError):
    """A path or URI that no file can have."""


class DataError(UserError):
    """Pixels or features that are missing, unreadable or too few for what was asked."""


class RunFolderError(UserError):
    """A run folder that is taken, missing, of another run or not yet far enough."""


class ResourceError(UserError):
    """Fewer CPUs, GPUs or other means than the recipe asks for."""


class WeightsError(UserError):
    """Encoder weights that cannot be found, fetched or fitted to the backbone."""


class PluginError(UserError):
    """A plug-in that cannot be imported."""


class TrackingError(UserError):
    """An MLflow store that cannot be reached or written."""


class CollapseError(UserError):
    """Training that was told to stop when all features became one point, and they did."""


class BadInputError(DataError):
    """More unreadable patches than the recipe allows."""


class ClusterError(UserError):
    """A cluster that does not answer, wants a token, is not fit for the run, or has no such job."""


class JobError(UserError):
    """A job on a cluster that did not end well, or that is no longer followed.

    `exit_status` is what the command that followed it ends with: the job's own where it has one.
    """

    def __init__(self, sentence: str, *, exit_status: int = 1):
        self.exit_status = exit_status
        super().__init__(sentence)
