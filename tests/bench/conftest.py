"""What the benchmarks' tests share."""

import pytest
import torch


@pytest.fixture
def own_threads():
    """A benchmark sets torch's number of threads for this process; later tests have the number from before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
