"""The mistake that ended a run goes from a worker to the command."""

import pytest

from wsc_ray.errors import BadInputError, RecipeError, UserError
from wsc_ray.pretrain import ending


@pytest.mark.parametrize("mistake", [BadInputError("too many"), RecipeError("recipe", ["one", "two"]), UserError("x")])
def test_a_mistake_comes_out_as_it_went_in(tmp_path, mistake):
    assert ending.read(tmp_path) is None
    ending.write(tmp_path, mistake)
    found = ending.read(tmp_path)
    assert type(found) is type(mistake)
    assert str(found) == str(mistake)
    ending.clear(tmp_path)
    ending.clear(tmp_path)
    assert ending.read(tmp_path) is None


def test_only_what_a_user_can_do_wrong_comes_out(tmp_path):
    (tmp_path / ending.ENDING).write_text('{"error": "annotations", "message": "x"}')
    assert type(ending.read(tmp_path)) is UserError
