import torch
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.mil.segments import (
    bag_of_rows,
    of_predicted,
    rows_or_zeros,
    segment_argmax,
    segment_rank,
    segment_softmax,
    segment_sum,
)

from .cohort import FEW, make_bags

lengths_of_segments = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def mixed(lengths: list[int], columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (n, columns) of few values, so that some are equal, of segments whose rows lie anywhere."""
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    generator = torch.Generator().manual_seed(sum(lengths))
    scores = torch.randint(-3, 3, (len(segment), columns), generator=generator).double()
    return scores, segment[torch.randperm(len(segment), generator=generator)]


@FEW
@given(lengths_of_segments)
def test_sums_and_softmax_are_those_of_each_segment(lengths: list[int]) -> None:
    scores, segment = mixed(lengths, 2)
    sums, softmax = segment_sum(scores, segment, len(lengths)), segment_softmax(scores, segment, len(lengths))
    for one in range(len(lengths)):
        torch.testing.assert_close(sums[one], scores[segment == one].sum(0))
        torch.testing.assert_close(softmax[segment == one], scores[segment == one].softmax(0))


@FEW
@given(lengths_of_segments)
def test_the_highest_row_is_the_first_of_the_highest(lengths: list[int]) -> None:
    scores, segment = mixed(lengths, 3)
    found = segment_argmax(scores, segment, len(lengths))
    for one in range(len(lengths)):
        rows = (segment == one).nonzero().squeeze(1).tolist()
        for column in range(3):
            expected = max(rows, key=lambda row: (scores[row, column], -row), default=len(scores))
            assert found[one, column] == expected
    picked = rows_or_zeros(scores, found)
    assert picked.shape == (len(lengths), 3, 3)
    assert not picked[torch.tensor(lengths) == 0].any()


@FEW
@given(lengths_of_segments)
def test_ranks_are_places_in_a_stable_sort_of_each_segment(lengths: list[int]) -> None:
    scores, segment = mixed(lengths, 1)
    found = segment_rank(scores[:, 0], segment, len(lengths))
    for one in range(len(lengths)):
        rows = (segment == one).nonzero().squeeze(1).tolist()
        expected = sorted(rows, key=lambda row: -scores[row, 0])
        assert [rows[place] for place in found[rows].argsort()] == expected
        assert sorted(found[rows].tolist()) == list(range(len(rows)))


def test_softmax_of_scores_that_are_far_from_0() -> None:
    bags = make_bags([3, 2])
    scores = bags.features[:, 0] + 1e4
    found = segment_softmax(scores, bag_of_rows(bags.offsets), 2)
    torch.testing.assert_close(found, torch.cat([part.softmax(0) for part in scores.split([3, 2])]))


def test_the_attention_of_the_predicted_class() -> None:
    weights = torch.tensor([[0.1, 0.9], [0.9, 0.1], [1.0, 1.0]])
    logits, bag = torch.tensor([[0.0, 1.0], [0.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 0, 2])
    assert of_predicted(weights, logits, bag).tolist() == weights[[0, 1, 2], [1, 1, 0]].tolist()
