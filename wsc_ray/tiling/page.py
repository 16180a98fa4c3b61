"""`slides.html`: all slides of a manifest on one page, with pictures and counts of patches, suspicious slides first.

The page loads nothing but the pictures in `previews/` beside it, each when it comes into view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import jinja2
import numpy as np

from wsc_ray.files import atomic
from wsc_ray.slides.coords import PREVIEWS, preview_name
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.slide_grid import BLURRED, PEN, Settings, SlideGrid
from wsc_ray.storage import AnyPath

PAGE = "slides.html"
FEW = 0.1  # share of the median slide's patches below which a slide is suspicious
SPOILT = 0.2  # share of the patches with tissue, dropped for pens or for focus, above which a slide is suspicious
SCALE = 1.5  # factor between um/px of level 0 and its median above which a slide is suspicious
FULL, GRID = 0.95, 100  # share of a grid of more than GRID patches above which glass may have been kept
RULE = (
    "A slide is suspicious if it cannot be used; has no patch; has few patches (less than "
    f"{FEW:.0%} of the median slide's); has much pen or is much out of focus (more than {SPOILT:.0%} of the patches with tissue); has an "
    f"odd scale (um/px at level 0 that differ from the median's by a factor of more than {SCALE}); or keeps nearly everything (more than "
    f"{FULL:.0%} of a grid of over {GRID} patches)."
)
_FINE = 9  # rank of a slide that is not suspicious


@dataclass(frozen=True)
class Card:
    """A slide on the page.

    Attributes:
        reasons: why the slide is suspicious, the worst reason first.
        rank: how bad the first reason is, 0 the worst; slides with the same rank keep the list's order.
        preview: the picture's address, relative to the page or with the picture in it (`data:`); None if there is no picture.
        facts: name -> value, as texts.
    """

    slide_id: str
    reasons: tuple[str, ...]
    rank: int
    preview: str | None
    facts: Mapping[str, str]


def write_page(
    out: AnyPath, entries: Sequence[Entry], grids: Sequence[Sequence[SlideGrid]], settings: Settings
) -> list[Card]:
    """Write the page of a manifest in one step, and return its slides.

    Args:
        grids: the grids of each entry, one for each scale.
    """
    there = {path.name for path in (out / PREVIEWS).glob("*.jpg")}
    cards = cards_of(entries, grids, settings, there)
    with atomic(out / PAGE) as temporary:
        temporary.write_text(render(cards, title=out.name), encoding="utf-8")
    return cards


def render(cards: Sequence[Card], *, title: str, some: Sequence[Card] | None = None, whole: str = "") -> str:
    """Return the page as HTML, in which all texts of the list are escaped.

    Args:
        some: the slides to show, if not all of `cards`; their pictures are inside the page, which then says where the `whole` page is.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wsc_ray.tiling", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(PAGE).render(
        title=title,
        cards=cards if some is None else some,
        total=len(cards),
        whole=whole,
        rule=RULE,
        suspicious=sum(bool(card.reasons) for card in cards),
    )


def cards_of(
    entries: Sequence[Entry], grids: Sequence[Sequence[SlideGrid]], settings: Settings, previews: set[str]
) -> list[Card]:
    """Return the slides in the order of the page.

    Args:
        previews: names of the pictures in `previews/`.
    """
    usable = [found for found in grids if found[0].scale is not None]
    patches = [_kept(found) for found in usable if _kept(found)]
    scales = [found[0].scale.mpp_level0 for found in usable if found[0].scale is not None]
    middle = (float(np.median(patches)) if patches else 0.0, float(np.median(scales)) if scales else 0.0)
    cards = [_card(entry, found, settings, previews, *middle) for entry, found in zip(entries, grids, strict=True)]
    return sorted(cards, key=lambda card: card.rank)


def suspicions(
    found: Sequence[SlideGrid], patches: float, mpp: float, *, all_kept: bool = False
) -> list[tuple[int, str]]:
    """Return the reasons why a slide is suspicious, each with its rank, the worst first; see `RULE`.

    Args:
        found: the slide's grids.
        patches, mpp: medians over the manifest's slides: number of patches of slides that have any, and um/px at level 0.
        all_kept: whether no patch had to hold tissue.
    """
    if found[0].problem or found[0].scale is None:
        return [(0, found[0].problem)]
    kept, lost, scale = _kept(found), dropped(found), found[0].scale.mpp_level0
    spoilt = {reason: lost[reason] / max(1, kept + lost[PEN] + lost[BLURRED]) for reason in (PEN, BLURRED)}
    total = kept + lost.total()
    told = [
        (1, not kept, "no patch is kept"),
        (2, 0 < kept < FEW * patches, f"few patches: {kept:,}, and the median slide has {patches:,.0f}"),
        (3, spoilt[BLURRED] > SPOILT, f"out of focus: {spoilt[BLURRED]:.0%} of the patches with tissue"),
        (3, spoilt[PEN] > SPOILT, f"pen: {spoilt[PEN]:.0%} of the patches with tissue"),
        (4, not mpp / SCALE <= scale <= mpp * SCALE, f"odd scale: {scale:.3g} um/px, and the median is {mpp:.3g}"),
        (
            5,
            not all_kept and total > GRID and kept > FULL * total,
            f"{kept / max(1, total):.0%} of the grid is kept: was glass taken for tissue?",
        ),
    ]
    return [(rank, sentence) for rank, so, sentence in told if so]


def _card(
    entry: Entry, found: Sequence[SlideGrid], settings: Settings, previews: set[str], patches: float, mpp: float
) -> Card:
    reasons = suspicions(found, patches, mpp, all_kept=settings.tissue == 0)
    named = {"label": entry.label, "split": entry.split, "site": entry.site}
    facts = {name: value for name, value in named.items() if value}
    scale, told = found[0].scale, found[0].facts
    if scale is not None and told is not None:
        if len(settings.mpps) > 1:
            for each, wanted in zip(found, settings.mpps, strict=True):
                facts[f"patches at {wanted:g} um/px"] = f"{len(each.coords):,}"
        else:
            facts["patches"] = f"{len(found[0].coords):,}"
        facts |= {f"dropped: {reason}": f"{count:,}" for reason, count in sorted(dropped(found).items())}
        facts["size"] = f"{told.width:,} x {told.height:,} px at {scale.mpp_level0:.3g} um/px"
        facts["tissue"] = f"{told.tissue:,.2f} mm\N{SUPERSCRIPT TWO}"
        facts |= {"mask": told.mask} if told.mask else {}
    name = preview_name(entry.slide_id)
    return Card(
        entry.slide_id,
        tuple(sentence for _, sentence in reasons),
        reasons[0][0] if reasons else _FINE,
        f"{PREVIEWS}/{quote(name)}" if scale is not None and name in previews else None,
        facts,
    )


def _kept(found: Sequence[SlideGrid]) -> int:
    return sum(len(grid.coords) for grid in found)


def dropped(found: Sequence[SlideGrid]) -> Counter[str]:
    """Return the number of dropped patches by reason, over all scales."""
    counts: Counter[str] = Counter()
    for grid in found:
        counts.update(grid.facts.dropped if grid.facts is not None else {})
    return counts
