"""A lot through a stand-in for the encoder, without Ray: whole slides, bounded memory, nothing half-written."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.features.manifests import colour, number_of, picture, rows_of, write_manifest
from wsc_ray.errors import DataError, ResourceError, RunFolderError
from wsc_ray.features import read as reading
from wsc_ray.features.embed_lot import Job, batches, check_sight, embed_lot
from wsc_ray.features.lots import Lots
from wsc_ray.features.read import Piece, in_order
from wsc_ray.features.store import read_slide, stored_slides
from wsc_ray.manifest import Manifest
from wsc_ray.stage import write_identity
from wsc_ray.storage import as_path

FILES = [[["a"] * 5 + ["b"] * 3, ["b"] * 40], [["b", "c", "b", "c"], ["a"] * 2]]  # a and b are in both files


def job(manifest, out, batch_size=16):
    return Job(manifest, out, {"encoder": "e"}, {"encoder": "stand-in"}, 8, batch_size, 0)


def whole_lot(manifest, slides):
    """All slides as one lot, however small they are."""
    lots = Lots(manifest.runs(), manifest.row_groups, slides, 1)
    return lots._lot([place for lot in sorted(lots._lots) for place in lot])


def same(image):
    return image


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_slides_in_several_row_groups_and_files_are_whole(tmp_path, batch_size):
    manifest = write_manifest(tmp_path / "manifest", FILES)
    out = tmp_path / "out"
    counted = []
    lot = whole_lot(manifest, ["a", "b", "c"])
    embed_lot(job(manifest, out, batch_size), lot, colour, same, threads=3, count=counted.append)
    assert sum(counted) == lot.patches
    assert max(counted) <= batch_size
    for slide, rows in rows_of(FILES).items():
        found = read_slide(out, slide)
        np.testing.assert_array_equal(found.features, np.stack([picture(row)[0, 0] for row in rows]))
        np.testing.assert_array_equal(found.coords, [(row, 2 * row) for row in rows])
        np.testing.assert_array_equal(found.patch_label, [-1 if row % 3 == 0 else row % 3 - 1 for row in rows])
    assert {path.name for path in out.iterdir()} == {"a.h5", "b.h5", "c.h5"}


def test_files_go_to_a_bucket_whole_or_not_at_all(tmp_path, s3):
    out = as_path(s3.uri("embed-lot/features"))
    manifest = write_manifest(tmp_path / "manifest", FILES)
    embed_lot(job(manifest, out), whole_lot(manifest, ["a", "b", "c"]), colour, same, threads=2)
    assert stored_slides(out) == {"a", "b", "c"}
    np.testing.assert_array_equal(read_slide(out, "b").coords[:, 0], rows_of(FILES)["b"])
    broken = write_manifest(tmp_path / "broken", FILES, broken=[49])
    other = as_path(s3.uri("embed-lot/broken"))
    with pytest.raises(DataError, match="slide c"):
        embed_lot(job(broken, other, 4), whole_lot(broken, ["c"]), colour, same, threads=2)
    assert stored_slides(other) == set()


def test_each_row_group_is_read_once_and_only_the_lots_images_are_decoded(tmp_path, monkeypatch):
    manifest = write_manifest(tmp_path / "manifest", FILES)
    read, seen = [], []
    original = Manifest.read_group
    monkeypatch.setattr(
        Manifest, "read_group", lambda self, file, group, columns: read.append((file, group)) or original(self, file, group, columns)
    )  # fmt: skip

    def fit(image):
        seen.append(number_of(image))
        return image

    embed_lot(job(manifest, tmp_path / "out"), whole_lot(manifest, ["a", "c"]), colour, fit, threads=2)
    assert sorted(read) == [(0, 0), (1, 0), (1, 1)]
    own = rows_of(FILES)
    assert sorted(seen) == sorted(own["a"] + own["c"])
    assert stored_slides(tmp_path / "out") == {"a", "c"}


def test_patches_in_memory_are_bounded_whatever_the_slide_has(tmp_path):
    """Images that are decoded are counted, and those that the encoder has had are taken off."""
    files = [[["a"] * 100] * 40]
    manifest = write_manifest(tmp_path / "manifest", files)
    lock, held, most = threading.Lock(), 0, 0

    def fit(image):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return image

    def encode(pixels):
        nonlocal held
        with lock:
            held -= len(pixels)
        return colour(pixels)

    embed_lot(job(manifest, tmp_path / "out", 64), whole_lot(manifest, ["a"]), encode, fit, threads=2)
    assert len(read_slide(tmp_path / "out", "a").features) == 4000
    assert most <= 64 + reading.PIECE * (2 + 2 + 2 + 1)  # a batch, the pieces ahead, and the one that is asked for


def test_one_unreadable_patch_is_a_sentence_and_leaves_whole_files_alone(tmp_path):
    manifest = write_manifest(tmp_path / "manifest", FILES, broken=[49])
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"^slide c, x 49, y 98: the image cannot be decoded"):
        embed_lot(job(manifest, out, 4), whole_lot(manifest, ["a", "b", "c"]), colour, same, threads=2)
    assert stored_slides(out) == set()
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("batch_size", [4, 1000])
def test_a_slide_with_an_unreadable_patch_is_left_out_where_that_is_asked(tmp_path, batch_size):
    manifest = write_manifest(tmp_path / "manifest", FILES, broken=[49])
    out = tmp_path / "out"
    asked = replace(job(manifest, out, batch_size), skip_bad=True)
    left_out = embed_lot(asked, whole_lot(manifest, ["a", "b", "c"]), colour, same, threads=2)
    assert list(left_out) == ["c"]
    assert left_out["c"].startswith("slide c, x 49, y 98: the image cannot be decoded")
    assert {path.name for path in out.iterdir()} == {"a.h5", "b.h5"}
    np.testing.assert_array_equal(read_slide(out, "b").coords[:, 0], rows_of(FILES)["b"])


def test_a_row_group_that_has_gone_is_a_sentence(tmp_path):
    manifest = write_manifest(tmp_path / "manifest", FILES)
    lot = whole_lot(manifest, ["a", "b", "c"])
    (tmp_path / "manifest" / "patches" / "part-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"part-00001\.parquet.* cannot be read"):
        embed_lot(job(manifest, tmp_path / "out"), lot, colour, same, threads=2)


@pytest.mark.parametrize("batch_size", [4, 1000])
def test_the_slides_of_a_row_group_that_has_gone_are_left_out_where_that_is_asked(tmp_path, batch_size):
    files = [[["a"] * 5 + ["b"] * 3], [["b"] * 40, ["c"] * 4]]
    manifest = write_manifest(tmp_path / "manifest", files)
    (tmp_path / "manifest" / "patches" / "part-00001.parquet").unlink()
    out = tmp_path / "out"
    asked = replace(job(manifest, out, batch_size), skip_bad=True)
    left_out = embed_lot(asked, whole_lot(manifest, ["a", "b", "c"]), colour, same, threads=2)
    assert set(left_out) == {"b", "c"}
    assert all("part-00001.parquet" in reason for reason in left_out.values())
    assert {path.name for path in out.iterdir()} == {"a.h5"}
    np.testing.assert_array_equal(read_slide(out, "a").coords[:, 0], rows_of(files)["a"])


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    manifest = write_manifest(tmp_path / "manifest", FILES)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunFolderError, match="out cannot be written"):
        embed_lot(job(manifest, tmp_path / "out"), whole_lot(manifest, ["a"]), colour, same, threads=2)


def test_a_machine_that_sees_another_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("wsc_ray.features.embed_lot.time.sleep", lambda seconds: None)
    manifest = write_manifest(tmp_path / "manifest", FILES)
    there = job(manifest, tmp_path / "out")
    with pytest.raises(ResourceError, match=r"10\.0\.0\.2 does not see .*out"):
        check_sight(there, "10.0.0.2")
    write_identity(tmp_path / "out", "embed", {"encoder": "another"})
    with pytest.raises(ResourceError, match="every node mounts"):
        check_sight(there, "10.0.0.2")
    write_identity(tmp_path / "out", "embed", there.identity)
    check_sight(there, "10.0.0.2")


def test_batches_keep_the_order_and_cut_what_is_too_large():
    def piece(slide, first, count):
        numbers = np.arange(first, first + count)
        pixels = np.broadcast_to(numbers[:, None, None, None], (count, 1, 1, 3))
        return Piece(slide, pixels, np.stack([numbers, numbers], 1), None, {})

    made = list(batches([piece(0, 0, 3), piece(1, 3, 9), piece(1, 12, 1), piece(2, 13, 2)], 4))
    assert [sum(map(len, batch)) for batch in made] == [3, 4, 4, 4]
    assert [n for batch in made for each in batch for n in each.coords[:, 0].tolist()] == list(range(15))
    assert [each.slide for batch in made for each in batch] == [0, 1, 1, 1, 1, 2]


def test_threads_are_not_further_ahead_than_they_may():
    from concurrent.futures import ThreadPoolExecutor

    begun = []

    def items():
        for number in range(20):
            begun.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        for expected, found in enumerate(in_order(pool, lambda number: number, items(), 3)):
            assert found == expected
            assert len(begun) <= expected + 4


@pytest.mark.parametrize(("skip_bad", "broken"), [(False, []), (True, []), (True, [2])])
@pytest.mark.parametrize("second", [3, 32, 100])
def test_a_slide_of_several_scales_is_a_sentence(tmp_path, second, skip_bad, broken):
    """Whether they meet inside a piece, between two, or in another row group; and never a slide that is left out."""
    files = [[["a"] * 100, ["a"] * 9, ["b"] * 5]]
    manifest = write_manifest(tmp_path / "m", files, broken=broken, coarse=range(second, 109))
    lot = whole_lot(manifest, ["a", "b"])
    asked = replace(job(manifest, tmp_path / "out"), skip_bad=skip_bad)
    with pytest.raises(DataError, match=r"slide a has patches at 0\.5 and at 1 um/px.*cut the slides at one --mpp"):
        embed_lot(asked, lot, colour, same, threads=2, count=lambda _: None)
    assert not list((tmp_path / "out").glob("a.h5"))
