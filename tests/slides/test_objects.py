"""Slides on an object store, a real S3 server: the same pixels as on a disk, few bytes, and one sentence where there are none."""

import fcntl
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.s3 import BUCKET
from tests.slides.drawn import draw, write
from tests.slides.jpeg_slides import Jpeg, write_jpeg_slide
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.pixels.regions import read_rows
from wsc_ray.pixels.retry import read_all
from wsc_ray.slides import node_copies
from wsc_ray.slides.listing import read_list
from wsc_ray.slides.masks import find_masks, read_mask
from wsc_ray.slides.node_copies import node_copy
from wsc_ray.slides.objects import CopiedSlide
from wsc_ray.slides.open_slides import OpenSlides
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.ranges import GAP, LONGEST, join, stamp_of
from wsc_ray.slides.readers.stored_tiles import StoredTilesSlide
from wsc_ray.slides.slide import Region
from wsc_ray.storage import as_path

SIDE = 3000
REAL = os.environ.get("WSC_RAY_SLIDES")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A slide with JPEG tiles of 10 MB, and one that OpenSlide alone reads."""
    folder = tmp_path_factory.mktemp("files")
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    small = cv2.resize(noise, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    write_jpeg_slide(folder / "tiles.svs", [noise, small], jpeg=Jpeg(rgb=True))
    write(folder / "zlib.tif", draw(700))
    return folder


@pytest.fixture(scope="module")
def stored(files, s3):
    """`stored(name)`: the place of a slide on the store, behind a proxy that counts bytes."""
    s3.upload(files, "slides")
    return lambda name: as_path(s3.uri(f"slides/{name}", proxy=True))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(node_copies.FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache"


REGIONS = [Region(x, y, 0, 256, 256) for y in (900, 1156) for x in (300, 556, 812, 2900)] + [Region(40, 80, 1, 99, 77)]


def test_a_few_regions_take_few_bytes_and_have_the_pixels_of_the_file(files, stored, s3, cache):
    local = open_slide(files / "tiles.svs", "stored-tiles")
    before = s3.sent
    far = open_slide(stored("tiles.svs"), "stored-tiles")
    assert isinstance(far, StoredTilesSlide)
    found = list(far.read_regions(REGIONS))
    sent = s3.sent - before
    for ours, theirs in zip(found, local.read_regions(REGIONS), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (far.size, far.downsamples, far.mpp, far.scanned) == (
        local.size,
        local.downsamples,
        local.mpp,
        local.scanned,
    )
    whole = (files / "tiles.svs").stat().st_size
    assert whole > 8_000_000
    assert sent < whole / 5, f"{sent:,} of {whole:,} bytes"
    assert not cache.exists(), "nothing was copied"
    np.testing.assert_array_equal(far.read(*REGIONS[0]), local.read(*REGIONS[0]))
    (outside,) = far.read_regions([Region(-5, 0, 0, 9, 9)])
    assert "begins outside" in str(outside)
    before = set(os.listdir("/proc/self/fd"))
    far.close()
    far.close()
    assert set(os.listdir("/proc/self/fd")) <= before
    assert not [
        each
        for each in before
        if os.path.exists(f"/proc/self/fd/{each}") and "wsc-ray-slide" in os.readlink(f"/proc/self/fd/{each}")
    ]


@pytest.mark.skipif(not REAL, reason="WSC_RAY_SLIDES names no folder of real slides")
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CropBreastSlide.tiff"])
def test_real_slides_are_the_same(name, s3):
    s3.client.upload_file(str(Path(REAL) / name), BUCKET, f"real/{name}")
    local, far = (open_slide(place, "stored-tiles") for place in (Path(REAL) / name, as_path(s3.uri(f"real/{name}"))))
    assert isinstance(far, StoredTilesSlide)
    for level in range(len(local.downsamples)):
        np.testing.assert_array_equal(far.read(300, 200, level, 400, 300), local.read(300, 200, level, 400, 300))


@pytest.mark.parametrize(("name", "reader"), [("zlib.tif", "stored-tiles"), ("tiles.svs", "openslide")])
def test_other_slides_are_copied_once(files, stored, s3, cache, name, reader):
    local, far = open_slide(files / name, reader), open_slide(stored(name), reader)
    assert isinstance(far, CopiedSlide)
    before = s3.sent
    again = open_slide(stored(name), reader)
    assert s3.sent - before < 300_000, "tags at most"
    for slide in (far, again):
        np.testing.assert_array_equal(slide.read(9, 8, 1, 99, 77), local.read(9, 8, 1, 99, 77))
        slide.close()
        slide.close()
    assert [path.name for path in cache.glob("*/[!.]*")] == [name]


def test_rows_that_point_to_objects_are_regions_of_open_slides(files, stored, s3):
    slides = OpenSlides()
    row = {"x": 300, "y": 900, "level": 0, "patch_size": 64}
    tries = partial(read_all, retries=0)
    rows = [{**row, "slide_uri": f"{stored('tiles.svs')}"}, {**row, "slide_uri": "zlib.tif", "x": 0, "y": 0}]
    far = read_rows(rows, s3.uri("slides", proxy=True), tries, slides)
    near = read_rows(
        [{**each, "slide_uri": name} for each, name in zip(rows, ("tiles.svs", "zlib.tif"), strict=True)],
        str(files),
        tries,
        slides,
    )
    for ours, theirs in zip(far, near, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    slides.close()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("403", r"tiles\.svs.* cannot be read: .*ACCESS_DENIED.*right to read it"), ("404", r"tiles\.svs.* is not there")],
)
def test_an_object_that_may_not_be_read_or_is_missing_is_a_sentence(stored, s3, tmp_path, kind, said):
    with s3.failing(kind, "tiles.svs"):
        for ask in (partial(open_slide, reader="stored-tiles"), stamp_of):
            with pytest.raises(DataError, match=said) as caught:
                ask(stored("tiles.svs"))
            assert "\n" not in str(caught.value)
        (tmp_path / "list.csv").write_text(f"path,label,split\n{stored('tiles.svs')},a,train\n")
        with pytest.raises(ManifestError, match=said.partition(".*right")[0]):
            read_list(tmp_path / "list.csv")


def test_a_truncated_object_is_a_sentence(files, s3):
    data = (files / "tiles.svs").read_bytes()
    for name, kept in (("cut.svs", data[: len(data) // 2]), ("text.svs", b"text")):
        s3.client.put_object(Bucket=BUCKET, Key=f"broken/{name}", Body=kept)
        with pytest.raises(DataError, match=rf"broken/{name}.* cannot be opened") as caught:
            open_slide(as_path(s3.uri(f"broken/{name}")), "stored-tiles")
        assert "\n" not in str(caught.value)


def test_tiles_that_a_store_does_not_give_are_a_sentence_and_come_later(files, stored, s3):
    far = open_slide(stored("tiles.svs"), "stored-tiles")
    with s3.failing("500", "tiles.svs"):
        (reason,) = far.read_regions(REGIONS[:1])
    assert "of tiles.svs cannot be read: " in str(reason)
    assert isinstance(reason.__cause__, OSError), "so that it is tried again"
    (again,) = far.read_regions(REGIONS[:1])
    np.testing.assert_array_equal(again, open_slide(files / "tiles.svs", "openslide").read(*REGIONS[0]))
    far.close()


def test_a_copy_that_breaks_off_is_a_sentence_and_leaves_nothing(stored, s3, cache):
    with s3.failing("cut", "zlib.tif", after=1), pytest.raises(DataError, match=r"zlib\.tif"):
        open_slide(stored("zlib.tif"), "openslide")
    assert not list(cache.glob("*/[!.]*"))
    assert not list(cache.glob("*/.part"))


def test_slides_of_several_files_are_refused(s3):
    s3.client.put_object(Bucket=BUCKET, Key="broken/s.mrxs", Body=b"x")
    with pytest.raises(DataError, match=r"s\.mrxs.* is a slide of several files"):
        open_slide(as_path(s3.uri("broken/s.mrxs")), "stored-tiles")


def objects(s3, *sizes: int):
    for number, size in enumerate(sizes):
        s3.client.put_object(Bucket=BUCKET, Key=f"sized/{number}", Body=bytes(size))
    return [as_path(s3.uri(f"sized/{number}")) for number in range(len(sizes))]


def kept(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("*/[!.]*")}


def test_copies_used_longest_ago_make_room(s3, cache, monkeypatch):
    monkeypatch.setenv(node_copies.LIMIT, "0.001")
    first, second, third, large = objects(s3, 400_000, 400_000, 400_000, 2_000_000)
    for number, each in enumerate((first, second, first)):
        with node_copy(each) as copy:
            pass
        os.utime(copy, (number, number))
    with node_copy(third):
        assert kept(cache) == {"0", "2"}
    with pytest.raises(
        DataError, match=r"sized/3.* has 0\.00 GB .* may have 0\.00 GB on a node; set WSC_RAY_SLIDE_CACHE_GB"
    ):
        node_copy(large).__enter__()
    with node_copy(first), node_copy(third):
        with pytest.raises(DataError, match="of which copies in use have"), node_copy(second):
            pass
        assert kept(cache) == {"0", "2"}
    monkeypatch.setenv(node_copies.LIMIT, "many")
    with pytest.raises(DataError, match="WSC_RAY_SLIDE_CACHE_GB is 'many'"), node_copy(second):
        pass


def test_a_full_disk_is_a_sentence(s3, monkeypatch):
    monkeypatch.setattr(node_copies, "FREE", 1 << 60)
    with (
        pytest.raises(DataError, match=r"the disk of .* free; set WSC_RAY_SLIDE_CACHE to"),
        node_copy(objects(s3, 10)[0]),
    ):
        pass


def test_a_replaced_object_is_another_copy(s3):
    (place,) = objects(s3, 10)
    with node_copy(place) as copy:
        assert copy.read_bytes() == bytes(10)
    s3.client.put_object(Bucket=BUCKET, Key="sized/0", Body=b"something else")
    with node_copy(place) as copy:
        assert copy.read_bytes() == b"something else"


def test_a_killed_process_leaves_a_part_that_the_next_one_replaces(s3, cache):
    """A process that holds the lock and a part is killed; another waits until then."""
    (place,) = objects(s3, 1000)
    with node_copy(place) as copy:
        pass
    copy.unlink()
    script = (
        "import fcntl, sys, time\n"
        "lock = open(sys.argv[1] + '/.lock', 'a'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "open(sys.argv[1] + '/.part', 'wb').write(b'half'); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(copy.parent)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with (copy.parent / ".lock").open("a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    with node_copy(place) as again:
        assert again == copy
        assert copy.read_bytes() == bytes(1000)
    assert not (copy.parent / ".part").exists()


def test_processes_share_a_copy(stored, s3, cache):
    script = (
        "import sys, time\nfrom wsc_ray.slides.node_copies import node_copy\nfrom wsc_ray.storage import as_path\n"
        "with node_copy(as_path(sys.argv[1])) as copy: print(copy, len(copy.read_bytes()))"
    )
    before = s3.sent
    start = partial(subprocess.Popen, stdout=subprocess.PIPE, text=True)
    processes = [start([sys.executable, "-c", script, str(stored("tiles.svs"))]) for _ in range(2)]
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert first == second != ""
    size = int(first.split()[-1])
    assert size <= s3.sent - before < 1.5 * size


def test_lists_folders_and_masks_on_a_store(files, stored, s3, tmp_path):
    listed = read_list(stored("x").parent, constants={"label": "a", "split": "train"})
    assert [entry.slide_id for entry in listed.entries] == ["tiles", "zlib"]
    assert listed.entries[0].path == stored("tiles.svs")
    (tmp_path / "ids.csv").write_text("slide_id,label,split\ntiles,a,train\n")
    by_id = read_list(tmp_path / "ids.csv", folder=str(stored("x").parent))
    assert by_id.entries[0].path == stored("tiles.svs")
    mask = np.zeros((70, 70), np.uint8)
    mask[10:30] = 255
    s3.client.put_object(Bucket=BUCKET, Key="masks/zlib.png", Body=cv2.imencode(".png", mask)[1].tobytes())
    found = find_masks(as_path(s3.uri("masks")), [(entry.slide_id, entry.path) for entry in listed.entries])
    assert list(found) == ["zlib"]
    np.testing.assert_array_equal(read_mask(found["zlib"], (700, 700), (70, 70), 10.0), mask > 0)
    (tmp_path / "masks.csv").write_text(
        f"path,label,split,mask\n{stored('zlib.tif')},a,train,{s3.uri('masks/none.png')}\n"
    )
    with pytest.raises(ManifestError, match=r"the mask s3://bucket/masks/none\.png.* is not there"):
        read_list(tmp_path / "masks.csv")


@given(st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(1, 1 << 21)), max_size=20))
def test_joined_ranges_cover_all_and_are_few_and_short(ranges):
    joined = join(ranges)
    assert joined == sorted(joined)
    for offset, length in ranges:
        assert any(start <= offset and offset + length <= start + long for start, long in joined)
    assert sum(long for _, long in joined) <= sum(long for _, long in set(ranges)) + GAP * len(ranges)
    assert all(long <= max(LONGEST, max((length for _, length in ranges), default=0)) for _, long in joined)
    assert join([(0, 10), (GAP + 10, 5), (3 * GAP, 1)]) == [(0, GAP + 15), (3 * GAP, 1)]
