"""`ending.json` in the run folder: the mistake of the user that ended a run early.

Ray Train restarts failed workers, which helps after the loss of a machine but not with a wrong manifest. The worker that
finds a mistake therefore writes it into this file. Workers that start later read it and return at once, and the command
raises it.
"""

from __future__ import annotations

from wsc_ray import errors
from wsc_ray.errors import RunFolderError, UserError
from wsc_ray.files import first_line, read_json, write_json
from wsc_ray.storage import AnyPath

ENDING = "ending.json"


def write(folder: AnyPath, mistake: UserError) -> None:
    """Write the mistake that keeps the run in this folder from going on."""
    write_json(folder / ENDING, {"error": type(mistake).__name__, "message": str(mistake)})


def read(folder: AnyPath) -> UserError | None:
    """Return the mistake in a run folder, with its own class; None where there is none."""
    try:
        content = read_json(folder / ENDING)
        error, message = str(content["error"]), str(content["message"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as reason:
        return RunFolderError(f"{folder / ENDING} cannot be read: {first_line(reason)}; type the command again")
    kind = getattr(errors, error, None)
    kind = kind if isinstance(kind, type) and issubclass(kind, UserError) else UserError
    return kind.__new__(kind, message)  # without `__init__`, since some build their message from parts


def clear(folder: AnyPath) -> None:
    """Delete the mistake, because the user has started the command again."""
    (folder / ENDING).unlink(missing_ok=True)
