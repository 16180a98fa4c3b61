"""A run resumes from its newest whole checkpoint, whatever happened to the others."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import small_recipe
from wsc_ray.commands import pretrain
from wsc_ray.encoders import PatchEncoder, build_encoder
from wsc_ray.errors import RunFolderError, UserError
from wsc_ray.pretrain import checkpoint, metrics_file
from wsc_ray.pretrain.checkpoint import STATE, TRAINER, State
from wsc_ray.pretrain.loop import make_optimizer
from wsc_ray.pretrain.resume import checkpoint_name, forget_notes, keep_newest, newest_whole
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.storage import as_path

WORKERS = 2


def encoder() -> PatchEncoder:
    torch.manual_seed(0)
    return build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4)


def write(folder: Path, step: int) -> Path:
    path = folder / checkpoint_name(step)
    path.mkdir(parents=True)
    model = encoder()
    optimizer = make_optimizer(model, validate_recipe({}))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float(step))
    optimizer.step()
    checkpoint.save(path, model, optimizer, State(step, 4, "digest", WORKERS))
    for rank in range(WORKERS):
        checkpoint.save_rng(path, rank)
    return path


def flip(path: Path, place: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "flipped": flip,
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "foreign": lambda path: path.write_text("<html>403</html>"),
}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write(tmp_path, 2)
    write(tmp_path, 4)
    return tmp_path


@pytest.mark.parametrize("name", [STATE, TRAINER, "model.safetensors", "rng-0.pt", "rng-1.pt"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(two: Path, name: str, tmp_path_factory, capsys) -> None:
    assert newest_whole(two) == checkpoint_name(4)
    assert capsys.readouterr().err == ""
    for damage in DAMAGES.values():
        copy = tmp_path_factory.mktemp("copy") / "checkpoints"
        shutil.copytree(two, copy)
        damage(copy / checkpoint_name(4) / name)
        assert newest_whole(copy) == checkpoint_name(2)
        said = capsys.readouterr().err
        assert said.startswith(f"warning: {checkpoint_name(4)} is passed over: ")
        assert len(said.splitlines()) == 1
        damage(copy / checkpoint_name(2) / name)
        assert newest_whole(copy) is None
        assert "the run begins anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [
        "{}",
        "5",
        "null",
        "[" * 100_000,
        '{"step": -5}',
        '{"step": "a"}',
        '{"step": 1e400}',
        '{"step": true}',
        '{"share": "a"}',
        '{"share": 2}',
        "\xff",
    ],
)
def test_a_state_that_says_nothing_is_a_sentence(two: Path, values: str) -> None:
    path = two / checkpoint_name(4) / STATE
    known = json.loads(path.read_text())
    known.pop("wsc_ray_sha256")
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        values = json.dumps({**known, **json.loads(values)})
    path.write_text(values, encoding="latin-1")
    if values == json.dumps(known):
        assert checkpoint.load_state(path.parent).step == 4
    else:
        with pytest.raises(RunFolderError, match=r"no readable state\.json"):
            checkpoint.load_state(path.parent)


def test_older_checkpoints_without_checksums_are_read(two: Path) -> None:
    for path in (two / checkpoint_name(4)).iterdir():
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            values.pop("wsc_ray_sha256")
            path.write_text(json.dumps(values))
        elif path.suffix == ".pt":
            torch.save(torch.load(path, weights_only=True), path)
    assert newest_whole(two) == checkpoint_name(4)


def test_a_checkpoint_of_other_tensors_is_a_sentence(two: Path) -> None:
    """Whole files that do not go together, as somebody may copy them."""
    folder = two / checkpoint_name(4)
    model = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4)
    optimizer = make_optimizer(model, validate_recipe({}))
    load = {"rank": 0, "digest": "digest"}
    for name in (TRAINER, "rng-0.pt"):
        before = (folder / name).read_bytes()
        for values in (5, [], {}, {"cpu": 5}, {"state": {}, "param_groups": []}):
            torch.save(values, folder / name)
            with pytest.raises(UserError):
                checkpoint.load(folder, model, optimizer, **load)
        (folder / name).write_bytes(before)
    assert checkpoint.load(folder, model, optimizer, **load).step == 4
    other = build_encoder("test_resnet", size=32, head_hidden=16, head_dim=4)
    with pytest.raises(UserError, match="belongs to another encoder"):
        checkpoint.load(folder, other, make_optimizer(other, validate_recipe({})), **load)


def test_what_is_kept(tmp_path: Path, s3) -> None:
    for place in (tmp_path / "checkpoints", as_path(s3.uri("bucket/kept"))):
        for step in (2, 4, 6, 8):
            folder = place / checkpoint_name(step)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STATE).write_text("{}")
        (place / "checkpoint_manager_snapshot.json").write_text("{}")
        (place / "mine.txt").write_text("")
        forget_notes(place)
        keep_newest(place, checkpoint_name(6), 2)
        assert {path.name for path in place.iterdir()} == {*map(checkpoint_name, (4, 6, 8)), "mine.txt"}
    assert newest_whole(tmp_path / "none") is None


@pytest.mark.long
def test_a_run_whose_last_checkpoint_is_damaged_ends_with_the_same_weights(
    ray_cluster, manifest, tmp_path, capsys
) -> None:
    recipe = small_recipe(manifest, f"sqlite:///{tmp_path}/mlflow.db")
    recipe["stream"]["record"] = True
    recipe["train"]["keep_checkpoints"] = 3
    recipe = validate_recipe(recipe)
    first = pretrain(recipe=recipe, out=tmp_path / "run")
    weights, lines = final_weights(tmp_path / "run"), metrics_file.read(tmp_path / "run" / "metrics.jsonl")
    assert len(list((tmp_path / "run" / "checkpoints").glob("checkpoint_0*"))) == 3

    def interrupted(name: str) -> Path:
        """The run as one that was killed before its end."""
        shutil.copytree(tmp_path / "run", tmp_path / name)
        (tmp_path / name / "summary.json").unlink()
        shutil.rmtree(tmp_path / name / "encoder")
        return tmp_path / name

    def go_on(run: Path) -> str:
        capsys.readouterr()
        summary = pretrain(recipe=recipe, out=run)
        assert summary["samples_sha256"] == first["samples_sha256"]
        for name, value in weights.items():
            assert torch.equal(final_weights(run)[name], value)
        assert [line["step"] for line in metrics_file.read(run / "metrics.jsonl")] == [line["step"] for line in lines]
        return capsys.readouterr().err

    run = interrupted("flipped")
    flip(run / "checkpoints" / checkpoint_name(8) / "model.safetensors")
    (run / "checkpoints" / "checkpoint_manager_snapshot.json").write_text('{"half')
    assert f"{checkpoint_name(8)} is passed over" in go_on(run)

    run = interrupted("all")
    for path in (run / "checkpoints").glob("*/trainer.pt"):
        cut(path)
    assert "the run begins anew" in go_on(run)

    # The encoder of a complete run is damaged: the same command exports it again.
    flip(run / "encoder" / "model.safetensors", 0.9)
    go_on(run)


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / checkpoint_name(8) / "model.safetensors")
