from collections.abc import Callable, Iterator

import pytest
import torch

from tests.gang import Gang


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, which would fight the workers for cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=[1, 2, 3, 4], ids="{}-workers".format)
def gang(request: pytest.FixtureRequest, gang_of: Callable[[int], Gang]) -> Gang:
    """A running group of 1, 2, 3 and 4 workers in turn."""
    return gang_of(request.param)
