"""Lists of slides: ours, TRIDENT's, CLAM's and slide2vec's; what is wrong with one is said at once."""

from pathlib import Path

import pytest

from wsc_ray.errors import ManifestError
from wsc_ray.slides.listing import Entry, read_list


@pytest.fixture
def folder(tmp_path):
    """Slide files a.svs, b.tif and c.ndpi."""
    for name in ("a.svs", "b.tif", "c.ndpi"):
        (tmp_path / "slides" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "slides" / name).touch()
    return tmp_path


def written(folder: Path, *lines: str, name: str = "slides.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_a_full_list(folder):
    source = written(
        folder,
        "path,slide_id,patient_id,label,split,mpp",
        "slides/a.svs,a1,p,negative,train,",
        f"{folder}/slides/b.tif,b1,q,positive,test,0.25",
    )
    assert list(read_list(source).entries) == [
        Entry("a1", folder / "slides" / "a.svs", "p", "negative", "train"),
        Entry("b1", folder / "slides" / "b.tif", "q", "positive", "test", 0.25),
    ]


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (("wsi,mpp,label,split", "a.svs,0.5,x,train"), {}),
        (("sample_id,image_path,mask_path,spacing_at_level_0,label,split", "a,a.svs,,0.5,x,train"), {}),
        (
            ("case_id,slide_id,label", "a,a,1"),
            {"label_names": {"1": "x"}, "constants": {"split": "train", "mpp": "0.5"}},
        ),
        (
            ("File,Class,Fold,Res", "a.svs,x,train,0.5"),
            {"columns": {"path": "File", "label": "Class", "split": "Fold", "mpp": "Res"}},
        ),
    ],
    ids=["TRIDENT", "slide2vec", "CLAM", "somebody's"],
)
def test_lists_of_others(folder, lines, options):
    (entry,) = read_list(written(folder, *lines), folder=folder / "slides", **options).entries
    assert entry == Entry("a", folder / "slides" / "a.svs", "a", "x", "train", 0.5)


def test_masks_lie_in_the_slides_folder_and_have_to_be_there(folder):
    (folder / "slides" / "a.png").touch()
    lines = ("sample_id,image_path,mask_path,label,split", "a,a.svs,a.png,x,train", "b,b.tif,,x,train")
    first, second = read_list(written(folder, *lines), folder=folder / "slides").entries
    assert (first.mask, second.mask) == (folder / "slides" / "a.png", None)
    with pytest.raises(ManifestError, match=r"line 2 \(slide a\): the mask .*none\.png is not there"):
        read_list(written(folder, lines[0], "a,a.svs,none.png,x,train"), folder=folder / "slides")
    clam = written(folder, "slide_id,label,split", "a,x,train")
    assert read_list(clam, folder=folder / "slides").entries[0].path.name == "a.svs"


def test_a_whole_name_means_that_file_alone(folder):
    for name in ("a.svs.partial", "a.svs.xyz"):
        (folder / "slides" / name).touch()
    (entry,) = read_list(written(folder, "slide_id,label,split", "a.svs,x,train"), folder=folder / "slides").entries
    assert (entry.slide_id, entry.path.name) == ("a", "a.svs")


def test_a_tsv(folder):
    (entry,) = read_list(written(folder, "path\tlabel\tsplit", "slides/a.svs\tx\ttrain", name="s.tsv")).entries
    assert entry.slide_id == "a"


def test_everything_wrong_is_said_together(folder):
    (folder / "slides" / "c.tif").touch()
    source = written(
        folder,
        "path,slide_id,patient_id,label,split,mpp",
        "slides/none.svs,n,p,x,train,",
        "slides/a.svs,../a,p,x,train,",
        "slides/a.svs,twice,p,x,train,",
        "slides/a.svs,twice,p,x,test,",
        "slides/b.tif,b,q,,train,half",
        "slides/b.tif,b2,q,x,train,-1",
    )
    with pytest.raises(ManifestError) as error:
        read_list(source)
    said = str(error.value)
    for part in (
        "line 2 (slide n): ",
        "none.svs is not there",
        "line 3 (slide ../a): slide_id '../a' cannot be a file name",
        "slide twice is in the list 2 times",
        "patient p has slides in test and in train",
        "line 6 (slide b): no label",
        "line 6 (slide b): mpp is 'half', not a number",
        "line 7 (slide b2): mpp is -1, not above 0 um/px",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ((), {}, "is empty"),
        (("Path,label,split", "a.svs,x,train"), {}, r"`path` is missing.*, did you mean `Path`\?"),
        (("path,label,split",), {}, "no slides"),
        (("path,label", "slides/a.svs,x"), {}, "`split` is missing.*--constant split=train"),
        (("path,label,split", "slides/a.svs,x,train"), {"columns": {"labl": "label"}}, "`labl` is no column"),
        (
            ("path,label,split", "slides/a.svs,x,train"),
            {"columns": {"label": "Label"}},
            r"no column `Label`, did you mean `label`\?",
        ),
        (("path,label,split", "slides/a.svs,x,train"), {"label_names": {"y": "z"}}, "not for 'x'"),
        (("slide_id,label,split", "d,x,train"), {"folder": "slides"}, r"no slide file called d or d\.\*"),
        (("slide_id,label,split", "c,x,train"), {"folder": "slides"}, r"several files called c\.\*"),
    ],
)
def test_a_wrong_list_is_a_sentence(folder, lines, options, said):
    (folder / "slides" / "c.tif").touch()
    if "folder" in options:
        options = {"folder": folder / "slides"}
    with pytest.raises(ManifestError, match=said):
        read_list(written(folder, *lines), **options)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("a.svs,a1,P1,x,train", "b.tif,b1,p1,x,test"), "`patient_id` has values .* 'P1' and 'p1'"),
        (("a.svs,a1,P 1,x,train", "b.tif,b1,P  1,x,train"), "`patient_id` has values .* 'P  1' and 'P 1'"),
        (("a.svs,s1,p,x,train", "b.tif,S1,q,x,train"), "slides whose ids differ only in capitals.*: S1 and s1"),
    ],
)
def test_ids_that_people_take_for_one_are_refused_before_a_slide_is_looked_at(folder, rows, said):
    source = written(folder, "path,slide_id,patient_id,label,split", *rows)
    with pytest.raises(ManifestError, match=said):
        read_list(source, folder=folder / "slides")


def test_patients_with_numbers_keep_their_zeros(folder):
    rows = ("a.svs,a1,12,x,train", "b.tif,b1,012,x,test", "c.ndpi,c1,1e1,x,test", "a2.svs,a2,10,x,train")
    (folder / "slides" / "a2.svs").touch()
    source = written(folder, "path,slide_id,patient_id,label,split", *rows)
    patients = [entry.patient_id for entry in read_list(source, folder=folder / "slides").entries]
    assert patients == ["12", "012", "1e1", "10"]


@pytest.mark.parametrize(
    "rows",
    [
        ("a.svs,a1,p,x,train", "a.svs,a2,q,x,test"),
        ("a.svs,a1,p,x,train", "../slides/a.svs,a2,p,x,train"),
        ("a.svs,a1,p,x,train", "link.svs,a2,q,x,test"),
    ],
    ids=["one name", "one name in two ways", "a link, of another patient"],
)
def test_one_file_under_several_ids_is_refused(folder, rows):
    (folder / "slides" / "link.svs").symlink_to("a.svs")
    source = written(folder, "path,slide_id,patient_id,label,split", *rows)
    with pytest.raises(ManifestError, match=r"the file a\.svs is in the list under several ids \(line 2 and line 3\)"):
        read_list(source, folder=folder / "slides")


def test_links_to_one_file_are_noted_where_the_list_says_no_patients(folder):
    (folder / "slides" / "link.svs").symlink_to("a.svs")
    found = read_list(written(folder, "path,label,split", "a.svs,x,train", "link.svs,x,test"), folder=folder / "slides")
    assert [entry.slide_id for entry in found.entries] == ["a", "link"]
    assert found.notes[1] == "one slide file under 2 names, each taken for a slide (line 2 and line 3): a.svs"


def test_a_list_that_is_not_there(folder):
    with pytest.raises(ManifestError, match="does not exist"):
        read_list(folder / "none.csv")
    with pytest.raises(ManifestError, match="holds no slide files"):
        read_list(folder)


def test_a_folder_of_slides_is_a_list_of_them(folder):
    (folder / "slides" / "notes.txt").touch()
    found = read_list(folder / "slides", constants={"label": "x", "split": "train"})
    names = sorted(path.stem for path in (folder / "slides").iterdir() if path.suffix != ".txt")
    assert [(e.slide_id, e.label, e.split) for e in found.entries] == [(name, "x", "train") for name in names]
    with pytest.raises(ManifestError, match="`label` is missing"):
        read_list(folder / "slides")


def test_labels_and_splits_may_be_left_out_where_none_are_needed(folder):
    source = written(folder, "path,label", "slides/a.svs,", "slides/b.tif,y")
    assert [(e.label, e.split) for e in read_list(source, labelled=False).entries] == [(None, None), ("y", None)]
