"""Embed a lot in one process: put its patches through the encoder and write a file for each of its slides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.errors import ResourceError, RunFolderError
from wsc_ray.features.attributes import coords_attributes
from wsc_ray.features.augmented import Augmentation
from wsc_ray.features.lots import Lot
from wsc_ray.features.read import Fit, Piece, UnreadableSlide, piece_size, read_lot
from wsc_ray.features.store import SlideFile
from wsc_ray.files import read_json
from wsc_ray.manifest import Manifest
from wsc_ray.run_folder import IDENTITY
from wsc_ray.storage import AnyPath

Encode = Callable[[np.ndarray], np.ndarray]  # pixels (n, s, s, 3) uint8 -> features (n, d) float32
_SIGHT_TRIES = 5  # one a second: a shared mount may take some seconds to show a file of another machine


@dataclass(frozen=True)
class Job:
    """The settings of an `embed` command, which are the same for every lot.

    Attributes:
        out: the feature store: a URI, or a path that every process that embeds can access.
        identity: identity of the store, by which a process recognises the store.
        attributes: attributes of `features` in every file.
        size: side of the encoder's input, px.
        batch_size: most pictures in a forward pass, which are patches or views of patches.
        retries: number of retries where storage fails.
        augmentation: settings of the views to embed besides each patch; None: no views.
        skip_bad: leave out slides of which an image or a row group cannot be read.
    """

    manifest: Manifest
    out: AnyPath
    identity: Mapping[str, Any]
    attributes: Mapping[str, Any]
    size: int
    batch_size: int
    retries: int
    augmentation: Augmentation | None = None
    skip_bad: bool = False

    @property
    def patches_at_a_time(self) -> int:
        """Number of patches that are encoded together; with views, the number whose views fill a batch."""
        return max(1, self.batch_size // (self.augmentation.views if self.augmentation else 1))


def check_sight(job: Job, node: str) -> None:
    """Check that this machine sees the command's store; files in a folder that only this machine sees would be lost.

    Args:
        node: this machine's name, for messages.

    Raises:
        ResourceError: this machine sees another folder at the store's path, or none.
    """
    for tried in range(_SIGHT_TRIES):
        if tried:
            time.sleep(1)
        try:
            identity = read_json(job.out / IDENTITY)
        except (OSError, ValueError):
            continue
        if isinstance(identity, dict) and all(identity.get(key) == value for key, value in job.identity.items()):
            return
    raise ResourceError(
        f"{node} does not see {job.out} as the command's own machine does; give a folder that every node mounts, or a URI such as "
        "s3://"
    )


def embed_lot(
    job: Job, lot: Lot, encode: Encode, fit: Fit, *, threads: int, count: Callable[[int], None] = lambda patches: None
) -> dict[str, str]:
    """Embed a lot's slides; each file is finished when its slide's last patch has been encoded.

    Memory holds at most two batches, the pieces that are decoded ahead and five row groups as they are stored; and, for
    each slide in progress, 17 bytes per patch.

    Args:
        encode: returns the features of a batch, in order.
        fit: resizes an image to the encoder's input, see `read_lot`.
        threads: number of threads that decode.
        count: called after each batch with its number of patches.

    Returns:
        The slides that were left out, and why; none but with `skip_bad`.

    Raises:
        DataError: an image or a row group cannot be read, without `skip_bad`, or a slide has patches of several scales.
        RunFolderError: a file cannot be written.
    """
    ahead = threads + -(-job.patches_at_a_time // piece_size(job.augmentation))
    pieces = read_lot(
        job.manifest,
        lot,
        fit,
        threads=threads,
        ahead=ahead,
        retries=job.retries,
        augmentation=job.augmentation,
        skip_bad=job.skip_bad,
    )
    left_out: dict[int, str] = {}
    files: dict[int, SlideFile] = {}
    first: dict[int, Mapping[str, Any]] = {}
    try:
        for batch in batches(_of_readable(pieces, left_out), job.patches_at_a_time):
            features = encode(np.concatenate([piece.pixels for piece in batch]))
            views = _encode_views(batch, encode, job.batch_size)
            start = 0
            for piece in batch:
                slide, stop = piece.slide, start + len(piece)
                if slide not in files:
                    first[slide] = piece.first
                    files[slide] = SlideFile(job.out, lot.slides[slide], lot.sizes[slide], job.attributes)
                own = None if views is None else views[start:stop]
                files[slide].append(features[start:stop], piece.coords, piece.patch_label, own)
                if files[slide].done == lot.sizes[slide]:
                    file = files.pop(slide)
                    try:
                        file.finish(coords_attributes(first.pop(slide), file.coords))
                    finally:
                        file.discard()
                start = stop
            count(start)
    except OSError as error:
        raise RunFolderError(f"{job.out} cannot be written: {error.strerror or str(error).splitlines()[0]}") from None
    finally:
        for file in files.values():
            file.discard()
        pieces.close()
    return {lot.slides[slide]: reason for slide, reason in left_out.items()}


def _of_readable(pieces: Iterable[Piece | UnreadableSlide], left_out: dict[int, str]) -> Iterator[Piece]:
    """Yield the pieces of slides of which everything could be read so far; the others are added to `left_out`."""
    for piece in pieces:
        if isinstance(piece, UnreadableSlide):
            left_out.setdefault(piece.slide, piece.reason)
        elif piece.slide not in left_out:
            yield piece


def _encode_views(batch: Sequence[Piece], encode: Encode, size: int) -> np.ndarray | None:
    """Return the features of the views of every patch, (n, K, d), `size` pictures at a time; None without views."""
    parts = [piece.views for piece in batch if piece.views is not None]
    if not parts:
        return None
    views = np.concatenate(parts)
    pictures = views.reshape(-1, *views.shape[2:])
    features = np.concatenate([encode(pictures[start : start + size]) for start in range(0, len(pictures), size)])
    return features.reshape(*views.shape[:2], -1)


def batches(pieces: Iterable[Piece], size: int) -> Iterator[Sequence[Piece]]:
    """Yield batches of neighbouring pieces with at most `size` patches together; a larger piece is cut."""
    batch: list[Piece] = []
    for whole in pieces:
        for piece in _cut(whole, size):
            if batch and sum(map(len, batch)) + len(piece) > size:
                yield batch
                batch = []
            batch.append(piece)
    if batch:
        yield batch


def _cut(piece: Piece, size: int) -> Iterator[Piece]:
    if len(piece) <= size:
        yield piece
        return
    for start in range(0, len(piece), size):
        rows = slice(start, start + size)
        label = None if piece.patch_label is None else piece.patch_label[rows]
        views = None if piece.views is None else piece.views[rows]
        yield Piece(piece.slide, piece.pixels[rows], piece.coords[rows], label, piece.first, views)
