"""Cluster files: what they promise, what is wrong with them, and what of them is kept."""

import os

import pytest
import yaml

from tests.cluster.files import CLUSTER
from wsc_ray.commands import find_command
from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import read_cluster_file
from wsc_ray.provision.requirements import check_requirements, token_of
from wsc_ray.provision.without_secrets import REMOVED, without_secrets
from wsc_ray.remote.bring_up import bring_up
from wsc_ray.submit.call import make_call

LOCAL = {
    "cluster_name": "mine",
    "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "10.0.0.3"]},
    "auth": {"ssh_user": "me"},
}


@pytest.fixture
def written(tmp_path):
    """Writes a file and returns it."""

    def write(*documents):
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all(documents))
        return tmp_path / "cluster.yaml"

    return write


def test_nodes_are_the_head_and_the_fewest_workers(written):
    assert read_cluster_file(written(LOCAL)).nodes == 3
    assert read_cluster_file(written(LOCAL | {"min_workers": 1})).nodes == 2
    assert (
        read_cluster_file(written(LOCAL | {"provider": {"type": "local", "head_ip": "a", "worker_ips": []}})).nodes == 1
    )
    types = {"head": {"min_workers": 0}, "gpu": {"min_workers": 2}, "cpu": {}}
    cloud = {"cluster_name": "c", "provider": {"type": "aws"}, "available_node_types": types, "head_node_type": "head"}
    assert read_cluster_file(written(cloud)).nodes == 3
    groups = [{"minReplicas": 2, "replicas": 4}, {"replicas": 1}]
    ray_cluster = {"kind": "RayCluster", "metadata": {"name": "k"}, "spec": {"workerGroupSpecs": groups}}
    found = read_cluster_file(written({"kind": "PersistentVolumeClaim"}, ray_cluster))
    assert (found.kind, found.name, found.nodes) == ("kuberay", "k", 4)
    job = {"kind": "RayJob", "metadata": {"name": "j"}, "spec": {"rayClusterSpec": ray_cluster["spec"]}}
    found = read_cluster_file(written({"kind": "PersistentVolumeClaim"}, job))
    assert (found.kind, found.name, found.nodes) == ("kuberay", "j", 4)


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml"])
def test_the_files_of_the_project_ask_for_their_values(name):
    with pytest.raises(ClusterError, match=r"put your own values for .*CHANGE-ME"):
        read_cluster_file(CLUSTER / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1", "neither a file of Ray's cluster launcher"),
        ("", "neither a file of Ray's cluster launcher"),
        ("cluster_name: x\nprovider: {type: local}", "head_ip is missing"),
        (
            "cluster_name: x\nprovider: {type: local, head_ip: a}\nauth: {ssh_user: u}\nmin_workers: two",
            "not in the format of Ray's launcher .*two",
        ),
        ("cluster_name: x\nprovider: {type: local, head_ip: a}", "auth is missing"),
        ("cluster_name: x\nprovider: {type: local, head_ip: a}\nauth: {}", "ssh_user is missing"),
        ("kind: RayCluster", "metadata is missing"),
        (
            "kind: RayJob\nmetadata: {name: j}\nspec: {clusterSelector: {ray.io/cluster: k}}",
            "rayClusterSpec is missing",
        ),
        (
            "cluster_name: x\nprovider: {type: aws}\navailable_node_types: {gpu: }",
            "not in the format of Ray's launcher",
        ),
    ],
)
def test_what_is_no_cluster_file(tmp_path, text, said):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ClusterError, match=said):
        read_cluster_file(tmp_path / "x.yaml")
    with pytest.raises(ClusterError, match="cannot be read"):
        read_cluster_file(tmp_path / "none.yaml")


def test_what_is_not_known_to_be_harmless_is_taken_out(written):
    planted = {
        "auth": {"ssh_user": "me", "ssh_private_key": "~/planted", "anything": "planted"},
        "docker": {"image": "rayproject/ray:2.60.0", "registry_password": "planted", "run_options": ["-e A=planted"]},
        "metadata": {"storage": "s3://planted:planted@bucket/runs?secret_key=planted", "note": "planted"},
        "setup_commands": ["export A=planted", "anything planted"],
        "file_mounts": {"~/planted": "planted"},
        "api_token": 1234567890,
        "max_workers": {"planted": "planted"},  # a form that no one expects there
        "never_heard_of": {"cluster_name": "planted", "deep": [{"region": "planted"}]},
    }
    kept = without_secrets(read_cluster_file(written(LOCAL | planted)))
    assert "planted" not in kept
    assert "1234567890" not in kept
    document = yaml.safe_load(kept)
    assert set(document) == set(LOCAL | planted)
    assert document["provider"] == LOCAL["provider"]
    assert document["auth"] == {"ssh_user": "me", "ssh_private_key": REMOVED, "anything": REMOVED}
    assert document["docker"]["image"] == "rayproject/ray:2.60.0"
    assert document["metadata"]["storage"] == "s3://bucket/runs"
    assert document["setup_commands"] == document["never_heard_of"] == REMOVED


def test_of_kubernetes_the_cluster_is_kept_and_no_value_of_a_variable(written):
    env = [{"name": "HF_TOKEN", "value": "planted"}, {"name": "A", "valueFrom": {"secretKeyRef": {"key": "planted"}}}]
    container = {
        "name": "ray-worker",
        "image": "me/wsc-ray:0.1.0",
        "command": ["planted"],
        "resources": {"limits": {"cpu": "8", "nvidia.com/gpu": "1"}},
        "env": env,
    }
    group = {
        "groupName": "gpu",
        "replicas": 2,
        "rayStartParams": {"num-cpus": "0", "redis-password": "planted"},
        "template": {"metadata": {"annotations": {"a": "planted"}}, "spec": {"containers": [container]}},
    }
    cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "k", "annotations": {"wsc-ray/storage": "/shared", "other": "planted"}},
        "spec": {"rayVersion": "2.60.0", "workerGroupSpecs": [group]},
    }
    job = {
        "kind": "RayJob",
        "metadata": {"name": "j"},
        "spec": {"entrypoint": "planted", "rayClusterSpec": cluster["spec"]},
    }
    for kind in ("Secret", "ConfigMap", "Deployment"):
        other = {"kind": kind, "metadata": {"name": "mine"}, "stringData": {"a": "planted"}, "spec": {"a": "planted"}}
        for ray in (cluster, job):
            kept = without_secrets(read_cluster_file(written(other, ray, ["planted"], "planted")))
            assert "planted" not in kept
            first, second, *_ = yaml.safe_load_all(kept)
            assert first == {"kind": kind, "metadata": {"name": "mine"}, "stringData": REMOVED, "spec": REMOVED}
            spec = second["spec"] if ray is cluster else second["spec"]["rayClusterSpec"]
            (found,) = spec["workerGroupSpecs"]
            assert found["replicas"] == 2
            assert found["rayStartParams"] == {"num-cpus": "0", "redis-password": REMOVED}
            (pod,) = found["template"]["spec"]["containers"]
            assert {k: pod[k] for k in ("name", "image", "resources")} == {
                k: container[k] for k in ("name", "image", "resources")
            }
            assert pod["env"] == [{"name": "HF_TOKEN", "value": REMOVED}, {"name": "A", "valueFrom": REMOVED}]


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml"])
def test_of_the_projects_files_the_machines_are_kept(name, tmp_path):
    text = (CLUSTER / name).read_text().replace("CHANGE-ME", "mine")
    (tmp_path / name).write_text(text)
    file = read_cluster_file(tmp_path / name)
    (tmp_path / "kept.yaml").write_text(without_secrets(file))
    again = read_cluster_file(tmp_path / "kept.yaml")
    assert (again.kind, again.name, again.provider, again.nodes) == (file.kind, file.name, file.provider, file.nodes)
    assert again.storage == file.storage
    machine = {"aws.yaml": "g6.2xlarge", "gcp.yaml": "g2-standard-8", "local.yaml": "mine-HEAD", "kuberay.yaml": "gpu"}
    assert machine[name] in (tmp_path / "kept.yaml").read_text()


def test_means_that_are_missing_are_said_together(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    mounts = {"~/.ray/auth_token": "~/.ray/auth_token", "~/x": "nowhere"}
    auth = {"ssh_user": "me", "ssh_private_key": "~/no-key"}
    file = read_cluster_file(written(LOCAL | {"auth": auth, "file_mounts": mounts}))
    with pytest.raises(ClusterError, match=r"no-key.*get-auth-token --generate.*there is no nowhere here"):
        check_requirements(file)
    odd = {
        "auth": {**auth, "ssh_private_key": "~nosuchuser/key"},
        "file_mounts": {"~/x": "~nosuchuser/x", "~/y": "a\0b"},
    }
    with pytest.raises(ClusterError, match=r"there is no ~nosuchuser/key.*there is no ~nosuchuser/x here"):
        check_requirements(read_cluster_file(written(LOCAL | odd)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"ssh is not on this machine.*rsync is not on this machine"):
        check_requirements(file)


def test_the_token_is_this_users_where_the_file_brings_it(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("abc\n")
    assert token_of(read_cluster_file(written(LOCAL))) is None
    assert token_of(read_cluster_file(written(LOCAL | {"file_mounts": {"~/x": "~/.ray/auth_token"}}))) == "abc"


def test_a_cloud_without_credentials_is_a_sentence(written, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr("shutil.which", lambda tool: tool)
    for provider, said in (("aws", "no AWS credentials"), ("gcp", "no Google Cloud credentials")):
        cloud = {"cluster_name": "c", "provider": {"type": provider}, "available_node_types": {}}
        with pytest.raises(ClusterError, match=said):
            check_requirements(read_cluster_file(written(cloud)))


def test_an_address_and_a_file(wsc_ray_command, tmp_path):
    status, text = wsc_ray_command(
        *("embed", "--run", tmp_path, "--address", "http://127.0.0.1:9", "--cluster", "cluster/aws.yaml")
    )
    assert status == 2
    assert "give --address, of a cluster that is up, or --cluster" in text
    status, text = wsc_ray_command("job", "status", "--address", "http://127.0.0.1:9", "--cluster", "x.yaml")
    assert status == 2
    assert "not both" in text


def test_a_head_that_nobody_can_log_in_to_starts_nothing(written, tmp_path):
    """Port 9 of loopback answers nobody; Ray's launcher would wait for minutes."""
    auth = {"ssh_user": "nobody", "ssh_proxy_command": "false"}
    file = written(LOCAL | {"auth": auth, "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}})
    call = make_call(find_command("embed"), {"run": tmp_path})
    with pytest.raises(ClusterError, match=r"cannot log in to 127\.0\.0\.1"):
        bring_up(call, str(file))
