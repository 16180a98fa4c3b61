"""The kinds of input: the files to damage and how, the command that reads them, and the results that are correct."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.fuzz import mutate, oracles
from benchmarks.fuzz.mutate import BYTES, Mutation
from benchmarks.fuzz.world import World, recipe_of
from wsc_ray import commands
from wsc_ray.encoders import build_encoder
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import decode
from wsc_ray.pretrain import checkpoint
from wsc_ray.pretrain.loop import make_optimizer
from wsc_ray.pretrain.resume import newest_whole
from wsc_ray.recipe.reading import load_recipe, validate_recipe

EQUAL, AS_SAID, UNTOLD, WRONG = "equal", "as it says", "not told", "wrong"


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        targets: the files, and the mutations of each.
        call: reads the files; its result is compared with the result before the mutation.
        judge: the outcome if the result differs, from the file's bytes, the result and the mutation: is it what the content says?
    """

    name: str
    targets: Sequence[tuple[Path, Sequence[Mutation]]]
    call: Callable[[Path], Any]
    judge: Callable[[bytes, Any, Mutation], str] = field(default=lambda content, result, mutation: WRONG)


def kinds(world: World) -> list[Kind]:
    root, run = world.root, world.run
    text = [mutate.text_table] * 6 + list(BYTES)
    columns = [mutate.parquet_table] * 8 + list(BYTES)
    with contextlib.redirect_stderr(io.StringIO()):
        commands.manifest_import(source=root / "table.csv", out=root / "scratch")
    shutil.rmtree(root / "scratch")
    table = root / "table.parquet"
    _as_parquet(root / "table.csv", table)
    overlay = root / "cohort.parquet"
    _as_parquet(root / "cohort.csv", overlay)
    patches = sorted((world.manifest / "patches").iterdir())
    return [
        Kind("list of slides", [(root / "slides.csv", text)], lambda path: _tile(path, root), _as_list),
        Kind("table to import, CSV", [(root / "table.csv", text)], lambda path: _import(path, root), _as_table),
        Kind("table to import, Parquet", [(table, columns)], lambda path: _import(path, root), _as_parquet_says),
        Kind("list of images", [(root / "images.csv", text)], lambda path: _import_list(path, world), _as_table),
        Kind("cohort, CSV", [(root / "cohort.csv", text)], lambda path: _plan(world, path), _as_cohort),
        Kind("cohort, Parquet", [(overlay, columns)], lambda path: _plan(world, path), _as_parquet_cohort),
        Kind("recipe", [(world.recipe, [mutate.yaml_file] * 12 + list(BYTES))], _recipe, _as_recipe),
        Kind("manifest, read", [(path, BYTES) for path in [*patches, world.manifest / "slides.parquet"]], lambda _: _rows(world.manifest)),
        Kind("manifest, check --all", [(path, BYTES) for path in [*patches, world.manifest / "slides.parquet"]], lambda _: _check(world)),
        Kind("manifest of other values", [(path, [mutate.parquet_table]) for path in [*patches, world.manifest / "slides.parquet"]], lambda _: _rows(world.manifest), _rewritten),
        Kind("run folder", [(run / name, BYTES) for name in _READ_BY_EVALUATE], lambda _: _evaluate(run)),
        Kind("run folder, other JSON", [(run / name, [mutate.json_file]) for name in _READ_BY_EVALUATE if name.endswith(".json")], lambda _: _evaluate(run), _rewritten),
        Kind("run folder, gone on with", [(run / name, BYTES) for name in _READ_BY_PRETRAIN], lambda _: _pretrain(world), _cut_metrics),
        Kind("features", [(path, BYTES) for path in sorted((run / "features").glob("*.h5"))[6:]], lambda _: _evaluate(run)),
        Kind("features of other values", [(path, [mutate.feature_file]) for path in sorted((run / "features").glob("*.h5"))[6:]], lambda _: _evaluate(run), _rewritten),
        Kind("head", [(run / "mil" / name, BYTES) for name in ("model.safetensors", "config.json")], lambda _: _evaluate(run)),
        Kind("trial", [(run / "mil/trials/trial-000/trial.json", [*BYTES, mutate.json_file])], lambda _: _tune(run), _rewritten),
        Kind("encoder", [(run / "encoder" / name, BYTES) for name in ("model.safetensors", "config.json")], lambda _: _embed(run)),
        Kind("checkpoint", [(path, BYTES) for path in sorted(world.checkpoints.glob("*4/*"))], lambda _: _resume(world), _before),
        Kind("image, PNG", [(root / "patch.png", BYTES)], _decode, _unread),
        Kind("image, TIFF", [(root / "patch.tif", BYTES)], _decode, _no_checksum),
        Kind("image, JPEG", [(root / "patch.jpg", BYTES)], _decode, _no_checksum),
    ]  # fmt: skip


_READ_BY_EVALUATE = (
    "identity.json", "recipe.yaml", "features/identity.json", "features/slides.parquet", "mil/config.json", "evaluate/identity.json",
    "evaluate/mlflow.json",
)  # fmt: skip
_READ_BY_PRETRAIN = (
    "identity.json",
    "mlflow.json",
    "metrics.jsonl",
    "summary.json",
    "encoder/config.json",
    "initial.safetensors",
)


def _as_parquet(source: Path, target: Path) -> None:
    header, *lines = (line.split(",") for line in source.read_text().splitlines())
    columns = {name: [line[place] for line in lines] for place, name in enumerate(header)}
    numbers = {"x": int, "y": int, "level": int, "mpp": float}
    pq.write_table(
        pa.table({name: list(map(numbers.get(name, str), values)) for name, values in columns.items()}), target
    )


# The results of commands, as far as they can be compared.


def _tile(path: Path, root: Path) -> Any:
    plan = commands.tile(slides=path, out=root / "tiled", dry_run=True)
    return {"listed": plan["listed"], "splits": plan["splits"]}


def _import(path: Path, root: Path) -> Any:
    out = root / "scratch"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            commands.manifest_import(source=path, out=out)
        return _patches(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _import_list(path: Path, world: World) -> Any:
    out = world.root / "scratch"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            commands.manifest_import(source=world.images, lists=[str(path)], out=out)
        return _patches(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _patches(folder: Path) -> Counter[tuple[Any, ...]]:
    manifest = open_manifest(str(folder))
    slides = {row["slide_id"]: row for row in manifest.cohort().slides.to_pylist()}
    rows = manifest.read_rows(["slide_id", "x", "y"]).to_pylist()
    return Counter(
        (
            row["slide_id"],
            *(slides[row["slide_id"]][name] for name in ("patient_id", "label", "split")),
            (row["x"], row["y"]),
        )
        for row in rows
    )


def _plan(world: World, path: Path) -> Any:
    values = recipe_of(world).model_dump()
    values["data"] |= {"manifest": str(world.small), "cohort": str(path)}
    values["tracking"]["uri"] = None
    return commands.pretrain(recipe=validate_recipe(values), out=world.root / "planned", dry_run=True)["patches"]


def _recipe(path: Path) -> Any:
    commands.pretrain(recipe=path, out=path.parent / "planned", dry_run=True)
    values = load_recipe(path).model_dump(mode="json")
    return {
        name if section is None else f"{section}.{name}": value
        for section, inner in [(None, {"seed": values.pop("seed")}), *values.items()]
        for name, value in inner.items()
    }


def _rows(folder: Path) -> Any:
    """Return all rows that training and embedding read."""
    manifest = open_manifest(str(folder))
    runs, cohort = manifest.runs(), manifest.cohort()
    digest = hashlib.sha256()
    for group in manifest.row_groups:
        digest.update(repr(manifest.read_group(group.file, group.row_group).to_pylist()).encode())
    told = sorted(cohort.slides.select(["slide_id", "patient_id", "label", "split"]).to_pylist(), key=str)
    return digest.hexdigest(), runs.patches(), told


def _check(world: World) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        found = commands.manifest_check(manifest=world.manifest, all=True)
    return json.dumps({name: found[name] for name in ("patches", "splits", "digest", "cohort_digest")}), _rows(
        world.manifest
    )


def _evaluate(run: Path) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        return commands.evaluate(run=run)["metrics"]


def _tune(run: Path) -> Any:
    return commands.tune(run=run, dry_run=True)["trials_there"]


def _pretrain(world: World) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        found = commands.pretrain(recipe=recipe_of(world), out=world.run)
    weights = hashlib.sha256((world.run / "encoder" / "model.safetensors").read_bytes()).hexdigest()
    # Not the loss: a run with a damaged summary writes it again from the metrics, which were made after the summary here.
    return {name: found[name] for name in ("steps", "patches", "recipe_digest")}, weights


def _embed(run: Path) -> Any:
    plan = commands.embed(run=run, out=run / "elsewhere", dry_run=True)
    return {name: plan[name] for name in ("architecture", "size", "patches")}


def _resume(world: World) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        name = newest_whole(world.checkpoints)
    if name is None:
        return "anew"
    model = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4)
    optimizer = make_optimizer(model, validate_recipe({}))
    state = checkpoint.load(world.checkpoints / name, model, optimizer, rank=0, digest="digest")
    numbers = [*model.state_dict().values(), *(s["momentum_buffer"] for s in optimizer.state_dict()["state"].values())]
    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for number in numbers:
        digest.update(number.numpy().tobytes())
    return state.step, digest.hexdigest()


def _decode(path: Path) -> Any:
    return hashlib.sha256(np.ascontiguousarray(decode(path.read_bytes())).tobytes()).hexdigest()


# The expected results for a changed file.


def _as_list(content: bytes, result: Any, mutation: Mutation) -> str:
    said = oracles.counts_of_list(content)
    found = Counter(
        {(split, label): count for split, labels in result["splits"].items() for label, count in labels.items()}
    )
    return AS_SAID if said == found else WRONG


def _as_table(content: bytes, result: Any, mutation: Mutation) -> str:
    said = oracles.patches_of_table(content)
    if said is None:
        return WRONG
    if any(key[-1] is None for key in said):  # positions come from the files' names, which are undamaged
        said, result = (Counter(key[:-1] for key in counter.elements()) for counter in (said, result))
    return AS_SAID if said == result else WRONG


def _as_cohort(content: bytes, result: Any, mutation: Mutation) -> str:
    return AS_SAID if oracles.patches_of_cohort(content) == result else WRONG


def _as_parquet_says(content: bytes, result: Any, mutation: Mutation) -> str:
    return _as_table(_as_text(content), result, mutation)


def _as_parquet_cohort(content: bytes, result: Any, mutation: Mutation) -> str:
    return _as_cohort(_as_text(content), result, mutation)


def _as_text(content: bytes) -> bytes:
    """Return a Parquet table as CSV, written by pandas."""
    frame = pq.read_table(io.BytesIO(content)).to_pandas()
    return frame.to_csv(index=False, lineterminator="\n", na_rep="").encode()


def _as_recipe(content: bytes, result: Any, mutation: Mutation) -> str:
    said = oracles.settings_of(content)
    return (
        AS_SAID
        if all(name in result and oracles.same_value(value, result[name]) for name, value in said.items())
        else WRONG
    )


def _rewritten(content: bytes, result: Any, mutation: Mutation) -> str:
    """Judge a file that was rewritten, well-formed and without a checksum: its content counts, as in folders of earlier versions."""
    return UNTOLD if mutation in (mutate.json_file, mutate.feature_file, mutate.parquet_table) else WRONG


def _cut_metrics(content: bytes, result: Any, mutation: Mutation) -> str:
    """Judge cut metrics: they may end at a whole line, as those of a killed run do, and the weights stay the same."""
    return UNTOLD if content.startswith(b'{"step"') or content == b"" else WRONG


def _before(content: bytes, result: Any, mutation: Mutation) -> str:
    return AS_SAID if result[0] == 2 else WRONG


def _unread(content: bytes, result: Any, mutation: Mutation) -> str:
    """Judge a PNG: it has checksums of its pixels, and a flip may be in a part that readers ignore, such as a comment."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return WRONG if picture is None else UNTOLD if mutation is mutate.shift else WRONG


def _no_checksum(content: bytes, result: Any, mutation: Mutation) -> str:
    """Judge a well-formed picture with other pixels: the damage cannot be detected."""
    return UNTOLD


def random_of(seed: int, kind: str, number: int) -> random.Random:
    return random.Random(f"{seed} {kind} {number}")


__all__ = ["AS_SAID", "EQUAL", "UNTOLD", "WRONG", "Kind", "kinds", "random_of"]
