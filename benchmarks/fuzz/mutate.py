"""Random mutations of a file's bytes, of a table, or of settings; pure functions of the content and a random generator."""

from __future__ import annotations

import io
import json
import random
import unicodedata
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Mutation = Callable[[bytes, random.Random], bytes]

STRANGE = [
    "", " ", "NA", "nan", "None", "null", "-", "?", "#REF!", "0", "1", "1.0", "01", "1e5", "-1", "1e400", "inf", "True", "TRUE", "no",
    "\u00e9", "e\u0301", "\u200bnegative", "a/b", "..", "../../etc", "/etc/passwd", "C:\\x", "a\0b", "x" * 300, "=1+1", "'", '"', ",",
    ";", "\n", "\u202etxt", "2024-01-01", "99999999999999999999", "http://[::1", "s3://", "~nobody", "{}", "\U0001f9ec",
]  # fmt: skip
PAGES = [
    b"", b"\n", b"\0" * 600, b"<html><body>403 Forbidden</body></html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    b"PK\x03\x04" + b"\0" * 60, b"5", b"null", b"[]", b'"a"', b"{}", b"[" * 50_000, b"\x89HDF\r\n\x1a\n", b"PAR1PAR1", b"\xff\xfe\xfd",
]  # fmt: skip


def flip(content: bytes, rng: random.Random) -> bytes:
    """Flip one to three bits."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def blank(content: bytes, rng: random.Random) -> bytes:
    """Replace a block by zeros, as a bad disk does."""
    start, length = rng.randrange(len(content) + 1), rng.choice([1, 16, 512, 4096])
    return content[:start] + b"\0" * min(length, len(content) - start) + content[start + length :]


def shift(content: bytes, rng: random.Random) -> bytes:
    """Repeat some bytes, or leave them out."""
    start, length = rng.randrange(len(content) + 1), rng.choice([1, 7, 512])
    piece = content[start : start + length]
    return content[:start] + (piece * 2 if rng.random() < 0.5 else b"") + content[start + length :]


def grow(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice([1, 100]))


def replace(content: bytes, rng: random.Random) -> bytes:
    """Replace the file by one of another format."""
    return rng.choice(PAGES)


BYTES: tuple[Mutation, ...] = (flip, flip, flip, cut, blank, shift, grow, replace)


def text_table(content: bytes, rng: random.Random) -> bytes:
    """Change a CSV as a spreadsheet, a script or a person might."""
    lines = content.decode().rstrip("\n").split("\n")
    rows = [line.split(",") for line in lines]
    row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))

    def cells(value: str) -> bytes:
        rows[row][column] = value
        return _joined(rows)

    def of_line(change: Callable[[list[str]], list[str]]) -> bytes:
        rows[row] = change(rows[row])
        return _joined(rows)

    def letters(value: str) -> str:
        return rng.choice(
            [value.upper(), value.title(), f" {value}", f"{value}\u00a0", f"{value}\u200b", f'"{value}"', f'"{value}']
        )

    return rng.choice(
        [
            lambda: cells(rng.choice(STRANGE)),
            lambda: cells(letters(rows[row][column])),
            lambda: cells(rows[rng.randrange(len(rows))][column]),
            lambda: of_line(lambda values: [*values, rng.choice(STRANGE)]),
            lambda: of_line(lambda values: values[:-1]),
            lambda: of_line(lambda values: list(reversed(values))),
            lambda: _joined([*rows[:row], *rows[row + 1 :]]),
            lambda: _joined([*rows, rows[row]]),
            lambda: _joined([[*values[:column], *values[column + 1 :]] for values in rows]),
            lambda: _joined([[*values, values[column]] for values in rows]),
            lambda: content.replace(b",", rng.choice([b";", b"\t", b", ", b",,"])),
            lambda: content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b"\n,\n"])),
            lambda: rng.choice([b"\xef\xbb\xbf", b"# a comment\n", b"sep=,\n", b"\n"]) + content,
            lambda: content + rng.choice([b"\n\n", b",,,\n", b"\x1a", b"\0", b"total,12\n", b'"']),
            lambda: content.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])),
            lambda: unicodedata.normalize("NFD", content.decode().replace("o", "\u00f6")).encode(),
            lambda: content.decode().replace("o", "\u00f6").encode("latin-1"),
            lambda: _joined(sorted(rows[1:], key=lambda _: rng.random()), rows[0]),
        ]
    )()


def _joined(rows: list[list[str]], header: list[str] | None = None) -> bytes:
    return ("\n".join(",".join(row) for row in ([header] if header else []) + rows) + "\n").encode(
        "utf-8", "surrogatepass"
    )


def values_of(values: Any, rng: random.Random) -> Any:
    """Change a JSON value in one place: another type, an absurd number, a missing or new key."""
    places = list(_places(values))
    if not places:
        return rng.choice(ABSURD)
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, dict):
        holder[rng.choice(STRANGE) or "new"] = rng.choice(ABSURD)
    else:
        holder[key] = rng.choice(ABSURD)
    return values


ABSURD: list[Any] = [
    None, True, False, 0, -1, 5, 2**31, 2**63, 10**30, -(10**400), 1e308, 5e-324, float("inf"), float("nan"), 0.5, "", "a", "x" * 100_000, [], [None],
    [[]], {}, {"a": 1}, [1] * 1000, "2024-01-01", "../..", "\0", "null",
]  # fmt: skip


def _places(values: Any) -> Any:
    if isinstance(values, dict | list):
        for key in values if isinstance(values, dict) else range(len(values)):
            yield values, key
            yield from _places(values[key])


def json_file(content: bytes, rng: random.Random) -> bytes:
    """Change JSON, and keep it well-formed."""
    values = json.loads(content)
    for key in [key for key in values if key.endswith("sha256")]:
        del values[key]
    return json.dumps(values_of(values, rng)).encode()


def yaml_file(content: bytes, rng: random.Random) -> bytes:
    """Change settings as people, scripts or attackers might."""
    lines = content.decode().rstrip("\n").split("\n")
    row = rng.randrange(len(lines))
    line = lines[row]
    key = line.partition(":")[0]
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    odd = [
        *STRANGE, "010", "1:30", "0x10", "1_000", ".inf", ".nan", "1e400", "9" * 5000, "!!float 1", "!!python/name:os.system", "*none", "&a [*a]",
        "[" * 3000, "{a: " * 3000, "yes", "~", "2024-13-45", "0b_", "|", ">", "@x", "%x", "- a", "? a", "<<: {}",
    ]  # fmt: skip
    changed = rng.choice(
        [
            lambda: [*lines[:row], f"{key}: {rng.choice(odd)}", *lines[row + 1 :]],
            lambda: [*lines[:row], f"{key}: {rng.choice(odd)}", *lines[row + 1 :]],
            lambda: [*lines[: row + 1], line, *lines[row + 1 :]],
            lambda: [*lines[:row], *lines[row + 1 :]],
            lambda: [*lines[:row], f" {line}", *lines[row + 1 :]],
            lambda: [*lines[:row], line.lstrip(), *lines[row + 1 :]],
            lambda: [*lines[:row], line.replace(":", "", 1), *lines[row + 1 :]],
            lambda: [*lines, rng.choice(["---", "...", "a: &x 1", "<<: {seed: 3}", bomb, "seed: 1\nseed: 2"])],
            lambda: ["\ufeff" + lines[0], *lines[1:]],
        ]
    )()
    return ("\n".join(changed) + "\n").encode("utf-8", "surrogatepass")


def parquet_table(content: bytes, rng: random.Random) -> bytes:
    """Change columns, types and values of a Parquet table, and keep it well-formed."""
    table = pq.read_table(io.BytesIO(content)).replace_schema_metadata(None)
    place = rng.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    rows = table.num_rows
    whole = [0, -1, 2**31 - 1, -(2**62)]
    other: list[Callable[[], pa.Array]] = [
        lambda: pa.array([rng.choice(STRANGE) for _ in range(rows)]),
        lambda: pa.array([rng.choice([0.0, -1.5, float("nan"), float("inf"), 1e300]) for _ in range(rows)]),
        lambda: pa.array([rng.choice(whole) for _ in range(rows)]),
        lambda: pa.nulls(rows),
        lambda: pa.array([rng.random() < 0.5 for _ in range(rows)]),
        lambda: pa.array([[1, 2]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array([rng.randbytes(5) for _ in range(rows)]),
        lambda: pa.array(np.arange(rows).astype("datetime64[s]")),
    ]
    some = pa.array([rng.random() < 0.2 for _ in range(rows)])
    changed = rng.choice(
        [
            lambda: table.drop_columns([name]),
            lambda: table.append_column(name, column),
            lambda: table.rename_columns([each.upper() if each == name else each for each in table.column_names]),
            lambda: table.set_column(place, name, rng.choice(other)()),
            lambda: table.set_column(place, name, rng.choice(other)()),
            lambda: table.set_column(place, name, pc.if_else(some, pa.nulls(rows, column.type), column)),
            lambda: table.slice(0, 0),
            lambda: pa.concat_tables([table, table]),
            lambda: table.take(pa.array(rng.sample(range(rows), rows))),
        ]
    )()
    target = io.BytesIO()
    pq.write_table(changed, target)
    return target.getvalue()


def feature_file(content: bytes, rng: random.Random) -> bytes:
    """Change datasets, shapes, types and values of an HDF5 file, and keep it well-formed."""
    with h5py.File(io.BytesIO(content)) as opened:
        datasets = {name: data[:] for name, data in opened.items()}
    name = rng.choice(list(datasets))
    data = datasets[name]
    change: list[Callable[[], Any]] = [
        lambda: data[:-1],
        lambda: data[None],
        lambda: np.concatenate([data, data]),
        lambda: data.astype("S1"),
        lambda: data.astype(complex),
        lambda: np.full(data.shape, np.nan),
        lambda: np.full(data.shape, 1e300),
        lambda: data[:0],
        lambda: np.float64(5),
        lambda: data.ravel(),
        lambda: data.astype(bool),
    ]
    chosen = rng.random()
    if chosen < 0.15:
        del datasets[name]
    elif chosen < 0.9:
        datasets[name] = rng.choice(change)()
    target = io.BytesIO()
    with h5py.File(target, "w") as new:
        for each, values in datasets.items():
            new.create_dataset(each, data=values)
        if chosen >= 0.9:  # a shape larger than any memory, in a small file
            del new[name]
            new.create_dataset(name, (10**12, 8), np.float32, chunks=(1024, 8))
    return target.getvalue()
