"""What a disk refuses is a sentence for every command, and our own mistakes keep their traceback."""

import errno
import os
import re
import resource
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsc_ray.cli import main
from wsc_ray.disk import check_room, explained
from wsc_ray.errors import RunFolderError
from wsc_ray.files import atomic
from wsc_ray.storage import as_path


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "anything"), "^/out cannot be used: No space left on device;"),
        (OSError(errno.EIO, "anything", "/out/a"), "^/out/a cannot be used: Input/output error;"),
        (OSError(errno.ESTALE, "anything"), "^/out cannot be used: Stale file handle;"),
        (FileNotFoundError(errno.ENOENT, "anything", "/out/gone"), "^/out/gone cannot be used: No such file"),
        (NotADirectoryError(errno.ENOTDIR, "anything", "/file/a"), "^/file/a cannot be used: Not a directory"),
    ],
)
def test_what_only_the_user_can_mend_is_a_sentence(error, said):
    with pytest.raises(RunFolderError, match=said), explained("/out"):
        raise error


def test_what_a_store_refuses_is_a_sentence_without_its_secrets():
    with (
        pytest.raises(RunFolderError, match=r"^s3://b/x cannot be used: no \(removed\) here$"),
        explained("s3://a:SECRET@b/x"),
    ):
        raise OSError("no SECRET here")


def test_a_store_that_cannot_be_asked_for_an_input_is_named():
    place = as_path("s3://AKIA:SECRET@bucket/head?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    for ask in (place.is_file, lambda: [*place.iterdir()]):
        with pytest.raises(RunFolderError, match=r"^s3://bucket/head.* cannot be used: ") as caught, explained("/out"):
            ask()
        assert "Could not connect" in str(caught.value)
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [["s3://AKIA:SECRET@bucket/x"], ["init", "--out", "a", "s3://AKIA:SECRET@bucket/x"]]
)
def test_a_wrong_word_that_is_a_uri_is_repeated_without_its_secrets(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "s3://bucket/x" in result.output
    assert "SECRET" not in result.output


def test_what_a_task_of_ray_raises_is_known_by_its_cause():
    wrapped = type("RayTaskError(OSError)", (OSError,), {})("a traceback")
    wrapped.cause = OSError(errno.ENOSPC, "anything", "/out/a")
    with pytest.raises(RunFolderError, match=r"^/out/a cannot be used: No space left on device"), explained("/out"):
        raise wrapped


def test_a_full_folder_is_noticed_and_nothing_is_left(tmp_path):
    check_room(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunFolderError, match=r"cannot be used: File too large"), explained(tmp_path):
            check_room(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("error", [OSError("read too little"), OSError(errno.EINVAL, "x"), FileNotFoundError("x")])
def test_other_errors_are_ours(error):
    with pytest.raises(type(error), match=re.escape(str(error))), explained("/out"):
        raise error


def test_a_file_that_does_not_fit_is_named_and_leaves_nothing(tmp_path):
    def write() -> None:
        with atomic(tmp_path / "a.json") as temporary:
            temporary.write_text("{")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a.json'}'"):
        write()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS])
def test_commands_that_write_one_file_say_so(tmp_path, monkeypatch, refusal):
    def refuse(source: Path, target: Path) -> None:
        raise OSError(refusal, os.strerror(refusal), str(source))

    table = tmp_path / "table.csv"
    table.write_text("slide_id,patient_id,label\n" + "".join(f"s{n},p{n},{n % 2}\n" for n in range(8)))
    monkeypatch.setattr(os, "replace", refuse)
    for arguments in (["init"], ["cohort", "folds", str(table), "--folds", "2"]):
        result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out.csv")])
        assert result.exit_code == 2, result.output
        assert f"wsc-ray: {tmp_path / 'out.csv'} cannot be used: {os.strerror(refusal)}" in result.output
    assert [*tmp_path.iterdir()] == [table]


def test_a_file_in_the_place_of_a_folder_above_is_named(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["init", "--out", str(tmp_path / "file" / "a.yaml")])
    assert result.exit_code == 2
    assert f"wsc-ray: {tmp_path / 'file'} cannot be used: File exists" in result.output
