"""KubeRay through `kubectl`: a stand-in program here, since a Kubernetes cluster cannot be had in a test.

It keeps pods in a file, forwards ports to a small server, and notes what it was asked.
"""

import base64
import sys
import textwrap

import pytest
import yaml

from wsc_ray.commands import find_command
from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import read_cluster_file
from wsc_ray.provision.kuberay import KubeRay
from wsc_ray.remote.bring_up import bring_up, jobs_of
from wsc_ray.submit.call import make_call

KUBECTL = f"""\
#!{sys.executable}
import http.server, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
with (here / "asked").open("a") as file:
    file.write(" ".join(arguments) + "\\n")
assert arguments[:2] == ["--namespace", "lab"], arguments
verb, rest = arguments[2], arguments[3:]
pods = here / "pods"
if (here / "refuses").exists():
    sys.exit("error: You must be logged in to the server (Unauthorized)")
elif verb == "apply" and (here / "full").exists():
    sys.exit("error: exceeded quota")
elif verb == "apply":
    (here / "applied").write_text(sys.stdin.read())
    pods.write_text("pod/k-head\\n")
elif verb == "delete":
    (here / "stuck").exists() or pods.unlink(missing_ok=True)
elif verb == "port-forward":
    class Dashboard(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)
    port = int(rest[-1].partition(":")[0])
    http.server.HTTPServer(("127.0.0.1", port), Dashboard).serve_forever()
elif rest[0] == "secret":
    print({base64.b64encode(b"a-token").decode()!r}, end="")
elif "conditions" in rest[-1]:
    print("True" if pods.exists() else "", end="")
else:
    print(pods.read_text() if pods.exists() else "", end="")
"""


@pytest.fixture
def kube(tmp_path, monkeypatch):
    """A cluster of that kubectl, and its folder."""
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "kubectl").write_text(textwrap.dedent(KUBECTL))
    (bin / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin))
    monkeypatch.setattr("wsc_ray.provision.kuberay._PAUSE", 0.05)
    monkeypatch.setattr("wsc_ray.provision.kuberay.SECONDS", 0.5)
    cluster = {
        "kind": "RayCluster",
        "metadata": {"name": "k", "namespace": "lab"},
        "spec": {"authOptions": {"mode": "token"}},
    }
    (tmp_path / "k.yaml").write_text(yaml.safe_dump(cluster))
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": cluster["metadata"],
        "spec": {"entrypoint": "python theirs.py", "rayClusterSpec": cluster["spec"]},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump_all([{"kind": "PersistentVolumeClaim"}, job]))
    return KubeRay(read_cluster_file(tmp_path / "k.yaml")), bin


def test_from_nothing_to_nothing(kube):
    cluster, bin = kube
    with pytest.raises(ClusterError, match="is not up"), cluster.reach():
        pass
    assert not cluster.is_up()
    cluster.start()
    assert cluster.is_up()
    assert cluster.token() == "a-token"
    with cluster.reach(seconds=30) as address:
        assert address.startswith("http://127.0.0.1:")
    assert cluster.down() == []
    asked = (bin / "asked").read_text()
    assert "delete raycluster k --ignore-not-found --wait" in asked
    assert "port-forward --address 127.0.0.1 pod/k-head" in asked


def test_of_a_ray_job_the_cluster_is_brought_up_alone(kube):
    """Its own entry point would be a second job, which takes the cluster down when it ends."""
    cluster, bin = kube
    job = KubeRay(read_cluster_file(cluster.file.path.with_name("job.yaml")))
    job.start()
    claim, applied = yaml.safe_load_all((bin / "applied").read_text())
    assert claim == {"kind": "PersistentVolumeClaim"}
    assert applied == {"apiVersion": "ray.io/v1", **cluster.file.config}
    assert job.token() == "a-token"
    assert job.down() == []


def test_what_is_left_is_said(kube):
    cluster, bin = kube
    cluster.start()
    (bin / "stuck").touch()
    assert cluster.down() == ["pod/k-head"]
    assert cluster.down_command == "kubectl --namespace lab delete raycluster k"


def test_a_kubectl_that_is_not_connected(kube):
    cluster, bin = kube
    (bin / "refuses").touch()
    with pytest.raises(ClusterError, match="Unauthorized"):
        cluster.is_up()
    assert "Unauthorized" in cluster.down()[0]


def test_what_a_start_that_fails_may_leave(kube, capsys):
    """The cluster is taken down at once, since nothing watches it. With `--down never` it stays up, and a warning says so."""
    cluster, bin = kube
    (bin / "full").touch()
    call = make_call(find_command("embed"), {"run": bin})
    with pytest.raises(ClusterError, match="exceeded quota"):
        bring_up(call, str(cluster.file.path), down="never")
    assert f"k is still up, as far as it came, and costs what its machines cost; `{cluster.down_command}`" in (
        capsys.readouterr().err
    )
    assert "delete" not in (bin / "asked").read_text()
    for down in ("on-success", "always"):
        (bin / "asked").write_text("")
        with pytest.raises(ClusterError, match="exceeded quota"):
            bring_up(call, str(cluster.file.path), down=down)
        assert "delete raycluster k" in (bin / "asked").read_text()
        assert "still up" not in capsys.readouterr().err


@pytest.mark.parametrize("down", [None, "on-success", "always"])
def test_a_cluster_that_is_not_up_is_not_said_to_be(kube, capsys, down):
    cluster, bin = kube
    with pytest.raises(ClusterError, match="is not up"), jobs_of(cluster=str(cluster.file.path), down=down):
        pass
    assert "still up" not in capsys.readouterr().err
    assert "delete" not in (bin / "asked").read_text()


def test_a_word_that_says_not_when_to_take_it_down_starts_nothing(kube):
    cluster, bin = kube
    with pytest.raises(ClusterError, match="--down: one of always, on-success, never"):
        bring_up(make_call(find_command("embed"), {"run": bin}), str(cluster.file.path), down="allways")
    assert not (bin / "asked").exists()
