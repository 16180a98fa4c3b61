"""From what nodes say to lines: every wrong thing has its line, which says how to mend it."""

import contextlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import ray
import torch

from tests.features.manifests import write_manifest
from tests.mil.cohort import write_store
from wsc_ray import entry
from wsc_ray.commands import find_command
from wsc_ray.preflight import gather as gathering
from wsc_ray.preflight.check_result import as_text, failures
from wsc_ray.preflight.facts import Facts, Node, Reduce, Storage
from wsc_ray.preflight.inputs import why_unreadable
from wsc_ray.preflight.verdicts import preflight
from wsc_ray.recipe.reading import validate_recipe

SHARED = Storage(sees=True, seen=True, write_mb_s=300, read_mb_s=900)
VERSIONS = {"python": "3.11.9", "ray": "2.60.0", "torch": "2.14.1", "cuda": "13.0", "timm": "1.0.31"}
A = Node(name="10.0.0.1", versions=VERSIONS, cpus=8, gpus=1, gpus_seen=1, storage=SHARED)
B = replace(A, name="10.0.0.2")
GOOD = Facts(
    nodes=(A, B),
    out="/shared/run",
    manifest="/shared/cohort",
    tracking=("http://mlflow:5000", ""),
    reduce=Reduce("nccl", 2, gb_s=8.0),
)


def with_b(**changes):
    return replace(GOOD, nodes=(A, replace(B, **changes)))


def test_a_good_cluster_has_a_line_a_subject_and_all_are_ok():
    lines = preflight(GOOD)
    assert {line["state"] for line in lines} == {"ok"}
    names = [line["what"] for line in lines]
    assert len(set(names)) == len(names)
    assert {"nodes", "python", "ray", "torch", "cuda", "packages", "gpus", "storage"} <= set(names)
    assert {"manifest", "mlflow", "cpus", "all-reduce", "clocks"} <= set(names)
    assert "10.0.0.1 (8 CPUs, 1 GPU)" in as_text(lines)


def test_what_nobody_asked_about_has_no_line():
    names = {line["what"] for line in preflight(replace(GOOD, out=None, manifest=None, reduce=None))}
    assert not names & {"storage", "manifest", "all-reduce"}


@pytest.mark.parametrize(
    ("facts", "what", "said"),
    [
        (replace(GOOD, silent=("10.0.0.3 (dead)",)), "nodes", ("10.0.0.3",)),
        (with_b(versions=VERSIONS | {"torch": "2.13.0"}), "torch", ("2.14.1 on 10.0.0.1", "2.13.0 on 10.0.0.2")),
        (with_b(versions=VERSIONS | {"python": "3.12.1"}), "python", ("3.12.1 on 10.0.0.2",)),
        (with_b(versions=VERSIONS | {"ray": None}), "ray", ("none on 10.0.0.2",)),
        (with_b(versions=VERSIONS | {"cuda": None}), "cuda", ("none on 10.0.0.2",)),
        (with_b(versions=VERSIONS | {"timm": None}), "packages", ("10.0.0.2 lacks timm", "pip install")),
        (with_b(gpus_seen=0), "gpus", ("10.0.0.2 (0 of 1)", "driver")),
        (with_b(storage=Storage()), "storage", ("10.0.0.2", "every node mounts")),
        (with_b(storage=replace(SHARED, seen=False)), "storage", ("10.0.0.2", "every node mounts")),
        (with_b(storage=Storage(problem="Permission denied")), "storage", ("10.0.0.2: Permission denied",)),
        (with_b(manifest="no such folder"), "manifest", ("10.0.0.2: no such folder",)),
        (replace(GOOD, tracking=("http://mlflow", "MLflow at http://mlflow cannot be used")), "mlflow", ("cannot",)),
        (replace(GOOD, cpus="train.cpus_per_worker: too many"), "cpus", ("train.cpus_per_worker",)),
        (replace(GOOD, reduce=Reduce("nccl", 2, problem="timeout")), "all-reduce", ("timeout", "NCCL_SOCKET_IFNAME")),
        (replace(GOOD, reduce=Reduce("gloo", 2, problem="refused")), "all-reduce", ("GLOO_SOCKET_IFNAME",)),
        (with_b(ahead=-3600.0), "clocks", ("10.0.0.2 3600 s behind", "chrony")),
    ],
)
def test_what_is_wrong_fails_in_its_own_line_and_no_other(facts, what, said):
    (line,) = failures(preflight(facts))
    assert line["what"] == what
    for words in said:
        assert words in line["detail"]


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (with_b(storage=replace(SHARED, write_mb_s=3)), "storage"),
        (replace(GOOD, reduce=Reduce("gloo", 2, gb_s=0.02)), "all-reduce"),
        (with_b(ahead=20.0), "clocks"),
    ],
)
def test_what_is_only_slow_or_a_little_off_warns(facts, what):
    assert [line["what"] for line in preflight(facts) if line["state"] != "ok"] == [what]
    assert not failures(preflight(facts))


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """The checks that fail for a command and its arguments, through the job's own entry, with one node that answers for itself."""
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(
        gathering,
        "_ask",
        lambda alive, trial, read: (
            {"node": replace(A, storage=None, manifest=why_unreadable(read) if read else "")},
            (),
        ),
    )
    monkeypatch.setattr(gathering, "look_at_store", lambda uri, experiment: ("sqlite:///mlflow.db", ""))
    monkeypatch.setattr(gathering, "_cpus", lambda recipe: "")
    monkeypatch.setattr(gathering.storage_probe, "begin", lambda out: None)
    seen = []

    @contextlib.contextmanager
    def prepared(beside, nodes, look):
        seen.append(look())
        yield seen[-1]

    monkeypatch.setattr(entry, "_prepared", prepared)
    recipe = validate_recipe({"data": {"manifest": str(tmp_path / "gone")}, "train": {"workers": 1}})

    def run(command, **arguments):
        declaration = replace(find_command(command), function=lambda **given: {"already_complete": True})
        entry._carried_out(declaration, arguments, recipe, tmp_path / "out", None, 1)
        return [line["what"] for line in failures(preflight(replace(seen[-1], out=None)))], seen[-1]

    return run


@pytest.mark.parametrize("command", ["predict", "evaluate", "tune", "probe", "embed", "pretrain"])
def test_a_manifest_that_the_command_does_not_read_may_be_gone(command, failing):
    wrong, _ = failing(command)
    assert wrong == (["manifest"] if command in ("embed", "pretrain") else [])


@pytest.mark.parametrize("command", ["embed", "predict"])
def test_what_an_argument_names_is_checked_and_not_the_recipes(command, failing, tmp_path):
    named = tmp_path / "other"
    wrong, facts = failing(command, manifest=str(named))
    assert wrong == ["manifest"]
    assert facts.manifest == str(named)
    write_manifest(named, [[["a"] * 5]])
    assert failing(command, manifest=str(named)) == ([], facts_with(facts, ""))
    wrong, _ = failing(command, features=str(tmp_path / "none"))
    assert wrong == ["manifest"]
    store = write_store(tmp_path / "store", slides={"train": 2})
    assert failing(command, features=str(store))[0] == []
    (store / "slides.parquet").unlink()  # as of another tool
    assert failing(command, features=str(store))[0] == []
    for file in store.glob("*.h5"):
        file.write_bytes(b"nothing")
    wrong, facts = failing(command, features=str(store))
    assert wrong == ["manifest"]
    assert f"{store / 'train-000.h5'} cannot be read" in facts.nodes[0].manifest


def facts_with(facts, manifest):
    return replace(facts, nodes=(replace(facts.nodes[0], manifest=manifest),))


def test_a_node_says_which_cuda_its_torch_is_built_for_without_torch():
    """Importing torch takes seconds, on every node and in every job."""
    code = "import json, sys; from wsc_ray.preflight.node_facts import node_facts; "
    code += "print(json.dumps([node_facts('a', 0, None, None)['versions'], 'torch' in sys.modules]))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    versions, imported = json.loads(said)
    assert (versions["torch"].partition("+")[0], versions["cuda"]) == (
        torch.__version__.partition("+")[0],
        torch.version.cuda,
    )
    assert not imported
