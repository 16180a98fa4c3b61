"""Checksums lie inside the file, cover every byte of it, and do not disturb other programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from wsc_ray import checksums
from wsc_ray.checksums import DamagedError, check
from wsc_ray.encoders.weights import save_state
from wsc_ray.features.store import SlideFeatures, read_slide, write_slide
from wsc_ray.files import read_json, read_table, write_json, write_table
from wsc_ray.run_folder import RunFolder

ROWS = pa.table({"slide_id": [f"s-{n}" for n in range(300)], "patches": list(range(300))})


def write_json_file(path: Path) -> None:
    write_json(path, {"step": 3, "pixels": {"mean": [0.5, 0.25]}, "note": "µm"})


def write_long_json(path: Path) -> None:
    write_json(path, {"trials": list(range(2_000))})


def write_yaml(path: Path) -> None:
    RunFolder(path.parent).write_recipe("train:\n  epochs: 3\n")
    (path.parent / "recipe.yaml").replace(path)


def write_safetensors(path: Path) -> None:
    torch.manual_seed(0)
    save_state(nn.Linear(7, 30), path)


def write_hdf5(path: Path) -> None:
    features = np.arange(60, dtype=np.float32).reshape(20, 3)
    slide = SlideFeatures(path.stem, features, np.zeros((20, 2), np.int64), np.zeros(20, np.int8))
    write_slide(path.parent, slide, attributes={"encoder": "made-up"}, coords_attributes={"overlap": 0})


def write_parquet(path: Path) -> None:
    write_table(path, ROWS)


def write_torch(path: Path) -> None:
    torch.save({"state": torch.arange(50), "lr": 0.1}, path)
    checksums.seal(path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.json": write_json_file,
    "long.json": write_long_json,
    "a.yaml": write_yaml,
    "a.safetensors": write_safetensors,
    "a.h5": write_hdf5,
    "a.parquet": write_parquet,
    "a.pt": write_torch,
}


@pytest.fixture(params=WRITERS)
def file(request, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


def digits(content: bytes) -> range:
    """Where the checksum lies with its name and what stands between."""
    start = content.index(checksums.KEY.encode())
    return range(start, start + len(checksums.KEY) + 4 + 64)


def test_any_flipped_bit_is_found(file: Path) -> None:
    check(file)
    content = file.read_bytes()
    own = digits(content)
    places = [place for place in range(len(content)) if place not in own]
    for place in places[:: max(1, len(places) // 400)] + places[-16:]:
        for bit in (1, 0x80):
            changed = bytearray(content)
            changed[place] ^= bit
            with pytest.raises(DamagedError):
                check(bytes(changed))


def test_what_is_cut_grown_or_blanked_is_found(file: Path) -> None:
    content = file.read_bytes()
    stop = max(digits(content)) + 1
    if stop < len(content) - 1:  # what ends before its checksum does has none
        for length in {stop, (stop + len(content)) // 2, len(content) - 1}:
            with pytest.raises(DamagedError):
                check(content[:length])
    with pytest.raises(DamagedError):
        check(content + b"\n")
    start = min(digits(content))
    blank = slice(0, start // 2) if start > 8 else slice(stop, None)
    changed = bytearray(content)
    changed[blank] = bytes(len(changed[blank]))
    with pytest.raises(DamagedError):
        check(bytes(changed))


def test_the_checksum_moves_with_its_file_and_is_the_same_every_time(file: Path, tmp_path: Path) -> None:
    shutil.copyfile(file, tmp_path / "copy")
    check(tmp_path / "copy")
    before = file.read_bytes()
    if file.suffix != ".h5":  # whose writer keeps the folder's name
        (tmp_path / "again").mkdir()
        WRITERS[file.name](tmp_path / "again" / file.name)
        assert (tmp_path / "again" / file.name).read_bytes() == before


def test_a_file_without_a_checksum_is_not_checked(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "old.json") == {"a": 1}
    pq.write_table(ROWS, tmp_path / "old.parquet")
    assert read_table(tmp_path / "old.parquet").equals(ROWS)
    check(b"")
    check(b"x")
    with pytest.raises(ValueError, match="without room"):
        checksums.seal(tmp_path / "old.json")


def test_other_programs_read_the_files_as_ever(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
    assert json.loads((tmp_path / "a.json").read_text())["note"] == "µm"
    assert load_file(tmp_path / "a.safetensors")["weight"].shape == (30, 7)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["lr"] == 0.1
    assert torch.load(tmp_path / "a.pt", weights_only=True, mmap=True)["state"].tolist() == list(range(50))
    with h5py.File(tmp_path / "a.h5") as opened:  # as TRIDENT and CLAM do
        np.testing.assert_array_equal(opened["features"][:], read_slide(tmp_path, "a").features)
        assert opened["features"].attrs["encoder"] == "made-up"
    assert pq.read_table(tmp_path / "a.parquet", memory_map=True).equals(ROWS)
    assert pa.dataset.dataset(tmp_path / "a.parquet").to_table().equals(ROWS)


def test_a_table_that_another_program_writes_again_loses_its_checksum(tmp_path: Path) -> None:
    write_table(tmp_path / "slides.parquet", ROWS)
    pq.write_table(pq.read_table(tmp_path / "slides.parquet").slice(1), tmp_path / "slides.parquet")
    assert read_table(tmp_path / "slides.parquet").num_rows == 299


def test_a_file_that_is_killed_while_it_is_written_is_as_it_was(file: Path) -> None:
    """A checksum comes in one step with its file, so that no resume finds one of another content."""
    before = file.read_bytes()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    real = checksums.seal
    checksums.seal = killed
    try:
        if file.suffix != ".pt":
            with pytest.raises(KeyboardInterrupt):
                WRITERS[file.name](file)
    finally:
        checksums.seal = real
    assert file.read_bytes() == before
    check(file)
