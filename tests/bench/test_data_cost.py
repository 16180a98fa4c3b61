"""What work cost: processes side by side, and those that came and went."""

import os
import subprocess
import sys

from benchmarks.data.cost import TICK, Sample, cpu_seconds, side_by_side

BURN = 0.3  # CPU seconds
HALF = BURN / 2  # the system counts in hundredths of a second
BURNING = f"import time\nwhile time.process_time() < {BURN}: pass\n"
BURNED = "print(1, flush=True)\ninput()\n"


def test_rates():
    sample = Sample(patches=600, seconds=2.0, cpu_seconds=3.0)
    assert sample.per_core(2) == 150
    assert sample.per_cpu_second == 200


def test_side_by_side_the_slowest_ends_it():
    samples = [Sample(10, 2.0, 1.0), Sample(30, 1.0, 0.5)]
    assert side_by_side(samples) == Sample(40, 2.0, 1.5)


def test_what_children_use_counts_while_they_run_and_after():
    me = os.getpid()
    before = cpu_seconds(me)
    command = [sys.executable, "-c", BURNING + BURNED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        assert cpu_seconds(me) - before >= HALF
        assert cpu_seconds(me, without=[child.pid]) <= cpu_seconds(me) - HALF
        assert cpu_seconds(child.pid) >= HALF
        child.communicate("\n")
    assert cpu_seconds(me) - before >= HALF


def test_a_process_that_has_gone_used_nothing():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_seconds(child.pid) == 0


def test_work_shorter_than_a_tick_has_a_rate():
    assert Sample(64, 0.003, 0.0).per_cpu_second == 64 / TICK
