"""Imports go down the layers that docs/architecture.md draws, never up or in a circle."""

import shutil

import pytest

from tests.layers import PAGE, ROOT, layers, problems


def test_the_package_keeps_its_layers():
    assert problems(ROOT / "wsc_ray", PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("losses/ntxent.py", "from wsc_ray.pretrain import loop", "losses may import only what lies below it"),
        ("storage.py", "def late():\n    from wsc_ray.commands import embed", "storage may import only"),
        ("losses/ntxent.py", "import ray", "Ray belongs into"),
        ("stream/order.py", "def late():\n    import ray.data", "Ray belongs into"),
        ("encoders/model.py", "import torch.distributed as dist", "worker communication belongs into"),
        ("encoders/model.py", "from torch import distributed", "worker communication belongs into"),
        ("bench/rounds.py", "from benchmarks import timing", "an installed package comes without it"),
        ("slides/slide.py", "def late():\n    from wsc_ray.slides.opening import open_slide", "in a circle: slides/"),
        ("cellar/__init__.py", "", "cellar is not in the list of rooms"),
    ],
)
def test_what_breaks_them_is_found(tmp_path, file, line, said):
    package = shutil.copytree(ROOT / "wsc_ray", tmp_path / "wsc_ray", ignore=shutil.ignore_patterns("__pycache__"))
    path = package / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    problem, *_ = problems(package, PAGE.read_text())  # an upward import can also close a circle
    assert said in problem


def test_no_room_stands_in_two_layers():
    names = [name for layer in layers(PAGE.read_text()) for name in layer]
    assert len(names) == len(set(names))
