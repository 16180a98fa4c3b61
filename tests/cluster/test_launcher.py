"""`--cluster FILE` as a user types it: Ray's launcher brings two machines up over SSH, and takes them down.

One cluster for the whole file. A test that needs it up brings it up where it is down, and asserts about its own run.
"""

import json
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient
from safetensors.torch import load_file

from tests import s3 as store
from tests.cluster.head import Wire
from tests.cluster.local_config import local_config, write_token
from tests.cluster.machines import Network, network, until
from tests.cluster.test_jobs import SECRETS, Said, content
from tests.conftest import small_recipe
from wsc_ray.files import local_file, read_json
from wsc_ray.pretrain import metrics_file
from wsc_ray.run_folder import RunFolder

FILE = "cluster/local.yaml"
BUCKET = "cluster/bucket.yaml"  # the same machines, with a bucket for runs
STEPS = 24


@dataclass
class Project:
    """A checkout on the laptop, with `wsc-ray.yaml` and cluster files for these machines.

    Attributes:
        ended: a job that ended well, by the cluster that ran it; one that is brought up again knows nothing of them.
    """

    net: Network
    ended: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> RunFolder:
        """Where `pretrain --cluster FILE` leaves its run."""
        return RunFolder(self.net.shared / "runs" / "wsc-ray")

    def cluster(self) -> str | None:
        """The cluster that is up: the command line of its head, which holds its session's name."""
        return next((line for line in self.net.processes() if "gcs_server" in line), None)

    def pretrain(self, *arguments: str | Path, cluster: str = FILE) -> tuple[int, str]:
        """`wsc-ray pretrain --cluster FILE ...` to its end: exit status and what it said."""
        stood = self.cluster()
        status, text = self.net.run("pretrain", *arguments, "--cluster", cluster)
        assert ("Ray runtime started" in text) == (stood is None), f"what is up is used as it is: {text}"
        return status, text

    def recipe(self, name: str, **changes: dict) -> str:
        """Write the recipe with these changes under another name."""
        settings = yaml.safe_load((self.net.project / "wsc-ray.yaml").read_text())
        for section, values in changes.items():
            settings[section] |= values
        (self.net.project / f"{name}.yaml").write_text(yaml.safe_dump(settings))
        return f"{name}.yaml"

    def up(self) -> str:
        """A job that ended well on the cluster, which is brought up where it is down."""
        if self.cluster() not in self.ended:
            status, text = self.pretrain("--down", "never")
            assert status == 0, text
            self.ended[self.cluster()] = submitted(text)
        return self.ended[self.cluster()]


def submitted(text: str) -> str:
    (job,) = re.findall(r"job (wsc-ray-pretrain-wsc-ray-\w+-\d+) submitted", text)
    return job


@pytest.fixture(scope="module")
def net():
    with network(2) as made:
        write_token(made)
        yield made


@pytest.fixture(scope="module")
def door(net, s3):
    """`host:port` by which the machines reach the S3 server of this process."""
    wire = Wire(s3.port, net.listen())
    yield wire.door
    wire.close()


@pytest.fixture(scope="module")
def project(net, s3, door, manifest):
    """`cluster/local.yaml` for these machines, which have this Python already and the bucket's keys."""
    config = local_config(net)
    keys = f"AWS_ACCESS_KEY_ID={store.KEY} AWS_SECRET_ACCESS_KEY={store.SECRET} AWS_EC2_METADATA_DISABLED=true"
    config["initialization_commands"] += [
        f"echo export {keys} >> ~/wsc-ray/environment",
        f"export WANDB_API_KEY={SECRETS['HF_TOKEN']}",
    ]
    (net.project / FILE).write_text(yaml.safe_dump(config))
    (net.project / BUCKET).write_text(yaml.safe_dump(config | {"metadata": {"storage": s3.uri("lab", door=door)}}))
    recipe = small_recipe(manifest)
    recipe["encoder"]["backbone"] = "test_vit"
    recipe["train"] |= {"steps_per_epoch": STEPS // 2, "checkpoint_every": 4}
    (net.project / "wsc-ray.yaml").write_text(yaml.safe_dump(recipe))
    return Project(net)


@dataclass
class Typed:
    """What was said of a run that was typed twice with nothing but the cluster's file."""

    job: str
    first: str
    second: str


@pytest.fixture(scope="module")
def typed_twice(net, project):
    """The first client is killed once the job is submitted, the second follows it to its end."""
    client = Said(net.command("pretrain", "--cluster", FILE, **SECRETS))
    client.until(r"job \S+ submitted")
    client.process.send_signal(signal.SIGKILL)
    assert client.ended() == -signal.SIGKILL
    until(lambda: not net.connections())
    job = submitted(client.text)
    status, text = project.pretrain("--down", "never")
    assert status == 0, text
    project.ended[project.cluster()] = job
    return Typed(job, client.text, text)


@pytest.fixture(scope="module")
def killed_in_a_bucket(net, project, s3, door, typed_twice):
    """The same recipe with the bucket for runs; the driver is killed in the middle, and the command typed again."""
    run = RunFolder(s3.uri("lab/runs/wsc-ray"))
    client = Said(net.command("pretrain", "--cluster", BUCKET))
    client.until(r"job \S+ submitted")
    until(lambda: client.closed or any(run.checkpoints.glob("checkpoint_*")), 400)
    assert not client.closed, client.text
    net.driver("jobs/pretrain.py").kill()
    assert client.ended() == 128 + signal.SIGKILL, client.text
    assert not (run.path / "summary.json").exists()
    assert f"results go to {s3.uri('lab/runs/wsc-ray', door=door)}" in client.text
    assert "wsc-ray is still up" in client.text
    job = submitted(client.text)
    status, text = project.pretrain("--down", "never", cluster=BUCKET)
    assert status == 0, text
    assert submitted(text) == f"{job.removesuffix('-1')}-2"
    return run


def test_a_dry_run_starts_nothing(net, project):
    stood = project.cluster()
    status, text = project.net.run("pretrain", project.recipe("dry"), "--cluster", FILE, "--dry-run")
    assert status == 0, text
    assert re.search(rf"out +{net.shared}/runs/dry", text)
    assert "bring up wsc-ray (local), unless it is up, and wait for 2 nodes" in text
    assert f"if it ended well, ray down --yes {net.project / FILE}" in text
    assert re.search(r"resources.training workers +2, each 0.5 CPUs", text)
    assert project.cluster() == stood
    assert stood or not net.processes()
    assert not (net.shared / "runs" / "dry").exists()


def test_a_mistake_that_only_the_cluster_can_tell_leaves_it_up_and_says_so(net, project):
    recipe = project.recipe("never", data={"manifest": str(net.shared / "nowhere")})
    status, text = project.pretrain(recipe)
    assert status == 2, text
    assert re.search(r"ok    nodes: .*10.77.0.11.*10.77.0.12", text)
    assert re.search(r"ok    all-reduce: gloo over 2 processes", text) or "warn  all-reduce" in text
    assert re.search(r"fail  manifest: .*nowhere", text)
    assert (
        f"wsc-ray is still up, and costs what its machines cost; `ray down --yes {net.project / FILE}` takes it down"
        in text
    )
    assert any("raylet" in line for line in net.processes())
    assert not (net.shared / "runs" / "never").exists()


def test_typed_twice_with_nothing_else_it_is_one_run(net, project, typed_twice):
    """The first client is killed: the job goes on, no connection stays, and the second client follows the same job."""
    where = f"results go to {net.shared}/runs/wsc-ray"
    for text in (typed_twice.first, typed_twice.second):
        assert where in text
        assert text.index(where) < text.index("bringing up")
    assert f"job {typed_twice.job} is running already" in typed_twice.second
    assert "Running entrypoint for job" in typed_twice.second, "from the beginning"
    assert re.search(rf"steps_done +{STEPS}", typed_twice.second)
    assert [line["step"] for line in metrics_file.read(project.run.metrics)] == list(range(1, STEPS + 1))
    assert "wsc-ray is still up" in typed_twice.second
    assert not net.connections()


def test_it_leaves_what_a_local_run_leaves_and_the_cluster(net, project, typed_twice):
    run = project.run.path
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps_done"] == STEPS
    (job,) = json.loads((run / "cluster.json").read_text())["jobs"]
    assert job["job"] == typed_twice.job
    assert {node["name"] for node in job["nodes"]} == set(net.machines)
    kept = yaml.safe_load((run / "cluster.yaml").read_text())
    assert kept["provider"]["head_ip"] == "10.77.0.11"
    assert kept["auth"]["ssh_private_key"] == "(removed)"
    client = MlflowClient(f"sqlite:///{net.shared}/mlflow.db")
    names = {item.path for item in client.list_artifacts(summary["mlflow"]["run_id"])}
    assert {"recipe.yaml", "encoder", "cluster.json", "cluster.yaml"} <= names


@pytest.mark.long  # `anywhere/test_bucket.py` says the same of a run on two nodes, but for the job and the way to it
def test_a_driver_killed_in_the_middle_and_typed_again_ends_as_a_run_left_alone(net, project, killed_in_a_bucket):
    """Runs go to the bucket that the cluster's file names."""
    there, here = killed_in_a_bucket, project.run
    assert [line["step"] for line in metrics_file.read(there.metrics)] == list(range(1, STEPS + 1))
    summary = read_json(there.path / "summary.json")
    assert summary["steps_done"] == STEPS
    assert summary["mlflow"]["run_id"] == read_json(there.path / "mlflow.json")["run_id"]
    client = MlflowClient(f"sqlite:///{net.shared}/mlflow.db")
    history = client.get_metric_history(summary["mlflow"]["run_id"], "loss")
    assert sorted(metric.step for metric in history) == list(range(1, STEPS + 1))
    jobs = read_json(there.path / "cluster.json")["jobs"]
    assert [job["job"].rpartition("-")[2] for job in jobs] == ["2"], "the first was killed before it could say so"
    ours = load_file(here.encoder / "model.safetensors")
    with local_file(there.encoder / "model.safetensors") as file:
        theirs = load_file(file)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.long
def test_a_cluster_that_does_not_stop_is_noticed_and_taken_down_once_it_can_be(net, project, typed_twice):
    """Without `ray` on the PATH of a login, stopping fails, and Ray's launcher says that no nodes remain. It has forgotten
    them then; the command typed again, with nothing else, finds them, has nothing to do and takes them down."""
    job = project.up()
    profiles = [net.folder / f"machine-{number}" / ".profile" for number in range(2)]
    texts = [profile.read_text() for profile in profiles]
    for profile in profiles:
        profile.unlink()
    status, text = net.run("job", "attach", job, "--cluster", FILE, "--down", "always")
    for profile, before in zip(profiles, texts, strict=True):
        profile.write_text(before)
    assert "Running entrypoint for job" in text
    assert re.search(rf"job +{job}", text)
    assert "No nodes remaining" in text
    assert re.search(
        r"wsc-ray is not down: on 10.77.0.11: process \d+ \S+gcs_server; .*end it yourself: ray down", text
    )
    assert status == 2
    assert any("raylet" in line for line in net.processes())

    status, text = project.pretrain()
    assert status == 0, text
    assert f"results go to {project.run.path}" in text
    assert "already complete" in text
    assert len(read_json(project.run.path / "cluster.json")["jobs"]) == 1
    assert "taking down wsc-ray" in text
    assert not net.processes()
    assert not net.connections()


def secrets_of(net) -> list[bytes]:
    token = (net.folder / "laptop" / ".ray" / "auth_token").read_text()
    return [secret.encode() for secret in (*SECRETS.values(), token, net.key.read_text(), store.SECRET)]


def test_no_secret_is_in_any_log_store_summary_or_run_folder(net, typed_twice):
    planted = secrets_of(net)
    logs = [net.folder / f"machine-{number}" / "ray" for number in range(2)]
    files = [path for folder in (net.shared, *logs) for path in folder.rglob("*") if path.is_file()]
    assert any("job-driver-wsc-ray-pretrain-wsc-ray" in path.name for path in files)
    assert any(path.name == "mlflow.db" for path in files)
    # The head's autoscaler writes the launcher's file into its own log.
    files = [path for path in files if not path.name.startswith("monitor")]
    assert not [str(path) for path in files if any(secret in content(path) for secret in planted)]


@pytest.mark.long
def test_no_secret_is_in_the_bucket(net, killed_in_a_bucket, s3):
    planted = secrets_of(net)
    listed = s3.client.list_objects_v2(Bucket=store.BUCKET, Prefix="lab/")["Contents"]
    objects = {item["Key"]: s3.client.get_object(Bucket=store.BUCKET, Key=item["Key"])["Body"] for item in listed}
    assert "lab/runs/wsc-ray/summary.json" in objects
    texts = {key: body.read() for key, body in objects.items()}
    assert not [key for key, text in texts.items() if any(secret in text for secret in planted)]
