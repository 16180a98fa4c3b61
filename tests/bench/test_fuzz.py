"""`python -m benchmarks.fuzz`: every kind of input is damaged, a process that aborts is counted, and the page says what became of all."""

import os

import pytest

from benchmarks.fuzz import processes
from benchmarks.fuzz.__main__ import main
from benchmarks.fuzz.kinds import EQUAL
from benchmarks.fuzz.run import ABORT, REFUSED, Tally
from tests.conftest import invoke


def aborts_at_the_third(pipe, name, first, count, seed, keep):
    for number in range(first, count):
        if number == 2:
            os.abort()
        pipe.send(Tally(name, REFUSED, seconds=0.1 * number))


def test_a_process_that_aborts_is_counted_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(processes, "_fuzz", aborts_at_the_third)
    tally = processes._fuzz_one("head", 5, 0, None)
    assert tally.outcomes == {REFUSED: 4, ABORT: 1}
    assert tally.found == ["abort: mutation 2: exit status -6"]
    assert tally.seconds == pytest.approx(0.4)


@pytest.mark.slow
def test_the_command_writes_its_page(tmp_path):
    page = tmp_path / "fuzz.md"
    done = invoke("--mutations", "6", "--kind", "list of slides", "--markdown", str(page), program=main)
    assert done.exit_code == 0, done.output
    row = next(line for line in page.read_text().splitlines() if line.startswith("| list of slides |"))
    cells = [cell.strip() for cell in row.split("|")[2:7]]
    assert sum(map(int, cells)) == 6
    assert cells[4] == "0"
    assert EQUAL in page.read_text()


@pytest.mark.slow
def test_an_unknown_kind_is_a_sentence():
    done = invoke("--kind", "elephant", program=main)
    assert done.exit_code == 2
    assert "no kind of input has 'elephant' in its name; there are list of slides" in done.output
