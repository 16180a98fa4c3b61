"""Odd paths and URIs: wherever one is given, the answer is one sentence and status 2, and nothing is left."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from wsc_ray.errors import DataError, PlaceError, RunFolderError, UserError
from wsc_ray.fsspec_files import FsspecFiles
from wsc_ray.places import checked_uri, local_path
from wsc_ray.slides.listing import read_list
from wsc_ray.storage import as_path, check_store, filesystem
from wsc_ray.tracking_store import connect

LONG = "x" * 300
PATHS = {
    "nobody": "~nosuchuser/run",
    "long-name": LONG,
    "long-name-inside": f"a/{LONG}/b",
    "long-path": "y/" * 3000,
    "nul": "a\0b",
    "no-text": "x\udcffy",
    "one-slash": "s3:/b/x",
}
URIS = {
    "no-bucket": "s3://",
    "no-bucket-but-a-path": "gs:///x",
    "no-bucket-but-keys": "s3://KEY:SECRET@/x",
    "nothing": "memory://",
    "open-bracket": "http://[::1",
    "open-bracket-and-password": "http://user:SECRET@[bad",
    "nul-in-uri": "s3://b/a\0b",
    "new-line-in-uri": "s3://b/a\nb",
    "nul-in-file-uri": "file:///a%00b",
    "other-machine": "file://host/x",
    "no-repository": "hf://x",
    "refused-ftp": "ftp://127.0.0.1:1/x",
    "no-archive": "zip://a::/no.zip",
    "no-reference": "reference://",
    "nothing-cached": "simplecache::s3://",
    "unknown-scheme": "nonsense://x",
    "refused-behind-a-cache": "filecache::http://127.0.0.1:1/x",
}
ODD = PATHS | URIS


@pytest.fixture
def odd_call(manifest, tmp_path):
    """Command lines that end at once where a place is as it should be, by what the place is."""
    slides = tmp_path / "slides.csv"
    slides.write_text("path,label,split\na.svs,x,train\n")
    small = ["--set", "encoder.backbone=test_resnet", "--set", "encoder.weights=random", "--set", "train.epochs=0"]
    train = ["pretrain", "--set", f"data.manifest={manifest}", *small]

    def call(what: str, place: str) -> list[str]:
        return {
            "out": [*train, "--out", place],
            "manifest": ["pretrain", "--out", "run", "--set", f"data.manifest={json.dumps(place)}"],
            "weights": [*train, "--out", "run", "--set", f"encoder.weights={json.dumps(place)}"],
            "from": [*train, "--out", "run", "--from", place],
            "recipe": ["pretrain", place, "--out", "run"],
            "run": ["embed", "--run", place],
            "features": ["tune", "--features", place, "--out", "head"],
            "source": ["manifest", "import", place, "--out", "made"],
            "import-out": ["manifest", "import", str(manifest), "--out", place],
            "list": ["manifest", "import", str(tmp_path), "--list", f"{place},label=a,split=b", "--out", "made"],
            "check": ["manifest", "check", place],
            "slides": ["tile", place, "--out", "made"],
            "slides-folder": ["tile", str(slides), "--folder", place, "--out", "made"],
            "cluster": [*train, "--out", "run", "--cluster", place],
            "init": ["init", "--out", place],
        }[what]

    return call


@pytest.mark.parametrize("place", ODD.values(), ids=ODD)
def test_wherever_one_is_given(wsc_ray_command, odd_call, tmp_path, monkeypatch, place):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HTTP_PROXY", "")
    whats = (
        "out manifest weights from recipe run features source import-out list check slides slides-folder cluster init"
    )
    for what in whats.split():
        status, text = wsc_ray_command(*odd_call(what, place))
        assert status == 2, (what, text)
        assert text.startswith("wsc-ray: "), (what, text)
        assert "Traceback" not in text
        assert "SECRET" not in text, (what, text)
        assert len(text) < 1500, (what, text)
        assert not list(work.iterdir()), what


@pytest.mark.parametrize("address", ["http://[::1", "http://host:port", "x" * 5000, "http://u:SECRET@h", "ftp://h:1"])
def test_an_odd_address_of_a_cluster(wsc_ray_command, address):
    status, text = wsc_ray_command("job", "status", "--address", address)
    assert status == 2
    assert "write it as http://HEAD:8265" in text
    assert len(text) < 400
    assert "SECRET" not in text


def test_an_empty_path_is_not_the_current_folder(wsc_ray_command, odd_call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for what in ("out", "from", "run", "features", "source", "import-out", "check", "slides", "slides-folder", "init"):
        status, text = wsc_ray_command(*odd_call(what, ""))
        assert status == 2, (what, text)
        assert "empty path" in text, (what, text)


def test_paths_that_are_not_odd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a") == tmp_path / "a"
    assert local_path("ä b:c/é") == tmp_path / "ä b:c" / "é"
    assert local_path("x" * 255) == tmp_path / ("x" * 255)
    assert local_path("./~nosuchuser") == tmp_path / "~nosuchuser"
    assert checked_uri("gs://bucket/a#b c") == "gs://bucket/a#b c"
    assert checked_uri("http://[::1]:80/x") == "http://[::1]:80/x"


def test_a_current_folder_that_has_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(PlaceError, match="current folder has gone"):
        as_path("run")
    os.chdir(tmp_path)


def test_what_a_filesystem_of_fsspec_raises_is_an_oserror():
    class Failing:
        protocol = "failing"

        def __getattr__(self, name):
            def fail(*_, **__):
                raise TypeError(f"{name} wants more")

            return fail

    files = pa.fs.PyFileSystem(FsspecFiles(Failing()))
    for call in (
        lambda: files.get_file_info("a"),
        lambda: files.get_file_info(pa.fs.FileSelector("a")),
        lambda: files.open_input_stream("a"),
        lambda: files.open_output_stream("a"),
        lambda: files.delete_dir("a"),
    ):
        with pytest.raises(OSError, match="wants more"):
            call()


def test_in_python_it_is_a_user_error(tmp_path):
    for name in set(URIS) - {"refused-behind-a-cache"}:  # which fsspec may take for a missing file
        place = URIS[name]
        with pytest.raises(UserError):
            filesystem(place) if place.startswith(("file", "zip", "ref")) else check_store(as_path(place))
    with pytest.raises(DataError):
        filesystem("github://nothing")
    with pytest.raises(RunFolderError):
        check_store(as_path("ftp://127.0.0.1:1/x"))


def test_odd_paths_inside_lists(wsc_ray_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = [LONG, "http://[::1", "~nosuchuser/x"]
    slides = tmp_path / "slides.csv"
    slides.write_text("path,slide_id,label,split\n" + "".join(f"{p},s{n},x,train\n" for n, p in enumerate(odd)))
    with pytest.raises(UserError, match="3 problems"):
        read_list(slides)
    images = tmp_path / "images.csv"
    images.write_text("path,label,slide_id,split\n" + "".join(f"{p},x,s,train\n" for p in odd))
    status, text = wsc_ray_command("manifest", "import", tmp_path, "--list", images, "--out", "made")
    assert status == 2
    assert "files missing" in text
    assert not Path("made").exists()


STORES = [
    "http://user:SECRETpw@[bad",
    "http://[::1",
    "nonsense://x",
    "sqlite:////proc/nowhere/x.db",
    "sqlite:///" + "x" * 300,
    "databricks://user:SECRETpw@x",
    "http://127.0.0.1:1/?password=SECRETpw",
    "http://user:SEC/RETpw@127.0.0.1:1",
    "postgresql://user:SECRETpw@127.0.0.1:1/x",
    "s3://user:SECRETpw@/mlflow.db",
    "sqlite:///a\0b",
]


@pytest.mark.parametrize("uri", STORES, ids=lambda uri: uri[:30].replace("\0", "-"))
def test_an_odd_mlflow_store(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="MLflow at") as caught:
        connect(uri, "e")
    assert not any(part in str(caught.value) for part in ("SECRETpw", "RETpw"))
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("experiment", ["../../../esc", "..", "/abs/olute", "a/b", ".hidden", "é" * 100, " "])
def test_artifacts_stay_below_their_folder(tmp_path, monkeypatch, experiment):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "store").mkdir(parents=True)
    client, found = connect(f"sqlite:///{tmp_path}/deep/store/mlflow.db", experiment)
    run = client.create_run(found)
    (tmp_path / "file.txt").write_text("x")
    client.log_artifact(run.info.run_id, str(tmp_path / "file.txt"))
    (written,) = [path for path in tmp_path.rglob("file.txt") if path.parent != tmp_path]
    assert written.is_relative_to(tmp_path / "deep" / "store" / "mlartifacts")
    assert len(written.relative_to(tmp_path / "deep" / "store" / "mlartifacts").parts) == 4


@pytest.mark.parametrize("experiment", ["a\0b", "a\nb", "   ", "x" * 5000])
def test_experiments_that_have_no_name(wsc_ray_command, manifest, tmp_path, experiment):
    status, text = wsc_ray_command(
        *("pretrain", "--out", tmp_path / "run", "--set", f"data.manifest={manifest}"),
        *("--set", f"tracking.experiment={json.dumps(experiment)}"),
    )
    assert status == 2
    assert "`tracking.experiment`" in text
    assert len(text) < 400
