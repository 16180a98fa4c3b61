import re
from pathlib import Path

import numpy as np
import pytest

from wsc_ray.errors import ManifestError
from wsc_ray.manifest.lists import PatchList, place_in_name, read_lists
from wsc_ray.manifest.tables import Source

from .cohort import cohort, png, write_images


@pytest.fixture
def root(tmp_path) -> Path:
    write_images(tmp_path / "root", cohort(2, 2))  # s0 and s1, patch_<x>_<y>.png
    return tmp_path / "root"


def read(root: Path, text: str, name: str = "list.txt", *, label=None, split="train", **more) -> Source:
    path = root.parent / name
    path.write_text(text)
    settings = {"columns": {}, "constants": {}, "label_names": {}} | more
    return read_lists(str(root), [PatchList(str(path), label, split)], **settings)


def test_paths_alone_as_weaksupcon_lists_them(root):
    read_one = read(root, "s0/patch_0_0.png\n\n# not this\ns1/patch_8_1.png\n", label="negative")
    assert read_one.table.to_pylist() == [
        {"slide_id": s, "patient_id": s, "label": "negative", "split": "train", "x": x, "y": y, "level": 0, "mpp": None,
         "image_uri": f"{s}/patch_{x}_{y}.png"}
        for s, x, y in (("s0", 0, 0), ("s1", 8, 1))
    ]  # fmt: skip
    assert read_one.notes == ("every slide counts as a patient of its own, since the lists name no patients",)
    assert read_one.images.read(np.array([1, 0])) == [png(3), png(0)]


def test_a_label_behind_the_path(root):
    (root / "s0" / "with blank 5_6.png").write_bytes(b"x")
    table = read(root, "s0/with blank 5_6.png negative\ns1/patch_8_1.png\tpositive\n").table
    assert table["label"].to_pylist() == ["negative", "positive"]
    assert table.select(["x", "y"]).to_pylist() == [{"x": 5, "y": 6}, {"x": 8, "y": 1}]


def test_several_lists_each_with_its_label_and_split(root):
    for name, text in (("a.txt", "s0/patch_0_0.png"), ("b.csv", "path,mpp\ns1/patch_8_1.png,0.5\n")):
        (root.parent / name).write_text(text)
    lists = [PatchList(f"{root.parent}/a.txt", "negative", "train"), PatchList(f"{root.parent}/b.csv", "positive")]
    found = read_lists(str(root), lists, columns={}, constants={"split": "test"}, label_names={}).table
    assert found.select(["slide_id", "label", "split", "mpp"]).to_pylist() == [
        {"slide_id": "s0", "label": "negative", "split": "train", "mpp": None},
        {"slide_id": "s1", "label": "positive", "split": "test", "mpp": 0.5},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "path,label,slide_id,patient_id,split\ns0/patch_0_0.png,1,A,P,val\n",
        "s0/patch_0_0.png,1,A,P,val\n",
        "split,path,patient_id,label,slide_id\nval,s0/patch_0_0.png,P,1,A\n",
    ],
)
def test_csv_with_and_without_a_header(root, text):
    table = read(root, text, "list.csv", split=None, label_names={"1": "positive"}).table
    row = table.select(["slide_id", "patient_id", "label", "split", "x"]).to_pylist()[0]
    assert row == {"slide_id": "A", "patient_id": "P", "label": "positive", "split": "val", "x": 0}


def test_csv_columns_of_other_names(root):
    text = "file\tgrade\tcol\trow\ns0/patch_0_0.png\thigh\t7\t8\n"
    columns = {"path": "file", "label": "grade", "x": "col", "y": "row"}
    assert read(root, text, "list.tsv", columns=columns).table.select(["label", "x", "y"]).to_pylist() == [
        {"label": "high", "x": 7, "y": 8}
    ]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/slide_1024_2048.jpg", (1024, 2048)),
        ("12_34.jpeg", (12, 34)),
        ("slide_x1024_y2048.png", (1024, 2048)),
        ("slide_x_1024_y_2048.png", (1024, 2048)),
        ("slide-x=5,y=6.png", (5, 6)),
        ("TCGA-A1-0001_3_1024_2048.png", (1024, 2048)),
        ("patch_7.png", None),
        ("patch.png", None),
    ],
)
def test_places_in_names(name, place):
    assert place_in_name(name) == place


def test_all_patches_of_a_slide_are_numbered_if_one_name_has_no_coordinates(root):
    for name in ("a.png", "b.png"):
        (root / "s0" / name).write_bytes(b"x")
    source = read(root, "s0/b.png\ns1/patch_8_1.png\ns0/patch_0_0.png\ns0/a.png\n", label="n")
    assert source.table["x"].to_pylist() == [0, 8, 1, 2]
    assert source.table["y"].to_pylist() == [0, 1, 0, 0]
    assert "patches of 1 slides are numbered" in source.notes[1]


@pytest.mark.parametrize(
    ("text", "name", "settings", "said"),
    [
        ("s0/patch_0_0.png\n", "list.txt", {}, "has no label in line 1; write it behind the path"),
        ("", "list.txt", {"label": "n"}, "is empty"),
        ("s0/gone.png\ns0/patch_0_0.png", "list.txt", {"label": "n"}, "files missing under"),
        ("s0/gone.png\ns0/patch_0_0.png", "list.txt", {"label": "n"}, "1: s0/gone.png (line 1 of"),
        (
            "path,label\ns0/patch_0_0.png\n",
            "list.csv",
            {},
            "another number of values than the 2 columns (path, label): line 2 (1)",
        ),
        ("Path,label\ns0/patch_0_0.png,n\n", "list.csv", {}, "has no column `path`, did you mean `Path`?"),
        ("path,label\n,negative\n", "list.csv", {}, "no path: line 2 of"),
        (
            "s0/patch_0_0.png\n",
            "list.txt",
            {"label": "n", "split": None},
            "`split` is missing: name its source column, or",
        ),
        ("s0/patch_0_0.png\n", "list.txt", {"label": "n", "columns": {"mpp": "res"}}, "the source has no column `res`"),
    ],
)
def test_what_is_wrong_with_a_list(root, text, name, settings, said):
    with pytest.raises(ManifestError, match=re.escape(said)):
        read(root, text, name, **settings)


def test_a_file_without_a_folder_has_no_slide(root):
    (root / "a.png").write_bytes(b"x")
    with pytest.raises(
        ManifestError, match=r"no folder to take slide_id from: line 1 of .*give slide_id in a CSV list"
    ):
        read(root, "a.png", label="n")


def test_a_missing_list(root):
    with pytest.raises(ManifestError, match=r"the list gone.txt does not exist"):
        read_lists(str(root), [PatchList("gone.txt", "n")], columns={}, constants={"split": "train"}, label_names={})


def test_parse():
    assert PatchList.parse("a.txt") == PatchList("a.txt")
    assert PatchList.parse("a.txt,split=train,label=negative") == PatchList("a.txt", "negative", "train")
    for text in ("a.txt,negative", "a.txt,label=", ",label=a"):
        with pytest.raises(ManifestError, match=r"FILE\[,label=NAME\]"):
            PatchList.parse(text)
