"""On which node a worker's patches are read, and how many windows at a time."""

import pytest

from wsc_ray.stream.readers import Readers, readers_for


@pytest.mark.parametrize(
    ("places", "cpus", "cpus_per_worker", "expected"),
    [
        ("a", {"a": 4}, 1, Readers(3, "a")),
        ("aa", {"a": 2}, 0.5, Readers(1, "a")),
        ("ab", {"a": 1, "b": 1}, 0.6, Readers(1, "a")),
        ("ab", {"a": 16, "b": 16, "head": 8}, 1, Readers(15, "a")),
        ("a" * 8 + "b" * 8, {"a": 8, "b": 8, "many": 48}, 1, Readers(3)),
        ("ab", {"a": 4, "b": 12}, 1, Readers(7)),
        ("ba", {"b": 12, "a": 4}, 1, Readers(11, "b")),
        ("a", {"a": 1, "b": 0}, 1, Readers(1, "a")),
    ],
    ids=[
        "one machine",
        "two workers share a machine",
        "a core a node",
        "a head adds less than would be lost on the network",
        "machines with CPUs alone are made use of",
        "the node with the fewest CPUs takes from the others",
        "the node with the most keeps its own",
        "no CPU is free",
    ],
)
def test_readers_stay_with_their_worker_where_its_node_has_its_share(places, cpus, cpus_per_worker, expected):
    assert readers_for(0, list(places), cpus, cpus_per_worker) == expected
