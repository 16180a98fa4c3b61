"""Reading a source tree's imports and holding them to the layers that docs/architecture.md draws."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def layers(page: str) -> list[list[str]]:
    """The layers of the page's block `rooms`, the top one first: rooms and modules of the package by name."""
    (block,) = re.findall(r"^```rooms\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [line.split("#")[0].split() for line in block.splitlines() if line.split("#")[0].strip()]


def allowed(page: str, subject: str) -> set[str]:
    """The rooms and files that the page's block of that name lists, such as `imports ray`."""
    (block,) = re.findall(rf"^```{re.escape(subject)}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return set(block.split())


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """Every import of a tree: the file, relative to the package, and the dotted name; those inside functions too."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield from ((str(path.relative_to(package)), f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((str(path.relative_to(package)), alias.name) for alias in node.names)


def circle(package: Path) -> list[str]:
    """A circle of files that import each other, as one sentence; none where there is no circle."""
    modules = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): str(path.relative_to(package)) for name, path in modules.items()}
    needs: dict[str, set[str]] = {file: set() for file in modules.values()}
    for file, name in imports(package):
        target = modules.get(name) or modules.get(name.rpartition(".")[0])
        if target not in (None, file):
            needs[file].add(target)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return [f"files import each other in a circle: {' <- '.join(error.args[1])}"]
    return []


def room_of(file: str) -> str:
    """The room or module at the package's top that a file belongs to."""
    return file.split("/")[0].removesuffix(".py")


def problems(package: Path, page: str) -> list[str]:
    """What in the tree breaks the page's rules, a sentence each."""
    levels = {name: number for number, names in enumerate(layers(page)) for name in names}
    found = []
    rooms = {room_of(str(path.relative_to(package))) for path in package.rglob("*.py")} - {"__init__", "__main__"}
    found += [f"{room} is not in the list of rooms" for room in sorted(rooms - set(levels))]
    found += [f"{room} is in the list of rooms, and does not exist" for room in sorted(set(levels) - rooms)]
    may_ray, may_distributed = allowed(page, "ray"), allowed(page, "torch.distributed")
    for file, name in imports(package):
        room = room_of(file)
        if room in ("__init__", "__main__"):
            continue
        words = name.split(".")
        if words[0] == "wsc_ray" and len(words) > 1:
            target = words[1]
            if target in levels and room in levels and target != room and levels[target] <= levels[room]:
                found.append(f"{file} imports {name}: {room} may import only what lies below it")
        if words[0] in ("benchmarks", "tests"):
            found.append(f"{file} imports {name}: an installed package comes without it")
        glue = Path(file).name.startswith("ray_")
        if words[0] == "ray" and not (glue or room in may_ray or file in may_ray):
            found.append(f"{file} imports {name}: Ray belongs into ray_*.py and {', '.join(sorted(may_ray))}")
        if name.startswith("torch.distributed") and not (room in may_distributed or file in may_distributed):
            found.append(
                f"{file} imports {name}: worker communication belongs into {', '.join(sorted(may_distributed))}"
            )
    return found + circle(package)
