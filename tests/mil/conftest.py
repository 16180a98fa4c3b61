"""One MLflow store for all tests here: starting one costs seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from wsc_ray.tracking_store import connect


@pytest.fixture(scope="session")
def ray_here(ray_cluster: None) -> None:
    """The Ray of all tests, which commands find already there."""


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an MLflow store with the experiment `wsc-ray`."""
    # One for every folder of tests that takes this fixture.
    uri = f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db"
    connect(uri, "wsc-ray")
    return uri


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in trials: sums in one order, and no threads waiting for each other over a few numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
