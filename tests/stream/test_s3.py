"""A manifest on S3 gives the same stream as one on disk, also while its storage fails."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from tests.broken import import_table
from tests.s3 import BUCKET
from wsc_ray.commands import pretrain
from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.storage import S3_ATTEMPTS, filesystem
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.quarantine import from_json
from wsc_ray.stream.read import read_window
from wsc_ray.stream.record import Recorder, samples_digest


@pytest.fixture(scope="module")
def stored(s3, cohort, tmp_path_factory):
    """The cohort imported on disk and straight to S3; the path on disk."""
    folder = tmp_path_factory.mktemp("stored")
    import_table(pq.read_table(cohort), folder / "s3", s3.uri("manifest"))
    return import_table(pq.read_table(cohort), folder / "disk")


class Window:
    """A manifest, opened, and a window of it, a batch a step, whenever it is read."""

    def __init__(self, settings, uri, **stream):
        changed = {"data": {"manifest": str(uri)}, "stream": {**settings["stream"], **stream}}
        self.recipe = validate_recipe({**settings, **changed})
        self.manifest = open_manifest(self.recipe.data.manifest)
        self.plan = make_plan(self.manifest, self.recipe)

    def read(self, window=0):
        self.waits = []
        return list(
            read_window(
                self.plan,
                self.manifest,
                self.recipe.augment,
                epoch=0,
                window=window,
                shards=range(self.plan.geometry.shards),
                stream=self.recipe.stream,
                sleep=self.waits.append,
            )
        )


def digest(batches):
    found = hashlib.sha256()
    for batch in batches:
        found.update(repr([batch[name].tolist() for name in ("step", "slide_id", "x", "y", "label")]).encode())
        found.update(batch["views"].tobytes())
    return found.hexdigest()


def told(batches):
    return [bad for batch in batches for text in batch["bad"] for bad in from_json(text)]


def test_a_manifest_on_s3_gives_the_batches_of_the_one_on_disk(s3, stored, settings):
    local, remote = open_manifest(stored), open_manifest(s3.uri("manifest"))
    assert remote.digest == local.digest
    assert remote.row_groups == local.row_groups
    assert digest(Window(settings, s3.uri("manifest")).read()) == digest(Window(settings, stored).read())


@pytest.mark.parametrize("kind", ["500", "503", "close", "cut", "stall"])
def test_failures_that_pass_change_nothing(s3, stored, settings, kind):
    times = 1 if kind == "stall" else 6
    window = Window(settings, s3.uri("manifest", proxy=True))
    with s3.failing(kind, "part-00000", times) as fault:
        batches = window.read()
    assert fault.seen == times
    assert told(batches) == []
    assert digest(batches) == digest(Window(settings, stored).read())


def test_a_manifest_that_fails_for_good_is_a_sentence(s3, stored, settings):
    window = Window(settings, s3.uri("manifest", proxy=True), retries=0, max_bad_fraction=1.0)
    with s3.failing("500", "part-"), pytest.raises(DataError, match=r"none of the \d+ patches .* row group \d+ .* 500"):
        window.read()


@pytest.fixture(scope="module")
def objects(s3, cohort, tmp_path_factory):
    """The same patches as an object each: a manifest of their URIs, through the proxy, and slide, x, y -> object."""
    table = pq.read_table(cohort)
    keys = [f"images/{row:04d}.jpg" for row in range(table.num_rows)]
    for key, image in zip(keys, table["image"].to_pylist(), strict=True):
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=image)
    uris = pa.array([s3.uri(key, proxy=True) for key in keys])
    linked = table.drop_columns("image").append_column("image_uri", uris)
    manifest = import_table(linked, tmp_path_factory.mktemp("objects"), link=True)
    return manifest, dict(zip(places(table.to_pydict()), keys, strict=True))


def places(columns):
    return list(zip(*(columns[name] for name in ("slide_id", "x", "y")), strict=True))


def test_images_that_are_objects(s3, objects, stored, settings):
    manifest, keys = objects
    window = Window(settings, manifest)
    whole = window.read()
    assert digest(whole) == digest(Window(settings, stored).read())
    with s3.failing("503", keys[places(whole[0])[3]], S3_ATTEMPTS + 1) as fault:
        assert digest(window.read()) == digest(whole)
    assert fault.seen == S3_ATTEMPTS + 1  # more than the client itself asks
    assert window.waits == [0.5]


@pytest.mark.parametrize(("kind", "said"), [("500", "500"), ("404", "cannot be read")])
def test_objects_that_fail_for_good_are_quarantined_with_their_reason(s3, objects, settings, kind, said):
    manifest, keys = objects
    window = Window(settings, manifest, retries=1)
    whole = window.read()
    fed = places(whole[0])
    with s3.failing(kind, keys[fed[3]]):
        batches = window.read()
    (bad,) = told(batches)
    assert (bad.slide_id, bad.x, bad.y) == fed[3]
    assert said in bad.reason
    assert window.waits == [0.5]
    now = places(batches[0])
    assert now[:3] + now[4:] == fed[:3] + fed[4:]
    assert now[3] != fed[3]
    assert batches[0]["label"].tolist() == whole[0]["label"].tolist()


def test_pretraining_feeds_what_is_on_disk(s3, stored, settings, ray_cluster, tmp_path):
    settings["train"]["epochs"] = 1
    settings["stream"]["record"] = True
    recorder, local = Recorder(), Window(settings, stored)
    for number in range(local.plan.geometry.windows):
        for batch in local.read(number):
            recorder.add(batch)
    recorder.save(tmp_path / "local", 0)

    settings["data"]["manifest"] = s3.uri("manifest", keys=True)
    summary = pretrain(recipe=validate_recipe(settings), out=tmp_path / "remote")
    assert summary["steps_done"] == 4
    assert summary["bad_patches"] == 0
    assert summary["samples_sha256"] == samples_digest(tmp_path / "local")


def test_an_s3_uri_keeps_its_options(s3):
    found, path = filesystem(s3.uri("a/b.parquet", keys=True))
    assert isinstance(found, fs.S3FileSystem)
    assert found.region == "us-east-1"
    assert path == f"{BUCKET}/a/b.parquet"
    found, path = filesystem(s3.uri("new/", keys=True).replace(BUCKET, "other") + "&allow_bucket_creation=true")
    found.create_dir(path)
    assert "other" in [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]]
    with pytest.raises(DataError, match="nonsense"):
        filesystem(s3.uri("a") + "&nonsense=1")
