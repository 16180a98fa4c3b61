"""`wsc-ray embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Encoder, Option, Overrides, RecipeFile, Run, Where, command


def _resources(recipe: Any) -> dict[str, str]:
    return {"encoders": f"{recipe.embed.workers}, each up to 8 CPUs for decoding, and 1 GPU where the cluster has any"}


@command(
    "embed",
    reads="manifest or features, `RUN/encoder`",
    writes="`RUN/features`",
    sent=True,
    out_in_run="features",
    resources=_resources,
)
def embed(
    *,
    run: Run = None,
    encoder: Encoder = None,
    manifest: Annotated[
        str | None,
        Option(
            "Manifest of the patches to embed.  [default: the recipe's manifest]",
            metavar="DIR",
            kind="path",
            read="manifest",
        ),
    ] = None,
    features: Annotated[
        str | Path | None,
        Option(
            "Feature store to embed instead of a manifest, for an encoder that was trained on features.  [default: the recipe's]",
            metavar="DIR",
            kind="path",
            read="features",
        ),
    ] = None,
    out: Annotated[
        str | Path | None, Option("Folder for the features.  [default: RUN/features]", metavar="DIR", kind="path")
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    views: Annotated[
        int,
        Option(
            "Number of augmented views of each patch to embed too, for training on the features (data.features); the recipe's augment section makes the views.",
            metavar="K",
            least=0,
            most=256,
        ),
    ] = 0,
    fetch: Annotated[bool, Option("Download the weights of timm:NAME if they are not in the cache.")] = False,
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Run every slide through the frozen encoder.

    Each slide gets one .h5 file; slides whose file exists are skipped. With --encoder, --manifest and --out no run is needed.

    \b
    A published encoder instead of a run's:
      wsc-ray embed --manifest cohort --encoder timm:resnet18.tv_in1k --out features
      wsc-ray embed --manifest cohort --encoder local-dir:encoders/uni --out features

    \b
    Train an adapter on such features, which needs views, and embed them with it:
      wsc-ray embed --manifest cohort --encoder local-dir:encoders/uni --views 8 \\
        --recipe jobs/recipes/adapter.yaml --out features
      wsc-ray pretrain jobs/recipes/adapter.yaml --set data.features=features --out run
      wsc-ray embed --run run

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`.
    """
    from wsc_ray.features.embed import embed_slides

    return embed_slides(
        run=run,
        encoder=encoder,
        manifest=manifest,
        features=features,
        out=out,
        recipe=recipe,
        overrides=overrides,
        views=views,
        fetch=fetch,
        dry_run=dry_run,
    )
