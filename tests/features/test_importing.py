"""Features of TRIDENT, CLAM and STAMP become a store that later commands read; what is wrong is a sentence before anything is written."""

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torchmil.datasets import TridentWSIDataset

from wsc_ray.commands import features_import
from wsc_ray.errors import DataError, ManifestError, RunFolderError, UserError
from wsc_ray.features import foreign, importing
from wsc_ray.features.store import read_slide, read_slides, stored_slides
from wsc_ray.mil.bags import load_bags

SIZES = {"a": 5, "b": 0, "c-1": 9}
WIDTH = 4


def features_of(slide):
    return np.random.default_rng(sum(map(ord, slide))).normal(size=(SIZES[slide], WIDTH)).astype(np.float32)


def coords_of(slide):
    return np.arange(2 * SIZES[slide]).reshape(-1, 2) * 512


def trident(folder, slide, encoder="uni"):
    with h5py.File(folder / f"{slide}.h5", "w") as file:
        features = file.create_dataset("features", data=features_of(slide))
        features.attrs.update({"name": slide, "savetodir": "/somewhere", "encoder": encoder})
        coords = file.create_dataset("coords", data=coords_of(slide).astype(np.int64))
        coords.attrs.update(
            {
                "patch_size": 256,
                "patch_size_level0": 512,
                "level0_magnification": 40,
                "target_magnification": 20,
                "overlap": 0,
                "name": slide,
                "savetodir": "/somewhere",
                "level0_width": 90000,
                "level0_height": 80000,
            }
        )


def clam(folder, slide):
    with h5py.File(folder / f"{slide}.h5", "w") as file:
        file["features"] = features_of(slide)
        file["coords"] = coords_of(slide).astype(np.int32)


def tensor(folder, slide):
    torch.save(torch.from_numpy(features_of(slide)), folder / f"{slide}.pt")


def stamp(folder, slide, unit="um"):
    with h5py.File(folder / f"{slide}.h5", "w") as file:
        file["feats"] = features_of(slide).astype(np.float16)
        file["coords"] = (coords_of(slide) * 0.25).astype(np.float32)
        file.attrs.update({"tile_size_um": 128.0, "tile_size_px": 256, "extractor": "ctranspath-1"})
        if unit:
            file.attrs["unit"] = unit


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Where no store is named, MLflow's lies in the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


WRITERS = {"trident": ("features_uni", trident), "clam": ("h5_files", clam), "pt": ("pt_files", tensor), "stamp": ("", stamp)}  # fmt: skip


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_text(
        "case_id,slide_id,label,split,mpp\np1,a,1,train,0.25\np1,b,0,train,0.25\np2,c-1,0,test,0.25\n", encoding="utf-8"
    )
    return path


@pytest.fixture(params=WRITERS)
def foreign_folder(request, tmp_path):
    """A tool's folder, and the tool."""
    return write(tmp_path, request.param), request.param


def write(tmp_path, tool):
    name, writer = WRITERS[tool]
    folder = tmp_path / "theirs" / name
    folder.mkdir(parents=True)
    for slide in SIZES:
        writer(folder, slide)
    return tmp_path / "theirs"


def test_features_are_theirs(foreign_folder, table, tmp_path, monkeypatch):
    source, tool = foreign_folder
    monkeypatch.setattr(foreign, "ROWS", 2)  # a slide is copied in several pieces
    out = tmp_path / "store"
    summary = features_import(source=source, cohort=table, out=out)
    assert (summary["slides"], summary["patches"], summary["width"]) == (3, 14, WIDTH)
    assert stored_slides(out) == set(SIZES)
    for slide, size in SIZES.items():
        found = read_slide(out, slide)
        assert found.features.dtype == np.float32
        assert found.features.shape == (size, WIDTH)
        expected = features_of(slide)
        np.testing.assert_array_equal(
            found.features, expected.astype(np.float16) if tool == "stamp" else expected, strict=False
        )
        np.testing.assert_array_equal(found.coords, np.full((size, 2), -1) if tool == "pt" else coords_of(slide))
    slides = read_slides(out).slides.to_pandas().set_index("slide_id")
    assert slides["patches"].to_dict() == SIZES
    assert slides.loc["a", ["patient_id", "label", "split"]].tolist() == ["p1", "1", "train"]
    assert [bool(note) for note in summary["notes"]] == [True] * (tool == "pt")


def test_tridents_attributes_are_kept_and_stamps_are_translated(table, tmp_path):
    out = tmp_path / "store"
    features_import(source=write(tmp_path, "trident"), cohort=table, out=out)
    with h5py.File(out / "a.h5") as file:
        assert dict(file["features"].attrs) == {"name": "a", "savetodir": str(out), "encoder": "uni"}
        assert file["coords"].attrs["patch_size_level0"] == 512
        assert file["coords"].attrs["level0_width"] == 90000
        assert file["coords"].attrs["savetodir"] == str(out)
    features_import(source=write(tmp_path / "2", "stamp"), cohort=table, out=tmp_path / "stamp")
    with h5py.File(tmp_path / "stamp" / "a.h5") as file:
        kept = dict(file["coords"].attrs)
        assert file["features"].attrs["encoder"] == "ctranspath-1"
    assert (kept["patch_size"], kept["patch_size_level0"], kept["target_magnification"]) == (256, 512, 20.0)


def test_of_two_files_of_clam_the_one_with_coordinates_is_read(table, tmp_path):
    source = write(tmp_path, "clam")
    (source / "pt_files").mkdir()
    for slide in SIZES:
        tensor(source / "pt_files", slide)
    features_import(source=source, cohort=table, out=tmp_path / "store")
    np.testing.assert_array_equal(read_slide(tmp_path / "store", "a").coords, coords_of("a"))


def test_torchmil_reads_the_store_as_tridents(table, tmp_path):
    """Its `TridentWSIDataset`: features from our files; labels from a table; `patches/` holds TRIDENT's coordinates."""
    out = tmp_path / "20x_256px_0px_overlap" / "features_uni"
    features_import(source=write(tmp_path, "trident"), cohort=table, out=out)
    patches = out.parent / "patches"
    patches.mkdir()
    for slide in SIZES:
        (patches / f"{slide}_patches.h5").symlink_to(out / f"{slide}.h5")  # ours hold the same `coords`
    slides = read_slides(out).slides.to_pandas()
    slides["label"] = slides["label"].astype(int)
    slides.to_csv(tmp_path / "labels.csv")
    data = TridentWSIDataset(
        base_path=f"{out.parent}/",
        labels_path=str(tmp_path / "labels.csv"),
        feature_extractor="uni",
        patch_size=512,
        bag_keys=["X", "Y", "coords"],
        wsi_name_col="slide_id",
        wsi_label_col="label",
    )
    assert set(data.get_bag_names()) == set(SIZES)
    for number, slide in enumerate(data.get_bag_names()):
        bag = data[number]
        np.testing.assert_array_equal(bag["X"].numpy(), features_of(slide))
        np.testing.assert_array_equal(bag["coords"].numpy() * 512, coords_of(slide))
        assert bag["Y"].item() == int(pd.read_csv(table).set_index("slide_id").loc[slide, "label"])


def test_bags_are_made_of_it(table, tmp_path):
    out = tmp_path / "store"
    features_import(source=write(tmp_path, "clam"), cohort=table, out=out)
    slides = read_slides(out).slides
    bags = load_bags(out, slides, ["0", "1"])
    assert dict(zip(bags.slide_ids, bags.labels.tolist(), strict=True)) == {"a": 1, "c-1": 0}
    assert bags.empty == ("b",)


def nan(folder):
    with h5py.File(folder / "features_uni" / "c-1.h5", "r+") as file:
        file["features"][7, 2] = np.nan


def narrow(folder):
    with h5py.File(folder / "features_uni" / "a.h5", "r+") as file:
        del file["features"]
        file["features"] = np.zeros((5, 3), np.float32)


def short(folder):
    with h5py.File(folder / "features_uni" / "a.h5", "r+") as file:
        del file["coords"]
        file["coords"] = np.zeros((4, 2), np.int64)


def without_coords(folder):
    with h5py.File(folder / "features_uni" / "a.h5", "r+") as file:
        del file["coords"]


def of_type(dtype, width=4):
    def change(folder):
        with h5py.File(folder / "features_uni" / "a.h5", "r+") as file:
            del file["features"]
            file["features"] = np.ones((5, width), dtype)

    return change


def with_attribute(name, value):
    def change(folder):
        with h5py.File(folder / "features_uni" / "a.h5", "r+") as file:
            file["coords"].attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (of_type(np.complex64), r"a\.h5: features of type complex64, where real numbers belong"),
        (of_type(np.float32, width=0), r"a\.h5: features of shape \(5, 0\)"),
        (with_attribute("patch_size_level0", -5), r"a\.h5: its attribute `patch_size_level0` is -5"),
        (with_attribute("patch_size", "big"), r"a\.h5: its attribute `patch_size` is 'big'"),
        (with_attribute("mpp", np.nan), r"a\.h5: its attribute `mpp` is nan"),
        (with_attribute("overlap", np.ones(3)), r"a\.h5: its attribute `overlap` is "),
        (nan, r"c-1\.h5: features are NaN or infinite in 1 rows or more, first row 7"),
        (narrow, "are of several widths: a has 3, b has 4; a store is of one encoder"),
        (short, r"a\.h5: features of shape \(5, 4\) and coordinates of shape \(4, 2\)"),
        (without_coords, r"a\.h5: the file lacks `coords`: it holds features"),
        (
            lambda f: (f / "features_uni" / "a.h5").write_bytes(b"\x89HDF"),
            r"a\.h5: the file is cut short, or is not HDF5",
        ),
        (lambda f: (f / "features_uni" / "b.h5").unlink(), r"lacks the files of 1 of 3 slides: b; it holds a, c-1"),
        (lambda f: trident(f / "features_uni", "a", "conch"), "of several encoders: a has conch, b has uni"),
        (lambda f: (f / "features_conch").mkdir(), "several encoders: features_conch, features_uni; name one"),
        (lambda f: [path.unlink() for path in (f / "features_uni").iterdir()], "holds no feature files"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(table, tmp_path, wsc_ray_command, damage, said):
    source = write(tmp_path, "trident")
    damage(source)
    out = tmp_path / "store"
    with pytest.raises(UserError, match=said):
        features_import(source=source, cohort=table, out=out)
    status, text = wsc_ray_command("features", "import", source, "--cohort", table, "--out", out)
    assert (status, "Traceback" in text) == (2, False)
    assert not out.exists()


def test_tensors_are_read_without_pickles_code(table, tmp_path):
    source = write(tmp_path, "pt")

    class Evil:
        def __reduce__(self):
            return (tmp_path / "ran").write_text, ("",)

    for content, said in (
        (Evil(), "holds something else than a tensor"),
        ({"features": torch.zeros(5, 4)}, "the file holds dict, where a tensor"),
        (torch.zeros(5), r"a tensor of shape \(5,\)"),
    ):
        torch.save(content, source / "pt_files" / "a.pt")
        with pytest.raises(DataError, match=said):
            features_import(source=source, cohort=table, out=tmp_path / "store")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slide_id,label\na,1\n", "no column `patient_id`"),
        ("Slide_ID,patient_id\na,1\n", "no column `slide_id`, did you mean `Slide_ID`"),
        ("slide_id,patient_id\n../a,1\n", "slide_id that cannot be a file name"),
        ("slide_id,patient_id\na,1\na,2\n", "slides that are listed several times: a"),
        ("slide_id,patient_id\na,\n", "null patient_id"),
        ("slide_id,patient_id,mpp\na,1,fine\n", "column `mpp`"),
        ("slide_id,patient_id,mpp\na,1,-2\n", "column `mpp` is not above 0 in line 2"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, text, said):
    source = write(tmp_path, "trident")
    (tmp_path / "wrong.csv").write_text(text)
    with pytest.raises(ManifestError, match=said):
        features_import(source=source, cohort=tmp_path / "wrong.csv", out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("name", "value"), [("tile_size_um", "wide"), ("tile_size_px", -1), ("tile_size_px", [1, 2])])
def test_sizes_of_stamp_that_are_none(table, tmp_path, name, value):
    source = write(tmp_path, "stamp")
    with h5py.File(source / "a.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(UserError, match=rf"a\.h5: its attribute `{name}` is "):
        features_import(source=source, cohort=table, out=tmp_path / "store")


def test_complex_tensors_are_refused(table, tmp_path):
    source = write(tmp_path, "pt")
    torch.save(torch.ones(5, WIDTH, dtype=torch.complex64), source / "pt_files" / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: features of type torch.complex64, where real numbers belong"):
        features_import(source=source, cohort=table, out=tmp_path / "store")


def test_stamps_coordinates_need_the_slides_scale(tmp_path):
    source = write(tmp_path, "stamp")
    (tmp_path / "t.csv").write_text("slide_id,patient_id\na,1\nb,1\nc-1,2\n")
    with pytest.raises(DataError, match=r"um/px are not known.*give a column mpp in the table, or --mpp"):
        features_import(source=source, cohort=tmp_path / "t.csv", out=tmp_path / "store")
    features_import(source=source, cohort=tmp_path / "t.csv", out=tmp_path / "store", mpp=0.25)
    np.testing.assert_array_equal(read_slide(tmp_path / "store", "a").coords, coords_of("a"))
    stamp(source, "a", unit=None)
    with pytest.raises(DataError, match="coordinates are in no known unit"):
        features_import(source=source, cohort=tmp_path / "t.csv", out=tmp_path / "other", mpp=0.25)


def test_a_slides_file_may_lack_the_ending_of_the_slide(tmp_path):
    source = write(tmp_path, "clam")
    (tmp_path / "t.csv").write_text("slide_id,patient_id\na.svs,1\n")
    summary = features_import(source=source, cohort=tmp_path / "t.csv", out=tmp_path / "store")
    assert stored_slides(tmp_path / "store") == {"a.svs"}
    assert summary["notes"] == ["2 files are of slides that the table does not list, and are left aside"]


def test_what_was_interrupted_goes_on_and_other_files_are_refused(table, tmp_path, monkeypatch):
    source, out = write(tmp_path, "trident"), tmp_path / "store"
    copy = importing._copy

    def stop(path, mpp, folder, slide_id, found):
        if slide_id == "b":
            raise KeyboardInterrupt
        copy(path, mpp, folder, slide_id, found)

    monkeypatch.setattr(importing, "_copy", stop)
    with pytest.raises(KeyboardInterrupt):
        features_import(source=source, cohort=table, out=out)
    assert stored_slides(out) == {"a"}
    with pytest.raises(DataError, match="holds no features"):
        read_slides(out)
    monkeypatch.undo()
    assert features_import(source=source, cohort=table, out=out)["slides_written"] == 2
    assert features_import(source=source, cohort=table, out=out)["slides_written"] == 0
    with h5py.File(source / "features_uni" / "a.h5", "r+") as file:
        file["more"] = np.zeros(10000)
    with pytest.raises(RunFolderError, match="holds features with other settings"):
        features_import(source=source, cohort=table, out=out)


def test_parquet_with_other_columns_is_a_cohort_too(table, tmp_path):
    frame = pd.read_csv(table).assign(grade=[1.0, None, 3.0], patches=7)
    frame.to_parquet(tmp_path / "slides.parquet")
    features_import(source=write(tmp_path, "clam"), cohort=tmp_path / "slides.parquet", out=tmp_path / "store")
    slides = pq.read_table(tmp_path / "store" / "slides.parquet").to_pandas().set_index("slide_id")
    assert slides["grade"].dropna().to_dict() == {"a": "1", "c-1": "3"}
    assert slides["patches"].to_dict() == SIZES
