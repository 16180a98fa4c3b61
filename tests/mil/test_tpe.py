"""TPE over heads and their settings, without Ray: the space is what fields declare, and a study can be made again."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from wsc_ray.mil.head import HEADS, settings_from, settings_values
from wsc_ray.mil.random_search import random_settings
from wsc_ray.mil.tpe import HEAD, STUDY, NumberedTPE, Space, distributions, study_storage
from wsc_ray.mil.trials import Trial
from wsc_ray.recipe.sections import Tune

TUNE = Tune(heads=["abmil", "mean", "dtfd"], trials=30)


def score(setting: Any) -> float:
    """Something to search: best for `mean` with a learning rate of 1e-3."""
    return (setting.name == "mean") - abs(setting.lr - 1e-3)


def run(study: optuna.Study, space: Space, count: int) -> list[dict[str, Any]]:
    """What `OptunaSearch` does with a study, one trial after the other."""
    found = []
    for _ in range(count):
        trial = study.ask()
        values = space(trial)["setting"]
        study.tell(trial, score(settings_from(values)))
        found.append(values)
    return found


def open_study(finished: list[Trial], seed: int = 0) -> optuna.Study:
    storage = study_storage(TUNE, finished)
    return optuna.load_study(study_name=STUDY, storage=storage, sampler=NumberedTPE(seed))


@pytest.mark.parametrize("head", HEADS.names())
def test_every_setting_of_every_head_is_a_parameter_with_its_declared_range(head: str) -> None:
    kind = HEADS[head]
    found = distributions(kind, TUNE)
    drawn = random_settings(Tune(heads=[head], trials=50), seed=0)
    assert len(found) == kind.draws()
    for setting in drawn:  # what the random search draws lies in what TPE is given
        for name, each in found.items():
            value = getattr(setting, name.removeprefix(f"{head}."))
            inside = value in each.choices if hasattr(each, "choices") else each.low <= value <= each.high
            assert inside, (name, value)


def test_a_trial_has_the_settings_of_its_own_head_alone() -> None:
    study = open_study([])
    run(study, Space(TUNE, range(20)), 20)
    for trial in study.trials:
        head = trial.params[HEAD]
        assert set(trial.params) == {HEAD, *distributions(HEADS[head], TUNE)}


def test_numbers_are_given_out_in_order() -> None:
    space, study = Space(TUNE, [3, 5]), open_study([])
    assert [space(study.ask())["number"] for _ in range(2)] == [3, 5]


def test_a_study_made_again_goes_on_as_the_first_would_have() -> None:
    whole = run(open_study([]), Space(TUNE, range(30)), 30)
    for done in (1, 12, 29):  # before and after TPE's random start
        finished = [
            Trial(number, settings_from(values), {"auroc": score(settings_from(values))}, 1, 1, 0.0)
            for number, values in enumerate(whole[:done])
        ]
        rest = run(open_study(finished[::-1]), Space(TUNE, range(done, 30)), 30 - done)
        assert rest == whole[done:]
    assert run(open_study([], seed=1), Space(TUNE, range(30)), 30) != whole


def test_it_finds_more_than_chance() -> None:
    found = run(open_study([]), Space(TUNE, range(60)), 60)
    late = [score(settings_from(values)) for values in found[30:]]
    drawn = [score(each) for each in random_settings(Tune(heads=TUNE.heads, trials=60), seed=0)]
    assert sum(late) / len(late) > sum(drawn) / len(drawn) + 0.3


def test_settings_are_what_records_hold() -> None:
    values = run(open_study([]), Space(TUNE, [0]), 1)[0]
    assert settings_values(settings_from(values)) == values
