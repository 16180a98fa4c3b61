"""Checks that features come from the encoder that the head was fitted to: features of another encoder with the same width would
give nonsense without any error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.encoders.adapter import is_adapter, read_adapter
from wsc_ray.encoders.choose import LOCAL, TIMM, choose_encoder
from wsc_ray.errors import DataError
from wsc_ray.files import read_summary
from wsc_ray.predict.head import Head
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath, as_path


def fitted_recipe(encoder: str, head: Head, recipe: Recipe) -> Recipe:
    """Return the recipe with `embed.size` as for the head's features: the size in px at which the encoder sees patches.

    Raises:
        WeightsError: the encoder cannot be read.
        DataError: the encoder is not the one that the head was fitted to, or it is an adapter, which sees no pixels.
    """
    if not encoder.startswith((TIMM, LOCAL)) and is_adapter(as_path(encoder)):
        raise DataError(
            f"{encoder} is an encoder of features and sees no pixels; embed the slides with the encoder that it was trained on and "
            "give --features"
        )
    wanted = head.embed or {}
    size = wanted.get("size") or recipe.embed.size
    frozen = choose_encoder(encoder, size=size)
    if _differ(frozen.digest, wanted.get("encoder")):
        raise DataError(
            f"{encoder} ({_short(frozen.digest)}) is another encoder than the one whose features the head in {head.place} was fitted to "
            f"({_short(wanted['encoder'])}); give that one with --encoder"
        )
    if frozen.width != head.width:
        raise DataError(
            f"{encoder} gives features of {frozen.width} dimensions and the head in {head.place} takes {head.width}; give the encoder that "
            "it was tuned with"
        )
    return recipe.model_copy(update={"embed": recipe.embed.model_copy(update={"size": size})})


def refuse_other_features(features: AnyPath, here: Mapping[str, Any] | None, head: Head) -> None:
    """Check that features do not name another encoder or patch size than those that the head was fitted to.

    Args:
        here: the encoder and size that the features name; see `encoder_of`.

    Raises:
        DataError: they name others.
    """
    made, wanted = here or {}, head.embed or {}
    if _differ(made.get("encoder"), wanted.get("encoder")):
        raise DataError(
            f"features in {features} are by another encoder ({_short(made['encoder'])}) than those that the head in {head.place} was fitted "
            f"to ({_short(wanted['encoder'])}); embed with that one"
        )
    if _differ(made.get("size"), wanted.get("size")):
        raise DataError(
            f"features in {features} are of patches of {made['size']} px and the head in {head.place} was fitted to those of "
            f"{wanted['size']} px; embed with --set embed.size={wanted['size']}"
        )


def needs_adapter(encoder: AnyPath, identity: Mapping[str, Any], head: Head) -> bool:
    """Return whether features have to pass through an adapter before the head takes them."""
    if not is_adapter(encoder):
        return False
    adapter, made_by = read_adapter(encoder), identity.get("encoder")
    return adapter.digest == (head.embed or {}).get("encoder") and made_by != adapter.digest


def encoder_name(head: Head) -> str | None:
    """Return the name of the head's encoder in feature files; None if unknown."""
    summary = (read_summary(head.features) if head.features is not None else None) or {}
    name = summary.get("architecture") or summary.get("encoder")
    known = (head.embed or {}).get("encoder")
    if name is None and isinstance(known, str) and len(known) != 64:  # not a digest: `features import` keeps names
        name = known
    return name if isinstance(name, str) else None


def unknown_encoder(here: Mapping[str, Any] | None, head: Head) -> tuple[str, ...]:
    """Return a note if the features or the head do not name their encoder; else nothing."""
    if (here or {}).get("encoder") and (head.embed or {}).get("encoder"):
        return ()
    who = "the head does" if (here or {}).get("encoder") else "the features do"
    return (f"{who} not say which encoder made the features; only their width was compared",)


def _differ(here: Any, wanted: Any) -> bool:
    """Return whether both values are known and differ."""
    return here is not None and wanted is not None and here != wanted


def _short(encoder: Any) -> str:
    """Return the beginning of a digest, for messages."""
    return str(encoder)[:12]
