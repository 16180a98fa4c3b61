"""The process that waits for the command line: statuses, signals, and ends that Python is not asked about."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time

import psutil
import pytest

from wsc_ray.guard import ADVICE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands have no second process there")

GUARDED = """
import os, signal, sys, time
from wsc_ray.guard import guarded

def wait_for_signals():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append("interrupt"))
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(0.2)
    print(*heard, flush=True)

guarded({work})
"""


def start(work: str, **options) -> subprocess.Popen:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", GUARDED.format(work=work)], text=True, **options)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate("\n", timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("lambda: print('done')", 0),
        ("lambda: sys.exit(3)", 3),
        ("lambda: 1 / 0", 1),
        ("lambda: os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_it_ends_as_the_command_does(work, status):
    code, out, err = finish(start(work))
    assert code == status
    assert ADVICE not in err
    assert ("ZeroDivisionError" in err) == (status == 1)
    assert (out == "done\n") == (status == 0)


@pytest.mark.parametrize(
    ("work", "how"),
    [
        ("lambda: os._exit(1)", "exit status 1"),  # as Ray's C++ code does
        ("lambda: os._exit(0)", "exit status 0"),
        ("lambda: os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.abort", "SIGABRT"),
    ],
)
def test_an_end_without_a_word_is_a_sentence(work, how):
    code, _, err = finish(start(work))
    assert code == 2
    assert err.splitlines()[-1] == f"wsc-ray: Ray or this machine ended the command ({how}); {ADVICE}"


def test_everything_registered_for_the_exit_is_called_and_no_module_is_taken_apart():
    torn = "type('Torn', (), {'__del__': lambda self, write=os.write: write(1, b'taken apart')})()"
    work = f"lambda: (globals().update(torn={torn}), __import__('atexit').register(print, 'last words'), sys.exit(3))"
    assert finish(start(work)) == (3, "last words\n", "")


def test_output_that_cannot_be_written_is_said():
    with open("/dev/full", "w") as full:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        code, _, err = finish(start("lambda: print('done')", stdout=full, env=buffered))
    assert code == 120, "Python's own"
    assert "No space left on device" in err


def test_a_process_left_behind_is_not_waited_for():
    left = "lambda: (os.fork() or (os.close(1), os.close(2), time.sleep(20), os._exit(0))) and os._exit(1)"
    started = time.monotonic()
    code, _, err = finish(start(left))
    assert code == 2
    assert ADVICE in err
    assert time.monotonic() - started < 15


def ready(process: subprocess.Popen) -> psutil.Process:
    assert process.stdout.readline() == "ready\n"
    (command,) = psutil.Process(process.pid).children()
    return command


def test_a_signal_is_passed_on():
    process = start("wait_for_signals")
    ready(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert finish(process)[:2] == (0, "interrupt\n")
    process = start("wait_for_signals")
    command = ready(process)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == -signal.SIGTERM
    assert not command.is_running()


def test_a_terminals_interrupt_comes_once():
    ours, theirs = os.openpty()
    process = start("wait_for_signals", stdin=theirs, preexec_fn=lambda: (os.setsid(), _take_terminal(theirs)))
    os.close(theirs)
    ready(process)
    os.write(ours, b"\x03")
    time.sleep(0.5)
    os.write(ours, b"\n")
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, out) == (0, "interrupt\n")


def _take_terminal(terminal: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_the_command_ends_with_it():
    process = start("wait_for_signals")
    command = ready(process)
    process.kill()
    process.wait(60)
    psutil.wait_procs([command], timeout=10)
    assert not command.is_running()


def test_the_program_is_guarded():
    done = subprocess.run([sys.executable, "-m", "wsc_ray", "embed", "--no-such"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such option" in done.stderr
