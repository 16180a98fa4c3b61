"""Tests that need a GPU; `WSC_RAY_TEST_DEVICE=cpu` runs them on a CPU, to see that they hold there."""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("WSC_RAY_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that torch can use")
    return torch.device(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/gpu/" in str(item.path):
            item.add_marker(pytest.mark.gpu)
