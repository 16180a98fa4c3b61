"""Ray's own processes that are killed while a command works."""

import subprocess
import sys
import time

import pytest
import ray

from wsc_ray.errors import DataError, ResourceError
from wsc_ray.ray_trouble import find_trouble, said_in_a_sentence

WORKING = """
import sys, threading, time
import psutil
from wsc_ray.errors import UserError
from wsc_ray.ray_loopback import loopback_only

with loopback_only():
    from wsc_ray.ray_session import ray_session
    import ray

@ray.remote
def sleep(seconds):
    time.sleep(seconds)

def kill():
    (process,) = (each for each in psutil.Process().children(recursive=True) if each.name() == sys.argv[1])
    process.kill()

try:
    with ray_session(num_cpus=2):
        ray.get(sleep.remote(0))
        threading.Timer(1, kill).start()
        if sys.argv[2] == "working":
            ray.get(sleep.remote(300))
        else:
            time.sleep(300)
except UserError as error:
    sys.exit(str(error))
"""


def test_trouble_is_found_in_what_training_raises():
    death = ray.exceptions.ActorDiedError()
    failed = RuntimeError("Training failed")
    failed.worker_failures = {0: RuntimeError("gloo: connection closed"), 1: death}
    assert find_trouble(failed) is death
    assert find_trouble(RuntimeError("a bug")) is None
    begun = ray.exceptions.ActorDiedError()
    begun._actor_init_failed = True  # an actor whose own code raised: no process was killed
    assert find_trouble(begun) is None


def test_it_becomes_a_sentence_and_nothing_else_does():
    with pytest.raises(ResourceError, match="Ray ended before the command did"), said_in_a_sentence(local=False):
        raise ray.exceptions.LocalRayletDiedError()
    for error in (KeyError("a bug"), DataError("a sentence"), KeyboardInterrupt()):
        with pytest.raises(type(error)), said_in_a_sentence(local=False):
            raise error


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("raylet", "working"),
        ("gcs_server", "working"),
        ("raylet", "waiting"),
        pytest.param("gcs_server", "waiting", marks=pytest.mark.long),
    ],
)
def test_a_process_of_rays_is_killed(name, what):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WORKING, name, what], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    word = {"raylet": "raylet", "gcs_server": "GCS"}[name]
    assert f"Ray ended before the command did (its {word} was killed or crashed)" in done.stderr.splitlines()[-1]
    assert time.monotonic() - started < 200
