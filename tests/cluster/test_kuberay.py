"""`cluster/kuberay.yaml`: KubeRay and Kubernetes take it."""

from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.cluster.files import ROOT, filled, read

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}


def _only(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


# What our file uses of KubeRay's custom resource (ray.io/v1, helm-chart/kuberay-operator/crds/ray.io_rayclusters.yaml, read at
# commit 017710c of ray-project/kuberay): names, types and what is required there; any other key is a mistake. Pods are checked with Kubernetes' own schema.
_POD = {"type": "object"}
_START = {"type": "object", "additionalProperties": TEXT}
RAY_CLUSTER = _only(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=_only(("name",), name=TEXT, annotations={"type": "object", "additionalProperties": TEXT}),
    spec=_only(
        ("headGroupSpec",),
        rayVersion=TEXT,
        authOptions=_only((), mode={"enum": ["disabled", "token"]}),
        enableInTreeAutoscaling={"type": "boolean"},
        autoscalerOptions=_only((), idleTimeoutSeconds=COUNT),
        headGroupSpec=_only(("template",), rayStartParams=_START, template=_POD),
        workerGroupSpecs={
            "type": "array",
            "items": _only(
                ("groupName", "minReplicas", "maxReplicas", "template"),
                groupName=TEXT,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                rayStartParams=_START,
                template=_POD,
            ),
        },
    ),
)


@pytest.fixture(scope="module")
def kuberay():
    return filled("kuberay.yaml", CHANGE_ME_CLASS="nfs", CHANGE_ME_REGISTRY="registry.example.com")


def test_kuberay_takes_the_cluster(kuberay):
    jsonschema.validate(kuberay[1], RAY_CLUSTER)
    spec = kuberay[1]["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    (group,) = spec["workerGroupSpecs"]
    assert 1 <= group["minReplicas"] == group["replicas"] < group["maxReplicas"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert spec["rayVersion"] == pinned["ray"]
    assert f"rayproject/ray:{pinned['ray']}-" in read("README.md")


def test_kubernetes_takes_the_pods_and_the_folder(kuberay):
    claim, cluster = kuberay
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(claim, version, strict=True)
    spec = cluster["spec"]
    for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
        kubernetes_validate.validate(pod, version, strict=True)
        (container,) = pod["spec"]["containers"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/shared"]
        (volume,) = pod["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
