"""`wsc-ray manifest check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command


@command(
    "manifest check",
    reads="manifest",
    sent=True,
    works_on="manifest",
    resources=lambda recipe: {"process": "1, on the head"},
)
def manifest_check(
    *,
    manifest: Annotated[str | Path, Option(metavar="MANIFEST", argument=True, kind="path")],
    all: Annotated[bool, Option("Decode every image.")] = False,
    sample: Annotated[int, Option("Without --all: largest number of images to decode.", least=0)] = 1000,
    seed: Annotated[int, Option("Seed of the sample.", least=0)] = 0,
    features: Annotated[
        str | Path | None,
        Option(
            "Features of the manifest's patches, to check that slides of different patients are not copies of each other.",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    out: Annotated[
        str | Path | None, Option("Folder for the report, summary.json.", metavar="DIR", kind="path")
    ] = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Check a manifest, and count its patches, slides and patients.

    The command fails and names the wrong rows if a training on the manifest would fail or not be honest.

    Returns:
        `patches`, `slides`, `patients`, `splits` (split -> label -> the same three), `images_decoded`, `digest`.

    Raises:
        ManifestError: the manifest cannot be opened or has problems, which are all listed with their rows, counted from 0; or
            patients share near-duplicates, which are named.
        DataError: the features cannot be used.
    """
    from wsc_ray.manifest.check import check_manifest

    def compare() -> dict[str, Any]:
        if features is None:
            return {}
        from wsc_ray.neighbours.check import refuse_copies

        return refuse_copies(features)

    return check_manifest(manifest=manifest, all=all, sample=sample, seed=seed, out=out, also=compare)
