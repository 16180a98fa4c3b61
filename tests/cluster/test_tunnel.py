"""A tunnel whose program ends is started anew, and leaves no program behind."""

import io
import threading
import time

from wsc_ray.provision import tunnel as tunnels


class Program:
    """As much of a process as a tunnel needs."""

    def __init__(self):
        self.stdin, self.stderr, self.status = io.StringIO(), io.StringIO(), None

    def poll(self):
        return self.status

    def wait(self, timeout=None):
        return 0


def test_a_program_that_is_starting_anew_as_the_tunnel_closes_is_ended(monkeypatch):
    programs, starting = [], threading.Event()

    def start(command):
        if programs:
            starting.set()
            time.sleep(0.3)
        programs.append(Program())
        return programs[-1]

    monkeypatch.setattr(tunnels, "_start", start)
    monkeypatch.setattr(tunnels, "_answers", lambda address: True)
    monkeypatch.setattr(tunnels, "_PAUSE", 0.01)
    with tunnels.tunnel(["ssh"], 1):
        programs[0].status = 255
        assert starting.wait(10)
    assert [program.stdin.closed for program in programs] == [True, True]
