"""Optuna's TPE over heads and their settings: the search space that `searched` fields declare, and a study that can be rebuilt.

The head is one parameter. A head's settings are parameters with its name as prefix (`abmil.dropout`), which only trials with that
head have: a conditional space. After a kill, a new study is given the finished trials, so that the search goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from wsc_ray import random
from wsc_ray.mil.head import HEADS, Settings, settings_values
from wsc_ray.mil.space import choice, log_uniform, uniform
from wsc_ray.mil.trials import Trial
from wsc_ray.recipe.sections import Tune

HEAD = "head"
STUDY = "search"
OBJECTIVE = "auroc"  # the score by which a trial is chosen first


Distribution = FloatDistribution | CategoricalDistribution


def distributions(kind: type[Settings], tune: Tune) -> dict[str, Distribution]:
    """Return Optuna's distributions of a head's settings, by parameter name."""
    return {f"{kind.name}.{name}": _distribution(draw, within) for name, draw, within in kind.ranges(tune)}


def _distribution(draw: Any, within: Sequence[Any]) -> Distribution:
    if draw is choice:
        return CategoricalDistribution(tuple(within))
    if draw not in (uniform, log_uniform):
        raise TypeError(f"a setting is drawn by {draw!r}; TPE knows log_uniform, uniform and choice")
    low, high = within
    return FloatDistribution(low, high, log=draw is log_uniform)


class Space:
    """The function that `OptunaSearch` calls for each trial; it returns the trial's number and settings.

    Args:
        tune: the recipe's section.
        numbers: the numbers of the trials to run, in order.
    """

    def __init__(self, tune: Tune, numbers: Sequence[int]):
        self.tune, self.numbers = tune, list(numbers)

    def __call__(self, trial: Any) -> dict[str, Any]:
        kind = HEADS[trial.suggest_categorical(HEAD, tuple(self.tune.heads))]
        values = {}
        for name, distribution in distributions(kind, self.tune).items():
            setting = name.removeprefix(f"{kind.name}.")
            if isinstance(distribution, FloatDistribution):
                values[setting] = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
            else:
                values[setting] = trial.suggest_categorical(name, distribution.choices)
        return {"number": self.numbers.pop(0), "setting": settings_values(kind(**values))}


class NumberedTPE(BaseSampler):
    """TPE whose random numbers depend only on the seed and the trial's number in its study.

    A rebuilt study therefore goes on as the first would have.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.tpe = TPESampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Called first for a trial; see `optuna.samplers.BaseSampler`."""
        # Not multivariate: settings that only trials of one head have cannot be drawn jointly.
        self.tpe = TPESampler(seed=int(random.raw(1, self.seed, trial.number)[0] >> 33), multivariate=False)
        return self.tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `optuna.samplers.BaseSampler`."""
        return self.tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `optuna.samplers.BaseSampler`."""
        return self.tpe.sample_independent(study, trial, param_name, param_distribution)


def study_storage(tune: Tune, finished: Iterable[Trial]) -> InMemoryStorage:
    """Return a storage with a study called `STUDY` that holds the finished trials, sorted by number."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    for trial in sorted(finished, key=lambda trial: trial.number):
        name = trial.setting.name
        of_head = distributions(type(trial.setting), tune)
        params = {key: getattr(trial.setting, key.removeprefix(f"{name}.")) for key in of_head}
        study.add_trial(
            optuna.trial.create_trial(
                params={HEAD: name, **params},
                distributions={HEAD: CategoricalDistribution(tuple(tune.heads)), **of_head},
                value=trial.scores[OBJECTIVE],
            )
        )
    return storage
