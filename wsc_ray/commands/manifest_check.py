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
    sample: Annotated[int, Option("Images to decode otherwise.", least=0)] = 1000,
    seed: Annotated[int, Option("Seed of the sample.", least=0)] = 0,
    features: Annotated[
        str | Path | None,
        Option(
            "Features of the manifest's patches; slides of different patients must not be copies by them.",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    out: Annotated[
        str | Path | None, Option("Folder for the report, as summary.json.", metavar="DIR", kind="path")
    ] = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Count what a manifest holds, or fail naming its wrong rows.

    It fails where the manifest could not be trained on honestly.

    Returns:
        `patches`, `slides`, `patients`, `splits` (split -> label -> the same three), `images_decoded`, `digest`.

    Raises:
        ManifestError: the manifest cannot be opened, or has problems; all of them are listed and name rows, from 0. Or patients
            share near-duplicates; they are named.
        DataError: the features cannot be used.
    """
    from wsc_ray.manifest.check import check_manifest

    def compare() -> dict[str, Any]:
        if features is None:
            return {}
        from wsc_ray.neighbours.check import refuse_copies

        return refuse_copies(features)

    return check_manifest(manifest=manifest, all=all, sample=sample, seed=seed, out=out, also=compare)
