"""The page: one table per part, made from the JSON files of the parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PARTS = ("checks", "step", "pipeline", "views", "losses", "mil", "decode", "evidence")


def write_page(folder: Path) -> None:
    """Write `gpu.md` into the folder from whatever is there so far."""
    machine = json.loads((folder / "machine.json").read_text())
    lines = [
        "# On a GPU",
        "",
        f"Card: {machine['card'] or 'none'}. CPU: {machine['cpu']}, {machine['cores']} cores. {machine['os']}.",
        "",
    ]
    versions = {"Python": machine["python"], "CUDA": machine["cuda"], **machine["versions"]}
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items() if version) + ".", ""]
    lines += [f"Commit {machine['commit']}.", ""]
    if machine["quick"]:
        lines += ["Tiny sizes: the figures mean nothing.", ""]
    for name in PARTS:
        path = folder / f"{name}.json"
        if path.exists():
            lines += [f"## {name}", "", *_part(json.loads(path.read_text())), ""]
    (folder / "gpu.md").write_text("\n".join(lines))


def _part(result: dict[str, Any]) -> list[str]:
    """Plain values first, then a table of `rows`, then one of `profile`."""
    values = {key: value for key, value in result.items() if key not in ("rows", "profile")}
    lines = [f"* {key}: {_text(value)}" for key, value in values.items()]
    for key in ("rows", "profile"):
        rows = result.get(key)
        if rows:
            names = list(dict.fromkeys(name for row in rows for name in row))
            lines += ["", "| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
            lines += ["| " + " | ".join(_text(row.get(name, "")) for name in names) + " |" for row in rows]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value) or "none"
    return str(value)


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
