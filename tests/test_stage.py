"""Claiming a folder, comparing identities, and carrying out work in the folder."""

import errno
import json
import os
from pathlib import Path

import pytest

from wsc_ray import stage
from wsc_ray.errors import RecipeError, RunFolderError, TrackingError
from wsc_ray.files import read_json
from wsc_ray.stage import carry_out, claim_folder, differences, open_store, refuse_other, resolve_paths, resolve_run


def test_missing_options_are_reported_together():
    with pytest.raises(RecipeError, match="2 problems") as caught:
        resolve_paths("tune", features=(None, None), out=(None, None))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["--features", "--out"]
    assert str(resolve_paths("tune", out=("s3://bucket/mil", None))[0]) == "s3://bucket/mil"
    found = resolve_paths("tune", a=(None, Path("/run/a")), b=("/other", Path("/run/b")))
    assert found == [Path("/run/a"), Path("/other")]


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match="is not a run folder"):
        resolve_run(tmp_path, None, ())


def test_a_folder_is_claimed_while_it_is_new_empty_or_the_commands_own(tmp_path):
    assert claim_folder("embed", tmp_path / "new") is None
    assert claim_folder("embed", tmp_path) is None
    (tmp_path / "mlflow.json").touch()  # what a command leaves that could not begin
    assert claim_folder("embed", tmp_path) is None
    stage.write_identity(tmp_path, "embed", {"size": 32})
    assert claim_folder("embed", tmp_path)["size"] == 32


def test_nothing_of_anybody_else_is_overwritten(tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(RunFolderError, match=r"is taken: it holds thesis.docx and nothing of `wsc-ray embed`"):
        claim_folder("embed", tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        claim_folder("embed", tmp_path / "thesis.docx")
    with pytest.raises(RunFolderError, match=r"cannot be made, since .*thesis.docx is no folder"):
        claim_folder("embed", tmp_path / "thesis.docx" / "a" / "b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RunFolderError, match=r"cannot be made, since .*loop is no folder"):
        claim_folder("embed", tmp_path / "loop" / "a")
    (tmp_path / "loop").unlink()
    stage.write_identity(tmp_path, "tune", {})
    with pytest.raises(RunFolderError, match="holds what `wsc-ray tune` wrote"):
        claim_folder("embed", tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_an_identity_that_cannot_be_read_is_a_sentence(tmp_path, text):
    (tmp_path / "identity.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"identity\.json cannot be read"):
        claim_folder("embed", tmp_path)


@pytest.mark.parametrize(
    ("command", "name"), [("embed", "embed.json"), ("tune", "search.json"), ("pretrain", "run.json")]
)
def test_folders_of_before_are_known_by_the_file_that_they_had(tmp_path, command, name):
    (tmp_path / name).write_text(json.dumps({"size": 8}))
    assert claim_folder(command, tmp_path) == {"size": 8}
    with pytest.raises(RunFolderError, match="is taken"):
        claim_folder("demo", tmp_path)


def test_every_difference_is_listed_with_digests_cut_short():
    before = {"seed": 1, "tune": {"trials": 3, "lr": [1, 2]}, "features": "a" * 64, "manifest": "b" * 64}
    now = {"seed": 1, "tune": {"trials": 4, "lr": [1, 2]}, "features": "c" * 64, "manifest": "d" * 64}
    assert differences(before, now, words={"features": "the features: others"}) == [
        "`tune.trials`: 3 there, 4 here",
        "the features: others",
        f"`manifest`: {'b' * 12} there, {'d' * 12} here",
    ]
    refuse_other(Path("/out"), "a search", before, before)
    with pytest.raises(RunFolderError, match=r"/out holds a search with other settings(.|\n)*`tune.trials`"):
        refuse_other(Path("/out"), "a search", before, now)


def test_work_is_carried_out_in_the_same_mlflow_run_and_ends_with_a_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "tests", out)
    seen = []

    def work(tracker):
        seen.append(read_json(out / "identity.json"))
        if len(seen) == 1:
            raise KeyboardInterrupt
        return {"patches": 7}

    arguments = {"out": out, "identity": {"size": 8}, "plan": {"encoder": "e"}, "params": {}, "store": store}
    with pytest.raises(KeyboardInterrupt):
        carry_out("embed", **arguments, work=work)
    assert not (out / "summary.json").exists()
    first = read_json(out / "mlflow.json")["run_id"]
    left = out / ".slide.h5.0123abcd.part"  # as a killed process leaves it
    left.touch()
    os.utime(left, (0, 0))
    summary = carry_out("embed", **arguments, work=work)
    assert not left.exists()
    assert seen[0]["command"] == "embed"
    assert seen[0]["size"] == 8
    assert summary["mlflow"]["run_id"] == first
    assert (summary["command"], summary["encoder"], summary["patches"]) == ("embed", "e", 7)
    assert read_json(out / "summary.json") == summary


def test_a_store_that_does_not_answer_is_a_sentence_before_anything_is_written(tmp_path):
    with pytest.raises(TrackingError):
        open_store("http://127.0.0.1:9", "tests", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_disk_refuses_is_a_sentence(tmp_path):
    out, store = tmp_path / "out", open_store(f"sqlite:///{tmp_path}/m.db", "e", tmp_path / "out")

    def full(tracker):
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "a.h5"))

    common = {"out": out, "identity": {}, "plan": {}, "params": {}, "store": store}
    with pytest.raises(
        RunFolderError, match=r"a\.h5 cannot be used: No space left on device; the same command goes on"
    ):
        carry_out("embed", **common, work=full)

    def ours(tracker):
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file"):
        carry_out("embed", **common, work=ours)
    assert carry_out("embed", **common, work=lambda tracker: {"done": 1})["done"] == 1
    assert not (out / ".lock").exists()


def test_a_second_command_in_a_folder_is_refused_before_it_writes(tmp_path):
    out, store = tmp_path / "out", open_store(f"sqlite:///{tmp_path}/m.db", "e", tmp_path / "out")
    common = {"out": out, "plan": {}, "params": {}, "store": store}

    def first(tracker):
        with pytest.raises(RunFolderError, match="is in use by `wsc-ray embed`"):
            carry_out("embed", **common, identity={"size": 9}, work=lambda tracker: {})
        assert claim_folder("embed", out)["size"] == 8
        return {}

    carry_out("embed", **common, identity={"size": 8}, work=first)
