"""One function over many arguments: what each gave, also where it cannot be read or ends its process."""

import os

from wsc_ray.errors import DataError
from wsc_ray.tiling.ray_each import each


def work(number: int) -> int:
    if number == 3:
        raise DataError("damaged")
    if number == 4:
        raise OSError(28, "No space left on device", "/full")
    if number == 5:
        os._exit(1)  # as a C library does that a broken file has led astray
    return number * number


def test_every_argument_has_its_answer(ray_cluster):
    found = dict(each(work, ((number,) for number in range(12))))
    said = {number: str(found.pop(number)) for number in (3, 4, 5)}
    assert found == {number: number * number for number in range(12) if number not in said}
    assert said[3] == "damaged"
    assert "No space left on device" in said[4]
    assert said[5].startswith("the process that read it ended each time, its file may be damaged")


def test_of_nothing_there_is_nothing(ray_cluster):
    assert list(each(work, ())) == []
