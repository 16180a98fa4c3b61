"""Why a run ended early, where it is the user's to mend: a file that workers leave in the run folder.

Ray Train starts failed workers anew, which helps against a lost machine and not against a wrong manifest. So the worker
that finds a mistake writes it down; workers that are started after it see that and return at once, and the command says
it.
"""

from __future__ import annotations

from wsc_ray import errors
from wsc_ray.errors import RunFolderError, UserError
from wsc_ray.files import first_line, read_json, write_json
from wsc_ray.storage import AnyPath

ENDING = "ending.json"


def write(folder: AnyPath, mistake: UserError) -> None:
    """Write down why the run in this folder cannot go on."""
    write_json(folder / ENDING, {"error": type(mistake).__name__, "message": str(mistake)})


def read(folder: AnyPath) -> UserError | None:
    """What was written down, as the class that it was; None where nothing was."""
    try:
        found = read_json(folder / ENDING)
        error, message = str(found["error"]), str(found["message"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as reason:
        return RunFolderError(f"{folder / ENDING} cannot be read: {first_line(reason)}; type the command again")
    kind = getattr(errors, error, None)
    kind = kind if isinstance(kind, type) and issubclass(kind, UserError) else UserError
    return kind.__new__(kind, message)  # past constructors that build their message from parts


def clear(folder: AnyPath) -> None:
    """Forget it: the user has started the command again."""
    (folder / ENDING).unlink(missing_ok=True)
