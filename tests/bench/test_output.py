"""Environment, figures and tables."""

import subprocess

from benchmarks.markdown import spread, times
from wsc_ray.bench import environment, markdown


def test_the_commit_of_a_checkout_and_whether_files_differ(tmp_path):
    assert environment.commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = environment.commit(tmp_path)
    assert len(head) == 40
    (tmp_path / "new").write_text("")
    assert environment.commit(tmp_path) == head + "+changes"


def test_machine_and_versions():
    machine = environment.describe_machine(1)
    assert machine["cpu"]
    assert machine["cores"] >= 1
    found = environment.versions(["torch", "no-such-package"])
    assert found["torch"]
    assert found["no-such-package"] is None


def test_figures():
    assert [markdown.seconds(value) for value in (12.345, 1.0, 0.012345, 0.0001234)] == [
        "12.3 s",
        "1.00 s",
        "12.3 ms",
        "123 us",
    ]
    assert spread(0.95, 0.9, 1.1) == "950 ms (900-1,100)"
    assert [markdown.size(value) for value in (2e9, 45.6e6, 1e4)] == ["2.00 GB", "45.6 MB", "0.0100 MB"]
    assert times(8.126) == "8.13x"


def test_a_table():
    assert markdown.table(["a", "long"], [["1", "2"], ["wide", "3"]]).splitlines() == [
        "| a    | long |",
        "| ---- | ---- |",
        "| 1    | 2    |",
        "| wide | 3    |",
    ]
