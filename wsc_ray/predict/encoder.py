"""Whether features are by the encoder that the head was fitted to: others of equal width would give nonsense in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.encoders.adapter import is_adapter, read_adapter
from wsc_ray.encoders.choose import LOCAL, TIMM, choose_encoder
from wsc_ray.errors import DataError
from wsc_ray.files import read_summary
from wsc_ray.predict.head import Head
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path


def fitted_recipe(encoder: str, head: Head, recipe: Recipe) -> Recipe:
    """The recipe with patches of the size that the head's features were made of.

    Raises:
        WeightsError: the encoder cannot be read.
        DataError: it is another than the head's, or one of features.
    """
    if not encoder.startswith((TIMM, LOCAL)) and is_adapter(as_path(encoder)):
        raise DataError(
            f"{encoder} is an encoder of features and sees no pixels; embed the slides with the encoder that it was trained on and "
            "give --features"
        )
    size = (head.embed or {}).get("size") or recipe.embed.size
    frozen = choose_encoder(encoder, size=size)
    refuse_other_encoder({"encoder": frozen.digest, "size": frozen.size}, head, f"{encoder} is")
    if head.embed is None and frozen.width != head.width:
        raise DataError(
            f"{encoder} gives features of {frozen.width} dimensions and the head in {head.place} takes {head.width}; give --encoder"
        )
    return recipe.model_copy(update={"embed": recipe.embed.model_copy(update={"size": size})})


def refuse_other_encoder(here: Mapping[str, Any] | None, head: Head, what: str) -> None:
    """Features of another encoder and equal width would give nonsense in silence."""
    if here is None or head.embed is None or dict(here) == dict(head.embed):
        return
    if here["encoder"] != head.embed["encoder"]:
        raise DataError(
            f"{what} by another encoder ({_short(here['encoder'])}) than the head in {head.place} was fitted to "
            f"({_short(head.embed['encoder'])}); use that one"
        )
    raise DataError(
        f"{what} of patches of {here['size']} px and the head in {head.place} was fitted to features of {head.embed['size']} px; embed them "
        f"with --set embed.size={head.embed['size']}"
    )


def needs_adapter(encoder: AnyPath, identity: Mapping[str, Any], head: Head) -> bool:
    """Whether features have to go through an encoder of features before the head takes them."""
    if not is_adapter(encoder):
        return False
    adapter, made_by = read_adapter(encoder), identity.get("encoder")
    return adapter.digest == (head.embed or {}).get("encoder") and made_by != adapter.digest


def encoder_name(head: Head, run: RunFolder | None) -> str | None:
    """What files of features call the head's encoder, where that is known."""
    summary = (read_summary(run.features) if run is not None else None) or {}
    name = summary.get("architecture") or summary.get("encoder")
    known = (head.embed or {}).get("encoder")
    if name is None and isinstance(known, str) and len(known) != 64:  # of `features import`, which keeps names
        name = known
    return name if isinstance(name, str) else None


def unknown_encoder(here: Mapping[str, Any] | None, head: Head) -> tuple[str, ...]:
    if here is not None and head.embed is not None:
        return ()
    who = "the features do" if here is None else "the head does"
    return (f"{who} not say by which encoder the features are made; only their width was compared",)


def _short(encoder: Any) -> str:
    return str(encoder)[:12]
