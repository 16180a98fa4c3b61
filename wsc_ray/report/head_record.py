"""What a head's folder says of itself: its members, the features that it was fitted to, and the run whose encoder made these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsc_ray.errors import UserError
from wsc_ray.evaluate.ledger import digest_of_members
from wsc_ray.files import read_summary
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.run_folder import RunFolder
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath
from wsc_ray.uris import unusable


@dataclass(frozen=True)
class HeadRecord:
    """The record of a head.

    Attributes:
        embed: the encoder's digest or name, and the size of its patches, of the features that it was fitted to; empty if unknown.
        tuned: summary of `tune`; empty if it did not write the folder.
        identity, trained: identity and summary of `pretrain`, if the head's folder lies in the run whose encoder made those features.
    """

    embed: Mapping[str, Any]
    tuned: Mapping[str, Any]
    identity: Mapping[str, Any]
    trained: Mapping[str, Any]


def read_head(place: AnyPath | None, digest: object) -> tuple[HeadRecord | None, str]:
    """Return the record of the head in a folder, if it has this digest; else None and why not, in words.

    Args:
        digest: SHA-256 (hex) of the members' weights.
    """
    if place is None:
        return None, "the head that it was predicted with has gone, and with it the record of its making"
    try:
        members = load_members(place)
    except (UserError, OSError) as error:
        return None, f"the head that it was predicted with cannot be read: {unusable(place, error)}"
    if digest_of_members(members) != digest:
        return (
            None,
            f"the head in {place} has changed since, so that the page does not say how the head of these predictions was made",
        )
    embed = members[0].config.get("embed") or {}
    run = RunFolder(place.parent)
    try:
        identity = _of_pretrain(run)
        made = (encoder_of(run.features) or {}).get("encoder") if identity else None
    except (UserError, OSError) as error:
        return HeadRecord(embed, read_summary(place) or {}, {}, {}), f"the run of its head: {unusable(run.path, error)}"
    if made is None or made != embed.get("encoder"):
        return HeadRecord(embed, read_summary(place) or {}, {}, {}), ""
    return HeadRecord(embed, read_summary(place) or {}, identity, read_summary(run.path) or {}), ""


def _of_pretrain(run: RunFolder) -> dict[str, Any]:
    """Return the identity of a run; empty if the folder is none."""
    identity = read_identity(run.path, "pretrain") or {}
    return identity if identity.get("command", "pretrain") == "pretrain" else {}
