"""`wsc-ray init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Option, command
from wsc_ray.recipe.sections import DEFAULT_RECIPE


def _describe(path: Any, dry_run: bool) -> str:
    return f"wrote {path}; set data.manifest in it, then: wsc-ray pretrain"


@command("init", writes="`wsc-ray.yaml`", describe=_describe)
def init(*, out: Annotated[str | Path, Option("File to write.", metavar="FILE", kind="path")] = DEFAULT_RECIPE) -> Path:
    """Write a recipe with every setting explained.

    Every setting has its default. The defaults of training are the paper's, except that of loss.similarity_warmup.

    Returns:
        The file's path.

    Raises:
        RunFolderError: the file exists already.
    """
    from wsc_ray.recipe.template import write_template

    return write_template(out)
