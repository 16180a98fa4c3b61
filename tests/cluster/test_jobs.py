"""Commands on a real cluster that is up: one head and one more node for the whole file, with a token."""

import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from mlflow import MlflowClient

from tests.cluster.head import Wire, two_nodes
from tests.conftest import small_recipe
from tests.slides.drawn import draw, write
from wsc_ray.files import read_json

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-4b1c9d",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-77e0a2",
    "HF_TOKEN": "planted-hf-c05d31",
}


class Said:
    """What a process says, as it says it."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.text, self.closed = process, "", False
        self.grown = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self.grown:
                self.text += line
                self.grown.notify_all()
        with self.grown:
            self.closed = True
            self.grown.notify_all()

    def until(self, pattern: str, seconds: float = 400) -> re.Match:
        with self.grown:
            self.grown.wait_for(lambda: self.closed or re.search(pattern, self.text), timeout=seconds)
            found = re.search(pattern, self.text)
        assert found, f"never said {pattern!r}:\n{self.text}"
        return found

    def ended(self, seconds: float = 500) -> int:
        return self.process.wait(timeout=seconds)


@pytest.fixture(scope="module")
def head():
    with two_nodes() as head:
        yield head


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that all nodes see."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def recipe(manifest, shared):
    """Writes the small recipe, with changes, and returns its file."""

    def write(name="recipe.yaml", **changes):
        settings = small_recipe(manifest)
        for section, values in changes.items():
            settings[section] |= values
        (shared / name).write_text(yaml.safe_dump(settings))
        return shared / name

    return write


def jobs_of(head):
    """Our jobs by id, from the command itself."""
    status, text = head.run("job", "status")
    assert status == 0, text
    return {line.split()[0]: line.split()[1] for line in text.splitlines()[1:] if line.startswith("wsc-ray-")}


# 80 steps, since the run has to outlive two clients, however slowly those start beside other tests.
LONG = {"epochs": 20, "checkpoint_every": 20}


@dataclass
class Followed:
    """What was said of one job by the second client, whose line was cut and who pressed Ctrl-C, and by the third."""

    job: str
    second: str
    status: int
    third: str


@pytest.fixture(scope="module")
def run(head, shared, recipe):
    """A run and how it was made; its first client was killed, and had secrets in its environment."""
    command = ("pretrain", recipe(train=LONG), "--out", "run")  # a path relative to where it is typed
    first = Said(head.command(*command, cwd=shared, environment=SECRETS))
    job = first.until(r"job (wsc-ray-pretrain-run-\w+-1) submitted").group(1)
    first.process.send_signal(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL

    line = Wire(urlsplit(head.address).port)
    second = Said(head.command(*command, address=line.address, cwd=shared, environment=SECRETS))
    second.until(f"job {job} is running already")
    second.until(r"(ok  |warn)  storage: ")  # a busy disk is a slow one
    line.cut()
    second.until(rf"connection to {line.address} dropped")
    second.until(r"(ok  |warn)  clocks: |pretrain: ")
    second.process.send_signal(signal.SIGINT)
    assert second.ended() == 130
    (back,) = re.findall(r"come back with: wsc-ray (job attach \S+) --address \S+", second.text)
    line.close()
    status, text = head.run(*back.split())
    return Followed(job, second.text, status, text)


@pytest.fixture(scope="module")
def after_it(head, shared, recipe, run, tmp_path_factory):
    """What three commands said that come after it, at a time: the same once more, `embed` and `tile`."""
    folder = tmp_path_factory.mktemp("here")
    slide = write(shared / "slides" / "a.tif", draw(512))
    (folder / "slides.csv").write_text(f"path,label,split\n{slide},negative,train\n")  # which the cluster never sees
    return head.run_together(
        ("pretrain", recipe(train=LONG), "--out", shared / "run"),
        ("embed", "--run", shared / "run", "--set", "embed.batch_size=32"),
        ("tile", folder / "slides.csv", "--out", shared / "manifest", "--patch-size", "64"),
    )


def test_a_run_outlives_its_clients_and_is_followed_to_its_end(head, run):
    """One job: its client is killed, the same command attaches, its line is cut, Ctrl-C, `job attach` to the end."""
    assert run.second.count("Running entrypoint for job") == 1, "after the cut, the log went on where it was"
    assert f"come back with: wsc-ray job attach {run.job} " in run.second
    assert run.status == 0, run.third
    assert "Running entrypoint for job" in run.third, "from the beginning"
    assert re.search(r"ok    nodes: .*2 CPUs.*2 CPUs", run.third)
    assert (
        re.search(r"ok    all-reduce: gloo over 2 processes, [\d.]+ GB/s", run.third) or "warn  all-reduce" in run.third
    )
    assert re.search(r"steps_done +80", run.third)
    assert jobs_of(head)[run.job] == "succeeded"


def test_it_leaves_what_a_local_run_leaves_and_where_it_ran(run, shared):
    folder = shared / "run"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps_done"] == 80
    assert (folder / "encoder" / "model.safetensors").exists()
    (job,) = json.loads((folder / "cluster.json").read_text())["jobs"]
    assert len(job["nodes"]) == 2
    assert {node["versions"]["python"] for node in job["nodes"]} == {".".join(map(str, sys.version_info[:3]))}
    assert job["job"] == run.job
    store = f"sqlite:///{shared}/mlflow.db"
    assert read_json(folder / "mlflow.json") == {"uri": store, "run_id": summary["mlflow"]["run_id"]}
    client = MlflowClient(store)
    assert client.get_run(summary["mlflow"]["run_id"]).info.status == "FINISHED"
    names = {item.path for item in client.list_artifacts(summary["mlflow"]["run_id"])}
    assert {"recipe.yaml", "encoder", "cluster.json"} <= names


def test_what_comes_after_success(after_it, shared):
    """The same command says what was done; embedding goes on from the run that lies there; slides become a manifest."""
    (status, text), (embedded, said), (tiled, told) = after_it
    assert tiled == 0, told
    manifest = json.loads((shared / "manifest" / "summary.json").read_text())
    assert manifest["patches"] == manifest["patches_cut"] > 0
    assert (shared / "manifest" / "cluster.json").exists()
    assert status == 0, text
    assert "already complete" in text
    assert len(json.loads((shared / "run" / "cluster.json").read_text())["jobs"]) == 1
    assert embedded == 0, said
    assert json.loads((shared / "run" / "features" / "summary.json").read_text())["patches_embedded"] > 0
    assert (shared / "run" / "features" / "cluster.json").exists()


@pytest.mark.usefixtures("after_it")
def test_every_later_command_runs_there_and_one_from_outside_the_package(head, shared, manifest, tmp_path):
    """A head is searched and measured, a manifest checked; a plug-in's file travels with its command."""
    page = (ROOT / "docs" / "add-a-command.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "count_slides.py").write_text(block)
    status, text = head.run("tune", "--run", shared / "run")
    assert status == 0, text
    (measured, said), (checked, told), (counted, number) = head.run_together(
        ("evaluate", "--run", shared / "run"),
        ("manifest", "check", manifest, "--sample", "10"),
        ("count-slides", manifest, "--split", "train"),
        environment={"WSC_RAY_PLUGINS": str(tmp_path / "count_slides.py")},
    )
    assert measured == 0, said
    assert "balanced accuracy" in said
    assert (shared / "run" / "evaluate" / "cluster.json").exists()
    assert checked == 0, told
    assert re.search(r"images_decoded +10", told)
    assert counted == 0, number
    assert re.search(r"slides +12", number)
    status, text = head.run("predict", "--features", shared / "run" / "features", "--run", shared / "run")
    assert status == 0, text
    expected, found = (probabilities(shared / "run" / name) for name in ("evaluate", "predict"))
    assert {slide: found[slide] for slide in expected} == pytest.approx(expected, abs=1e-6)
    assert (shared / "run" / "predict" / "cluster.json").exists()


def probabilities(folder):
    with (folder / "predictions.csv").open() as file:
        return {row["slide_id"]: float(row["prob_positive"]) for row in csv.DictReader(file)}


def test_what_only_the_cluster_can_tell(head, shared, recipe, tmp_path):
    """Ends with status 2 and nothing written; `doctor` says the same lines of what is right."""
    wrong = recipe("wrong.yaml", data={"manifest": str(shared / "nowhere")}, train={"cpus_per_worker": 2})
    (status, text), (healthy, said) = head.run_together(
        ("pretrain", wrong, "--out", shared / "never"), ("doctor", "--out", shared / "well", "--json"), cwd=tmp_path
    )
    assert status == 2, text
    assert re.search(r"fail  manifest: .*nowhere", text)
    assert re.search(r"fail  cpus: .*train.cpus_per_worker", text)
    assert "preflight: nothing was started; these checks failed, see above: manifest, cpus" in text
    assert "Traceback" not in text
    assert not (shared / "never").exists()
    assert not [path for path in shared.iterdir() if "probe" in path.name]

    assert healthy == 0, said
    states = {line["what"]: line["state"] for line in json.loads(said)}
    assert {"nodes", "python", "ray", "torch", "cuda", "storage", "mlflow", "all-reduce", "clocks"} <= set(states)
    assert "fail" not in states.values()


def test_a_job_is_stopped_and_another_recipe_is_refused_meanwhile(head, shared, recipe):
    endless = recipe("long.yaml", train={"epochs": 1000})  # as if: it would take longer than any of this
    long = Said(head.command("pretrain", endless, "--out", shared / "long"))
    job = long.until(r"job (\S+) submitted").group(1)
    status, text = head.run("pretrain", recipe("other.yaml", train={"lr": 0.01}), "--out", shared / "long")
    assert status == 2
    assert f"job {job} is at work on {shared / 'long'}" in text
    status, text = head.run("job", "stop", job)
    assert status == 0, text
    assert re.search(r"status +stopped", text)
    assert long.ended() == 1
    assert f"job {job} was stopped" in long.text


def test_a_dry_run_says_the_steps_and_submits_nothing(head, shared, recipe):
    before = jobs_of(head)
    status, text = head.run("pretrain", recipe(), "--out", shared / "dry", "--dry-run")
    assert status == 0, text
    assert re.search(r"steps.1 +submit job wsc-ray-pretrain-dry-\w+-1: python jobs/pretrain.py", text)
    assert re.search(r"resources.training workers +2, each 0.5 CPUs", text)
    assert jobs_of(head) == before
    assert not (shared / "dry").exists()


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["none", "another"])
def test_a_token_that_is_missing_or_wrong_is_a_sentence(head, shared, recipe, token):
    environment = {"RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    status, text = head.run("pretrain", recipe(), "--out", shared / "never", environment=environment)
    assert status == 2
    assert "wants another token" in text
    assert "ray get-auth-token" in text
    assert "Traceback" not in text


@pytest.mark.usefixtures("run")
def test_no_secret_is_in_any_log_store_summary_or_run_folder(head, shared):
    """The clients of a job had secrets in their environment, the cluster its token."""
    planted = [secret.encode() for secret in (*SECRETS.values(), head.token)]
    files = [path for folder in (shared, head.folder) for path in folder.rglob("*") if path.is_file()]
    assert any("job-driver-wsc-ray-pretrain-run" in path.name for path in files)
    assert any(path.name == "mlflow.db" for path in files)
    leaks = [str(path) for path in files if any(secret in content(path) for secret in planted)]
    assert not leaks


def content(path: Path) -> bytes:
    """Of a file that a cluster which is up may take away meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""
