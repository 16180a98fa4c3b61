import os
import re

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.pixels.files import encode
from tests.slides.drawn import draw
from tests.slides.drawn import write as write_slide
from wsc_ray.commands import manifest_check, manifest_import
from wsc_ray.errors import ManifestError
from wsc_ray.files import read_json
from wsc_ray.manifest.check import pick_images

from .cohort import cohort, png, write, write_images


def one_label(rows: int = 20, **replaced: list) -> pa.Table:
    return cohort(1, rows, **({"split": ["train"] * rows} | replaced))


def test_a_good_manifest_is_counted(tmp_path):
    manifest_import(source=write(cohort(), tmp_path / "raw.parquet"), out=tmp_path / "m")
    report = manifest_check(manifest=tmp_path / "m", out=tmp_path / "report")
    assert (report["patches"], report["slides"], report["patients"], report["images_decoded"]) == (42, 6, 6, 42)
    assert report["splits"]["test"]["negative"] == {"patches": 7, "slides": 1, "patients": 1}
    assert read_json(tmp_path / "report" / "summary.json") == report
    assert report == manifest_check(manifest=tmp_path / "m")


def test_all_problems_are_reported_at_once(tmp_path):
    images = [png(number) for number in range(42)]
    images[4], images[40] = b"junk", None
    bad = cohort(x=[0] * 3 + list(range(39)), patient_id=["p"] * 42, label=["a"] * 8 + ["b"] * 34, image=images)
    with pytest.raises(ManifestError) as raised:
        manifest_check(manifest=write(bad, tmp_path / "m.parquet"), out=tmp_path / "report")
    first, *others = str(raised.value).splitlines()
    assert first == f"{tmp_path}/m.parquet has 5 problems (rows count from 0)"
    said = [
        "  slide with two labels: 1 slide: s1 has a (row 7) and b (row 8)",
        "  patient with two splits: 1 patient: p has train (row 0) and test (row 28)",
        "  duplicate patches (same slide, x, y, level, mpp): 3 rows: row 1 (slide s0, x 0, y 0) repeats row 0, row 2",
        "  1 row groups mix splits or slide labels; `wsc-ray manifest import` writes them anew",
        "  2 unreadable images of 42 decoded: row 4 (slide s0, x 1, y 0): the image cannot be decoded: its 4 bytes",
    ]
    assert len(others) == len(said)
    for line, start in zip(others, said, strict=True):
        assert line.startswith(start)
    assert "; row 40 (slide s5, x 37, y 5): the patch has no pixels" in others[-1]
    assert not (tmp_path / "report").exists()


def test_missing_columns_and_null_ids_and_names(tmp_path):
    bad = one_label(slide_id=["a/b"] * 20, patient_id=[None] * 20).drop_columns(["mpp"])
    with pytest.raises(ManifestError) as raised:
        manifest_check(manifest=write(bad, tmp_path / "m.parquet"))
    said = str(raised.value)
    assert "missing columns: mpp" in said
    assert "null patient_id: 20 rows: row 0 (slide a/b, x 0, y 0)" in said
    assert "'a/b' (row 0)" in said
    with pytest.raises(ManifestError, match="missing columns: label, split, mpp, one of image"):
        manifest_check(manifest=write(bad.drop_columns(["label", "split", "image"]), tmp_path / "m.parquet"))


def test_an_empty_manifest(tmp_path):
    with pytest.raises(ManifestError, match="no patches: the table has no rows"):
        manifest_check(manifest=write(one_label().slice(0, 0), tmp_path / "m.parquet"))


def test_a_sample_misses_what_all_finds(tmp_path):
    images = [png(number) for number in range(20)]
    images[13] = images[13][:40]
    path = write(one_label(image=images), tmp_path / "m.parquet", row_group_size=5)
    seed = next(seed for seed in range(99) if (2, 3) not in positions(pick_images([5] * 4, 2, seed)))
    assert manifest_check(manifest=path, sample=2, seed=seed)["images_decoded"] == 2
    with pytest.raises(ManifestError, match=r"1 unreadable image of 20 decoded: row 13 \(slide s0, x 104, y 0\)"):
        manifest_check(manifest=path, sample=2, seed=seed, all=True)


def test_images_in_files_are_fetched(tmp_path):
    table = one_label()
    paths = write_images(tmp_path / "m", table)
    linked = table.drop_columns("image").append_column("image_uri", pa.array(paths))
    write(linked, tmp_path / "m" / "m.parquet")
    assert manifest_check(manifest=tmp_path / "m")["images_decoded"] == 20
    os.unlink(tmp_path / "m" / paths[2])
    with pytest.raises(ManifestError, match=re.escape(f"row 2 (slide s0, x 16, y 0): {paths[2]} cannot be read")):
        manifest_check(manifest=tmp_path / "m")


def test_images_that_are_not_square_or_not_of_patch_size_are_named(tmp_path):
    images = [png(number) for number in range(20)]
    images[3] = png(3, 16)
    images[5] = cv2.imencode(".png", np.zeros((8, 24, 3), np.uint8))[1].tobytes()
    with pytest.raises(ManifestError) as raised:
        manifest_check(manifest=write(one_label(image=images), tmp_path / "m.parquet"))
    said = str(raised.value).splitlines()
    assert said[1:] == [
        "  2 images of another size than patch_size of 20 decoded: "
        "row 3 (slide s0, x 24, y 0): 16 x 16 px, and patch_size is 8; "
        "row 5 (slide s0, x 40, y 0): 24 x 8 px, and patch_size is 8"
    ]


def test_images_that_viewers_show_in_different_ways_are_named_with_the_reason(tmp_path):
    images = [png(number) for number in range(20)]
    images[0] = encode(Image.new("CMYK", (8, 8)), "JPEG")
    images[6] = cv2.imencode(".png", np.full((8, 8), 4000, np.uint16))[1].tobytes()
    table = one_label(image=images)
    with pytest.raises(ManifestError, match="2 unreadable images of 20 decoded") as raised:
        manifest_check(manifest=write(table, tmp_path / "m.parquet"))
    assert "row 0 (slide s0, x 0, y 0): the image has CMYK colours" in str(raised.value)
    assert "row 6 (slide s0, x 48, y 0): the image has 16 bits a channel and uses 12 of them" in str(raised.value)
    source = write(table.drop_columns("patch_size"), tmp_path / "raw.parquet")
    with pytest.raises(ManifestError, match=r"row 0 \(slide s0\), whose size .*: the image has CMYK colours"):
        manifest_import(source=source, out=tmp_path / "out")


def test_regions_of_slides_are_read(tmp_path):
    table = one_label().drop_columns("image").append_column("slide_uri", pa.array(["a.svs"] * 20))
    place = write(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"20 unreadable images of 20 decoded: row 0 .*a\.svs is not there"):
        manifest_check(manifest=place)
    write_slide(tmp_path / "a.svs", draw(512))
    assert manifest_check(manifest=place)["images_decoded"] == 20


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        manifest_check(manifest=tmp_path / "gone")


def positions(picks: list[tuple[int, np.ndarray]]) -> set[tuple[int, int]]:
    return {(group, int(row)) for group, rows in picks for row in rows}


def test_picks():
    sizes = [100, 0, 7, 300]
    assert len(positions(pick_images(sizes, None, 0))) == 407
    assert pick_images(sizes, 1000, 0)[1][0] == 2
    picks = pick_images(sizes, 150, 3)
    assert all(row < sizes[group] for group, row in positions(picks))
    assert positions(picks) == positions(pick_images(sizes, 150, 3))
    assert positions(picks) != positions(pick_images(sizes, 150, 4))
    assert sum(len(rows) for _, rows in pick_images([256] * 1000, 1000, 0)) == 1000
    for sizes in ([100, 0, 7, 300], [3] * 40 + [500], [1] * 200):
        assert sum(len(rows) for _, rows in pick_images(sizes, 150, 0)) == 150
        assert len(set(positions(pick_images(sizes, 150, 0)))) == 150
    assert len(pick_images([256] * 1000, 1000, 0)) == 63  # a few row groups, not one for each image


def test_a_flipped_bit_is_found(tmp_path):
    """In the pixels, where an image may well decode to other colours, and anywhere else in a file's pages."""
    manifest_import(source=write(cohort(), tmp_path / "raw.parquet"), out=tmp_path / "m")
    (path,) = (tmp_path / "m" / "patches").iterdir()
    whole = path.read_bytes()
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    random, expected, found = np.random.default_rng(0), pq.read_table(path), 0
    for place in random.integers(4, len(whole) - footer, 60).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            manifest_check(manifest=tmp_path / "m", all=True)
        except ManifestError:
            found += 1
        else:  # such as a page's own statistics, which nobody reads
            assert pq.read_table(path).equals(expected)
    assert found > 50
    path.write_bytes(whole)
    assert manifest_check(manifest=tmp_path / "m", all=True)["patches"] == 42


def test_rows_that_were_written_over_by_another_program_are_found(tmp_path):
    """With checksums of their own and the old digest, so that only the digest tells."""
    manifest_import(source=write(cohort(), tmp_path / "raw.parquet"), out=tmp_path / "m")
    (path,) = (tmp_path / "m" / "patches").iterdir()
    table = pq.read_table(path)
    other = table.set_column(table.column_names.index("x"), "x", pa.array([x + 1 for x in table["x"].to_pylist()]))
    metadata = {k: v for k, v in pq.read_metadata(path).metadata.items() if k.startswith(b"wsc_ray")}
    sizes = [
        pq.read_metadata(path).row_group(number).num_rows for number in range(pq.read_metadata(path).num_row_groups)
    ]
    with pq.ParquetWriter(path, other.replace_schema_metadata(metadata).schema) as writer:
        for start, rows in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            writer.write_table(other.slice(start, rows))
    with pytest.raises(ManifestError, match="its rows are not those that were written"):
        manifest_check(manifest=tmp_path / "m", all=True)


NESTED = {
    "lists": lambda slide: [slide],
    "structures": lambda slide: {"id": slide},
    "bytes": lambda slide: b"\xff" + slide.encode(),
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("own", [False, True], ids=["of another program", "of wsc-ray"])
def test_slide_ids_that_are_no_text_are_a_sentence(tmp_path, kind, own):
    """In a table of another program, and where the column was changed in a manifest that had text there."""
    ids = pa.array([NESTED[kind](slide) for slide in cohort()["slide_id"].to_pylist()])
    source = write(cohort().set_column(0, "slide_id", ids), tmp_path / "raw.parquet")
    place = source
    if own:
        manifest_import(source=write(cohort(), tmp_path / "good.parquet"), out=tmp_path / "m")
        [file] = (tmp_path / "m" / "patches").iterdir()
        table = pq.read_table(file)
        kept = {b"wsc_ray.format": b"2", b"wsc_ray.part": b"1/1"}
        write(table.set_column(0, "slide_id", ids).replace_schema_metadata(kept), file)
        place, source = tmp_path / "m", tmp_path / "m" / "patches"
    with pytest.raises(ManifestError, match=r"slide_id holds lists or structures|Invalid UTF8"):
        manifest_check(manifest=place)
    with pytest.raises(ManifestError, match="slide_id"):
        manifest_import(source=source, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_null_slide_ids_in_a_manifest_are_among_the_problems(tmp_path):
    manifest_import(source=write(cohort(), tmp_path / "good.parquet"), out=tmp_path / "m")
    [file] = (tmp_path / "m" / "patches").iterdir()
    table = pq.read_table(file)
    kept = {b"wsc_ray.format": b"2", b"wsc_ray.part": b"1/1"}
    nulls = pa.nulls(table.num_rows, pa.string())
    write(table.set_column(0, "slide_id", nulls).replace_schema_metadata(kept), file)
    with pytest.raises(ManifestError, match="null slide_id: 42 rows"):
        manifest_check(manifest=tmp_path / "m")


def test_a_footer_that_gives_rows_to_another_slide_is_found(tmp_path):
    manifest_import(source=write(cohort(), tmp_path / "good.parquet"), out=tmp_path / "m")
    [file] = (tmp_path / "m" / "patches").iterdir()
    table = pq.read_table(file)
    runs = b'{"slides": ["s0", "s1"], "groups": [[0, 21, 1, 21]]}'
    kept = {b"wsc_ray.format": b"2", b"wsc_ray.part": b"1/1", b"wsc_ray.runs": runs}
    write(table.replace_schema_metadata(kept), file)
    own = sum(slide == ("s0" if row < 21 else "s1") for row, slide in enumerate(table["slide_id"].to_pylist()))
    with pytest.raises(ManifestError, match=f"{42 - own} rows of another slide than their file's footer says"):
        manifest_check(manifest=tmp_path / "m")
