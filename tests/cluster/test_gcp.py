"""`cluster/gcp.yaml` in a stand-in for Google Cloud: what Ray's launcher asks for is what the file says."""

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httplib2
import pytest
from google.auth.credentials import AnonymousCredentials

from tests.cluster.files import ask_for_all, filled
from wsc_ray.autostop.clouds import Gcp, end_step


class GoogleCloud:
    """Answers what Ray's launcher asks of Google's APIs, as an owner's fresh project would, and keeps what it asks for."""

    def __init__(self, project: str):
        self.project = project
        self.inserted: dict[str, dict[str, Any]] = {}  # name -> instance
        self.metadata: dict[str, Any] = {"items": []}
        self.roles: dict[str, list[str]] = {}
        self.deleted: list[str] = []

    def request(self, _, uri: str, method: str = "GET", body: str | None = None, **__: Any):
        path = urlsplit(uri).path
        query = dict(parse_qsl(urlsplit(uri).query))
        answer = self._answer(method, path, json.loads(body) if body else query)
        assert answer is not None, (method, path)
        status = "404" if answer == "none" else "200"
        return httplib2.Response({"status": status, "content-type": "application/json"}), json.dumps(answer).encode()

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        account = {"email": f"head@{self.project}.iam.gserviceaccount.com", "projectId": self.project}
        last = path.rpartition("/")[2]
        if path.endswith(":getIamPolicy"):
            return {"bindings": []}
        if path.endswith(":setIamPolicy"):
            self.roles = {one["role"]: one["members"] for one in body["policy"]["bindings"]}
            return body["policy"]
        if path.endswith("/setCommonInstanceMetadata"):
            self.metadata = body
            return {"name": "operation", "status": "DONE"}
        if "/operations/" in path:
            return {"name": "operation", "status": "DONE"}
        if "/serviceAccounts" in path:
            return "none" if method == "GET" else account
        if path.endswith("/subnetworks"):
            return {"items": [{"selfLink": "projects/p/regions/r/subnetworks/default"}]}
        if path.endswith("/instances"):
            if method == "POST":
                self.inserted[body["name"]] = body
                return {"name": "operation", "status": "DONE"}
            key, _, value = body.get("filter", "").removeprefix("labels.").partition("=")
            there = [one for name, one in self.inserted.items() if name not in self.deleted]
            return {"items": [one | {"status": "RUNNING"} for one in there if not value or one["labels"][key] == value]}
        if last in self.inserted and method == "DELETE":
            self.deleted.append(last)
            return {"name": "operation", "status": "DONE"}
        if last == self.project:
            return {
                "projectId": last,
                "name": last,
                "lifecycleState": "ACTIVE",
                "commonInstanceMetadata": self.metadata,
            }
        return None


@pytest.fixture(scope="module")
def gcp(home):
    cloud = GoogleCloud("my-project")
    (file,) = filled("gcp.yaml", CHANGE_ME_PROJECT=cloud.project, CHANGE_ME_BUCKET="my-bucket")
    credentials = {"gcp_credentials": {"type": "credentials_token", "credentials": "tests-only"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httplib2.Http, "request", lambda http, *given, **named: cloud.request(http, *given, **named))
        config, provider = ask_for_all(file | {"provider": file["provider"] | credentials})
        machines = {one["labels"]["ray-user-node-type"]: one for one in cloud.inserted.values()}
        assert len(cloud.inserted) == 2
        yield SimpleNamespace(cloud=cloud, file=file, config=config, provider=provider, **machines)


def test_gcp_head_stays_and_workers_are_spot_with_a_gpu(gcp):
    assert "scheduling" not in gcp.head
    assert gcp.worker["scheduling"]["provisioningModel"] == "SPOT"
    types = gcp.file["available_node_types"]
    for machine, name in ((gcp.head, "head"), (gcp.worker, "worker")):
        assert machine["machineType"].endswith(f"/machineTypes/{types[name]['node_config']['machineType']}")
    assert gcp.worker["machineType"].rpartition("/")[2].startswith("g2-")  # machines with a GPU
    cpus = int(gcp.worker["machineType"].rpartition("-")[2])
    assert types["worker"]["resources"] == {"CPU": cpus, "GPU": 1}
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["max_workers"] > types["worker"]["min_workers"] >= 1


def test_gcp_machines_have_accounts_and_no_keys(gcp):
    (head,), (worker,) = gcp.head["serviceAccounts"], gcp.worker["serviceAccounts"]
    member = f"serviceAccount:{head['email']}"
    assert any(member in members for members in gcp.cloud.roles.values())
    assert worker["email"] == f"wsc-ray@{gcp.cloud.project}.iam.gserviceaccount.com"
    assert not any(worker["email"] in member for members in gcp.cloud.roles.values() for member in members)


def test_gcp_runs_lie_in_the_bucket_and_nothing_is_mounted(gcp):
    assert gcp.config["metadata"]["storage"] == "gs://my-bucket/wsc-ray"
    assert "mount " not in str(gcp.config["initialization_commands"] + gcp.config["setup_commands"])
    for machine in (gcp.head, gcp.worker):
        (account,) = machine["serviceAccounts"]
        assert "https://www.googleapis.com/auth/cloud-platform" in account["scopes"]


def test_gcp_no_firewall_rule_opens_a_port(gcp):
    for machine in (gcp.head, gcp.worker):
        assert "tags" not in machine  # to which a firewall rule could open a port


def test_gcp_a_cluster_ends_from_its_head_the_head_last_and_no_other(gcp, monkeypatch):
    """As the watch does it, on machines beside those of the file."""
    monkeypatch.setattr("google.auth.default", lambda *_, **__: (AnonymousCredentials(), gcp.cloud.project))
    for cluster, kind in (("mine", "head"), ("mine", "worker"), ("theirs", "head"), ("theirs", "worker")):
        name, labels = f"{cluster}-{kind}", {"ray-cluster-name": cluster, "ray-node-type": kind}
        gcp.cloud.inserted[name] = {"name": name, "labels": labels}
    before = list(gcp.cloud.deleted)
    cloud = Gcp("mine", {"project_id": gcp.cloud.project, "availability_zone": "us-central1-a"})
    steps = []
    while end_step(cloud):
        steps.append(gcp.cloud.deleted[len(before) :])
    assert steps == [["mine-worker"], ["mine-worker", "mine-head"]]
    for name in ("mine-head", "mine-worker", "theirs-head", "theirs-worker"):
        del gcp.cloud.inserted[name]
    gcp.cloud.deleted[:] = before


def test_gcp_machines_that_go_are_deleted_not_stopped(gcp):
    gcp.provider.terminate_nodes(list(gcp.cloud.inserted))
    assert sorted(gcp.cloud.deleted) == sorted(gcp.cloud.inserted)
