from collections.abc import Iterator

import pytest
import torch

from .gang import Gang


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, which would fight the workers for cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=[1, 2, 3, 4], ids="{}-workers".format)
def gang(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    """A running group of 1, 2, 3 and 4 workers in turn."""
    gang = Gang(request.param, f"file://{tmp_path_factory.mktemp('gloo')}/meet")
    yield gang
    gang.close()
