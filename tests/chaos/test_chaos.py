"""Chaos: the pure parts, and a few real kills against commands that were left alone."""

import json
import shutil

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import invoke
from wsc_ray.bench.chaos import attempts, processes
from wsc_ray.bench.chaos.facts import differences, folder_facts
from wsc_ray.bench.chaos.stages import known_names, stages_of


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("/venv/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", processes.RAYLET),
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=x", processes.GCS),
        ("ray::RayTrainWorker.run", processes.WORKER),
        ("ray::TrainController", processes.CONTROLLER),
        ("ray::SplitCoordinator", processes.READER),
        ("ray::MapBatches(read)", processes.READER),
        ("ray::IDLE", None),
        ("/venv/bin/python -u dashboard/agent.py", None),
    ],
)
def test_what_a_process_does(line, role):
    assert processes.role_of(line) == role


def write_results(folder, seconds: float) -> None:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"out": str(folder), "loss": 1.5, "seconds": seconds}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0, "patches_per_second": seconds}) + "\n")
    (folder / "ledger.jsonl").write_text(json.dumps({"when": str(seconds), "slides": 8}) + "\n")
    (folder / "table.csv").write_text(f"trial,auroc,seconds\na,0.5,{seconds}\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / ".lock").write_text(str(seconds))
    pq.write_table(pa.table({"slide_id": ["a", "b"]}), folder / "slides.parquet")
    with h5py.File(folder / "a.h5", "w") as file:
        file["features"] = np.ones((1, 2), np.float32)


@pytest.fixture
def two(tmp_path):
    """Folders of two runs that differ in times and places alone."""
    for name, seconds in (("calm", 1.0), ("round-1", 2.0)):
        write_results(tmp_path / name, seconds)
    return tmp_path / "calm", tmp_path / "round-1"


def compared(two) -> list[str]:
    return differences(folder_facts(two[0]), folder_facts(two[1]), "round-1")


def test_times_and_places_are_no_difference(two):
    assert compared(two) == []
    assert len(folder_facts(two[0])) == 7


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "table.csv", "model.safetensors"])
def test_other_content_is_a_difference(two, name):
    path = two[1] / name
    path.write_bytes(
        path.read_bytes().replace(b"loss", b"lost").replace(b"weights", b"weighty").replace(b"0.5", b"0.6")
    )
    assert compared(two) == [f"round-1: {name} differs"]


def test_a_file_that_is_not_what_its_name_says_is_named(two):
    (two[1] / "state.json").write_bytes(b"\x80\x05")
    (two[1] / "b.h5").write_bytes(b"cut")
    assert compared(two) == ["round-1: b.h5 was left", "round-1: state.json was left"]


def test_other_arrays_and_tables_are_a_difference(two):
    with h5py.File(two[1] / "a.h5", "a") as file:
        file["features"][0, 0] = 3
    pq.write_table(pa.table({"slide_id": ["b", "a"]}), two[1] / "slides.parquet")
    assert compared(two) == ["round-1: a.h5 differs", "round-1: slides.parquet differs"]


def test_a_missing_file_and_one_too_many(two):
    (two[1] / "metrics.jsonl").rename(two[1] / ".metrics.jsonl.0123abcd")
    assert compared(two) == ["round-1: metrics.jsonl is missing", "round-1: .metrics.jsonl.0123abcd was left"]


def test_a_traceback_a_status_and_an_orphan_are_faults():
    def faults(**values) -> list[str]:
        known = {"stage": "embed", "kills": ("raylet",), "status": 0, "seconds": 1.0, "said": ""}
        return attempts.Attempt(**{**known, **values}).faults()

    assert faults() == faults(status=2, said="wsc-ray: Ray ended") == faults(status=-9, kills=("driver",)) == []
    assert faults(status=1) == ["embed after the death of raylet: exit status 1, and not a sentence with 2"]
    assert faults(said=attempts.TRACEBACK) == ["embed after the death of raylet: a traceback"]
    assert faults(orphans=("ray::RayTrainWorker",)) == [
        "embed after the death of raylet: left ray::RayTrainWorker behind"
    ]
    assert "did not end" in faults(seconds=attempts.LIMIT_SECONDS)[0]


def test_the_commands_are_in_order(tmp_path):
    stages = stages_of(tmp_path / "table", tmp_path / "slides.csv", known_names())
    assert [stage.name for stage in stages] == ["tile", "manifest import", "pretrain", "embed", "tune", "evaluate"]
    assert [stage.name for stage in stages_of(tmp_path / "table", None, ["embed", "tile"])] == ["embed"]


def test_an_unknown_command_is_refused(tmp_path):
    done = invoke("bench", "chaos", "--out", tmp_path / "out", "--command", "pretrian")
    assert done.exit_code == 2
    assert "--command pretrian: give one of tile, manifest import, pretrain" in done.output
    assert not (tmp_path / "out").exists()


def test_a_command_that_fails_by_itself_is_said_as_often_as_it_is_typed(tmp_path):
    slides = tmp_path / "slides.csv"
    slides.write_text("slide_id,path\na,nothing.svs\n")
    for _ in range(2):
        done = invoke("bench", "chaos", "--out", tmp_path / "out", "--command", "tile", "--slides", slides)
        assert done.exit_code == 2
        assert "`wsc-ray tile` fails when nothing is killed" in done.output


@pytest.mark.long
@pytest.mark.cluster
def test_a_few_kills_make_no_difference(tmp_path):
    options = ("--kills", 3, "--seed", 5, "--steps", 12, "--command", "manifest import", "--command", "pretrain")
    done = invoke("bench", "chaos", "--out", tmp_path / "out", *map(str, options))
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["kills"] == 3
    assert summary["faults"] == []
    shutil.rmtree(tmp_path / "out")
