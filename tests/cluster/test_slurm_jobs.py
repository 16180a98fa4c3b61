"""`--cluster cluster/slurm.sh` against stand-ins that answer as Slurm's documented programs do: sent, followed, stopped.

`sbatch` starts the script as a process; `srun` runs what `ray symmetric-run` would run once its nodes are there, on a Ray of this
machine.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.files import CLUSTER
from tests.cluster.test_jobs import Said
from wsc_ray.errors import ClusterError
from wsc_ray.files import read_json, write_json
from wsc_ray.submit.call import Call
from wsc_ray.submit.slurm import SlurmJobs

SBATCH = f"""\
#!{sys.executable}
import os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
parsable, output, script = sys.argv[1:]
assert parsable == "--parsable", sys.argv
if (here / "full").exists():
    sys.exit("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy")
number = str(1000 + len(list(here.glob("job-*"))))
slurm = {{"SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}}
with open(output.removeprefix("--output="), "w") as log:
    job = subprocess.Popen(["bash", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | slurm, start_new_session=True)
(here / f"job-{{number}}").write_text(str(job.pid))
print(number + ";cluster")
"""
# Of a job that ended Slurm knows nothing after some minutes.
SQUEUE = f"""\
#!{sys.executable}
import pathlib, psutil, sys
here = pathlib.Path(__file__).parent
noheader, jobs, form = sys.argv[1:]
assert (noheader, form) == ("--noheader", "--format=%T"), sys.argv
pid = int((here / ("job-" + jobs.removeprefix("--jobs="))).read_text())
try:
    alive = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
except psutil.NoSuchProcess:
    alive = False
print("RUNNING") if alive else sys.exit("slurm_load_jobs error: Invalid job id specified")
"""
SCANCEL = f"""\
#!{sys.executable}
import os, pathlib, signal, sys
here = pathlib.Path(__file__).parent
os.killpg(int((here / ("job-" + sys.argv[1])).read_text()), signal.SIGTERM)
"""
SRUN = """\
#!/bin/bash
while [ "$1" != -- ]; do shift; done
shift 3  # --, env, RAY_ADDRESS=...
unset RAY_AUTH_MODE
exec "$@"
"""
SLEEPS = '''\
"""A command that takes its time."""

from typing import Annotated

from wsc_ray.command import Address, Cluster, Down, Option, command


@command("sleep", sent=True, works_on="folder")
def sleep(
    *,
    folder: Annotated[str, Option(metavar="DIR", argument=True, kind="path")],
    address: Address = None,
    cluster: Cluster = None,
    down: Down = "on-success",
) -> dict:
    """Sleep for long."""
    import time

    print("sleeping", flush=True)
    time.sleep(600)
    return {}
'''


class Slurm:
    """A login node: a home, the stand-ins on the PATH, and the script."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / "bin"
        self.script = folder / "slurm.sh"
        self.script.write_text((CLUSTER / "slurm.sh").read_text())
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text("token")
        venv = folder / "venv" / "bin"
        for place, name, text in (
            (self.bin, "sbatch", SBATCH),
            (self.bin, "squeue", SQUEUE),
            (self.bin, "scancel", SCANCEL),
            (venv, "srun", SRUN),
            (venv, "ray", "#!/bin/bash\n"),
            (venv, "python", f'#!/bin/bash\nexec {sys.executable} "$@"\n'),
        ):
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
            (place / name).chmod(0o755)

    def command(self, *arguments: str | Path) -> subprocess.Popen:
        known = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        own = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "VENV": str(self.folder / "venv"),
            "WSC_RAY_PLUGINS": str(self.folder / "sleeps.py") if "sleep" in arguments else "",
        }
        line = [sys.executable, "-m", "wsc_ray", *map(str, arguments), "--cluster", str(self.script)]
        return subprocess.Popen(
            line, env=known | own, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        process = self.command(*arguments)
        text, _ = process.communicate(timeout=300)
        return process.returncode, text

    def end(self) -> None:
        """No job of a test outlives it."""
        for path in self.bin.glob("job-*"):
            try:
                family = psutil.Process(int(path.read_text()))
                everyone = [*family.children(recursive=True), family]
            except psutil.NoSuchProcess:
                continue
            for process in everyone:
                process.kill()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    yield made
    made.end()


def test_a_command_is_sent_and_followed_to_its_end(slurm, manifest):
    out = slurm.folder / "checked"
    status, text = slurm.run("manifest", "check", manifest, "--out", out)
    assert status == 0, text
    (job,) = re.findall(r"job (wsc-ray-manifest-check-checked-\w+-1) submitted at Slurm", text)
    assert re.search(r"ok    nodes: ", text), "the job's log"
    assert (out / "summary.json").exists()
    assert read_json(out / "cluster.json")["jobs"][0]["job"] == job
    status, text = slurm.run("job", "status")
    assert status == 0
    assert re.search(rf"{job} +succeeded +0 ", text)
    status, text = slurm.run("job", "logs", job)
    assert re.search(r"ok    nodes: ", text)


def test_a_job_that_fails_ends_the_command_as_itself(slurm):
    status, text = slurm.run("manifest", "check", slurm.folder / "nowhere")
    assert status == 2, text
    assert "nowhere" in text
    assert re.search(r"job \S+ failed with exit status 2; its log: wsc-ray job logs \S+ --cluster ", text)


def test_a_client_that_is_killed_leaves_its_job_which_is_followed_and_stopped(slurm):
    (slurm.folder / "sleeps.py").write_text(SLEEPS)
    client = Said(slurm.command("sleep", slurm.folder / "bed"))
    client.until("sleeping")
    client.process.send_signal(signal.SIGKILL)
    (job,) = re.findall(r"job (\S+) submitted", client.text)
    again = Said(slurm.command("sleep", slurm.folder / "bed"))
    again.until(f"job {job} is running already")
    again.until("sleeping")
    attached = Said(slurm.command("job", "attach", job))
    attached.until("sleeping")
    status, text = slurm.run("job", "stop", job)
    assert status == 0, text
    assert "stopped" in text
    for each in (again, attached):
        assert each.ended(60) == 1, each.text
        each.until(f"job {job} was stopped; type its command again to go on")


def test_what_slurm_refuses_is_a_sentence_and_leaves_nothing(slurm):
    (slurm.bin / "full").touch()
    before = sorted((slurm.folder / ".wsc-ray" / "slurm").iterdir())
    status, text = slurm.run("manifest", "check", slurm.folder / "other")
    (slurm.bin / "full").unlink()
    assert status == 2
    assert "sbatch refuses" in text
    assert "QOS policy" in text
    assert sorted((slurm.folder / ".wsc-ray" / "slurm").iterdir()) == before
    status, text = slurm.run("manifest", "check", slurm.folder / "other", "--max-hours", "2")
    assert status == 2
    assert "#SBATCH --time" in text


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A home with one job that was sent, and a Slurm whose `squeue` says what the file `state` holds."""
    place = tmp_path / ".wsc-ray" / "slurm" / "wsc-ray-tune-a-1"
    place.mkdir(parents=True)
    facts = {"slurm": "7", "script": str(tmp_path / "slurm.sh"), "started": 1000.0}
    write_json(place / "slurm.json", {**facts, "command": "tune", "out": "/a", "digest": "0"})
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ncat {tmp_path}/state\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return place


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *((each, "RUNNING") for each in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING")),
        *((each, "RUNNING") for each in ("STAGE_OUT", "A_STATE_OF_TOMORROW")),
        *((each, "PENDING") for each in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")),
        *((each, "FAILED") for each in ("TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "CANCELLED")),
    ],
)
def test_every_state_that_slurm_documents(sent, tmp_path, state, status):
    os.utime(sent / "slurm.json", (0, 0))  # not so fresh that an exit status may still appear
    (tmp_path / "state").write_text(f"{state}\n")
    (job,) = SlurmJobs(tmp_path / "slurm.sh").all()
    assert job.status == status


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b'{"script": "s"}', "lacks slurm, started"), (b"[]", "not a JSON object")],
)
def test_a_damaged_file_of_a_job_is_named(sent, tmp_path, content, said):
    (sent / "slurm.json").write_bytes(content)
    with pytest.raises(ClusterError, match=rf"wsc-ray-tune-a-1/slurm.json .*{said}.*; delete its folder, if `squeue"):
        SlurmJobs(tmp_path / "slurm.sh").all()


def test_an_exit_status_that_is_none(sent, tmp_path):
    """A full disk leaves an empty file."""
    (tmp_path / "state").write_text("")
    (sent / "exit").write_text("")
    (job,) = SlurmJobs(tmp_path / "slurm.sh").all()
    assert (job.status, job.exit_status) == ("FAILED", None)


def test_a_job_whose_number_stands_among_a_sites_own_lines_is_kept(sent, tmp_path):
    (tmp_path / "state").write_text("Welcome to the cluster\n12345;west\n")
    (tmp_path / "slurm.sh").touch()
    call = Call(command="manifest check", arguments={}, out="/b")
    job_id = SlurmJobs(tmp_path / "slurm.sh").submit(call)
    assert read_json(sent.parent / job_id / "slurm.json")["slurm"] == "12345"


def test_a_home_that_cannot_be_written_is_a_sentence(sent, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/proc")
    with pytest.raises(ClusterError, match=r"/proc/.wsc-ray/slurm/\S+ cannot be made: .*; jobs are kept in your home"):
        SlurmJobs(tmp_path / "slurm.sh").submit(Call(command="manifest check", arguments={}, out="/b"))


def test_a_machine_without_slurm_is_a_sentence(slurm, wsc_ray_command, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    status, text = wsc_ray_command("manifest", "check", "m", "--cluster", slurm.script)
    assert status == 2
    assert "has no sbatch, squeue, scancel" in text
