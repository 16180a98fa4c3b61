"""A local Ray that does not start within its time, as on a busy machine."""

import pytest
import ray

from wsc_ray import ray_session
from wsc_ray.errors import ResourceError

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


@pytest.fixture
def starts(monkeypatch):
    """How often Ray was asked to start; it is late as often as the test says."""
    asked = []

    def late(times: int, error: str = LATE) -> list:
        def init(**options):
            asked.append(options)
            if len(asked) <= times:
                raise Exception(error)  # Ray's own

        monkeypatch.setattr(ray, "init", init)
        return asked

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return late


def test_it_is_started_again(starts):
    asked = starts(2)
    with ray_session.ray_session():
        pass
    assert len(asked) == 3


def test_in_the_end_it_is_a_sentence(starts):
    asked = starts(99)
    with pytest.raises(ResourceError, match="did not start on this machine within its time"), ray_session.ray_session():
        pass
    assert len(asked) == ray_session.STARTS


def test_anything_else_is_not_tried_again(starts):
    asked = starts(99, "of another kind")
    with pytest.raises(Exception, match="of another kind"), ray_session.ray_session():
        pass
    assert len(asked) == 1


def test_the_reason_is_one_sentence(starts):
    starts(99, "Failed to start GCS.  Last 0 lines of error files:\n\n")
    with pytest.raises(ResourceError) as caught, ray_session.ray_session():
        pass
    assert str(caught.value).startswith(
        "Ray does not start on this machine: Failed to start GCS. Type the command again"
    )
