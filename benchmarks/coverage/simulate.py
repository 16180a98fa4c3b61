"""Simulated cohorts for which the true difference between two results is known in closed form.

The score of slide i of patient q by member m is

    z = +-(delta + a_m) / 2 + b_q + e_i + s_im

with the sign of the label, the skill a_m of the member, the effect b_q of the patient, the effect e_i of the slide, and the effect
s_im of the member's seed on the slide; all are normal. Two results share a part of the patients' and slides' effects, like two
encoders. Probabilities are linear in z, so that the mean of members is normal too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from wsc_ray.evaluate.compare import Pairing, pair
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.predictions import Predictions

SLOPE = 0.03  # slope of probabilities over z, small enough that they stay within 0 and 1
PATIENT, SLIDE, SHARED = (
    0.7,
    0.7,
    0.5,
)  # standard deviations, and the share of their variance that two results have in common
CLASSES = ("negative", "positive")


@dataclass(frozen=True)
class Scenario:
    """A kind of cohort and of fits; `deltas` are the distances between the classes in the two results."""

    name: str
    patients: int
    slides: int  # per patient
    members: int  # per fold
    folds: int = 1
    skill: float = 0.0  # standard deviation of a_m
    noise: float = 0.0  # standard deviation of s_im
    deltas: tuple[float, float] = (1.6, 1.0)
    forgetting: bool = False  # whether to show also the effect of ignoring patients, or seeds
    judged: bool = True  # whether it has to reach the target; if not, it shows where intervals fail

    def truth(self) -> dict[str, float]:
        """The expected difference of ensembles, over cohorts and seeds."""
        first, second = (self._expected(delta) for delta in self.deltas)
        return {name: first[name] - second[name] for name in first}

    def _expected(self, delta: float) -> dict[str, float]:
        variance = PATIENT**2 + SLIDE**2 + self.noise**2 / self.members
        skill = self.skill**2 / self.members
        # A positive and a negative slide of one fold share its members' skill; those of two folds each have half of an independent skill.
        within = norm.cdf(delta / np.sqrt(2 * variance + skill))
        across = norm.cdf(delta / np.sqrt(2 * variance + skill / 2))
        return {
            "auroc": float(within / self.folds + across * (1 - 1 / self.folds)),
            "balanced_accuracy": float(norm.cdf(delta / 2 / np.sqrt(variance + skill / 4))),
        }


SCENARIOS = (
    Scenario("200 patients, a slide each, one fit", 200, 1, 1),
    Scenario("100 patients, 3 slides each, one fit", 100, 3, 1, forgetting=True),
    Scenario("100 patients, 3 slides each, 5 seeds", 100, 3, 5, skill=0.3, noise=1.0, forgetting=True),
    Scenario("100 patients, 3 slides each, 5 folds of 3 seeds", 100, 3, 3, folds=5, skill=0.3, noise=1.0),
    Scenario("30 patients, a slide each, one fit", 30, 1, 1, judged=False),
)


def draw(scenario: Scenario, rng: np.random.Generator) -> Pairing:
    """Draw a cohort and two results."""
    count = scenario.patients * scenario.slides
    patient = np.repeat(np.arange(scenario.patients), scenario.slides)
    label = patient % 2
    fold = patient // 2 % scenario.folds  # the same number of positive and negative patients in each
    shared = _difficulty(scenario, patient, rng)
    slides = tuple(f"s{i:05d}" for i in range(count))
    results = []
    for name, delta in zip("AB", scenario.deltas, strict=True):
        own = _difficulty(scenario, patient, rng)
        base = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
        probabilities = np.full((scenario.folds * scenario.members, count, 2), np.nan)
        for m in range(len(probabilities)):
            here = fold == m // scenario.members
            skill = rng.normal(0, scenario.skill)
            z = (label - 0.5) * (delta + skill) + base + rng.normal(0, scenario.noise, count)
            positive = 0.5 + SLOPE * z[here]
            probabilities[m, here] = np.stack([1 - positive, positive], axis=1)
        numbers = range(len(probabilities))
        folds = tuple(str(m // scenario.members) if scenario.folds > 1 else None for m in numbers)
        members = MemberPredictions(tuple(map(str, numbers)), tuple(numbers), folds, probabilities)
        labels = {slide: CLASSES[each] for slide, each in zip(slides, label, strict=True)}
        patients = {slide: f"p{each}" for slide, each in zip(slides, patient, strict=True)}
        results.append(Predictions(name, slides, labels, patients, CLASSES, members, True))
    return pair(results)


def _difficulty(scenario: Scenario, patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, PATIENT, scenario.patients)[patient] + rng.normal(0, SLIDE, len(patient))
