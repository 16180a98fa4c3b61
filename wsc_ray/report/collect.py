"""The facts of each result in a report, read once from its folders; missing parts are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.cohort.problems import listed
from wsc_ray.errors import UserError
from wsc_ray.evaluate.ledger import read_ledger
from wsc_ray.evaluate.predictions import Predictions, read_predictions
from wsc_ray.files import read_summary
from wsc_ray.pretrain import metrics_file
from wsc_ray.report.answers import Answers, read_answers
from wsc_ray.report.head_record import HeadRecord, read_head
from wsc_ray.report.places import Parts
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath
from wsc_ray.uris import unusable


@dataclass(frozen=True, eq=False)
class Facts:
    """One result.

    Attributes:
        parts: its folders.
        identity, trained: identity and summary of `pretrain`; empty if it did not run, or has not ended.
        embedded_by, embedded: identity and summary of `embed`, likewise.
        tuned, evaluated: summaries of `tune` and `evaluate`, likewise.
        metrics: the lines of `metrics.jsonl`.
        openings: the lines of the ledger.
        predictions: the predictions for the test slides, with classes in the head's order; None without an evaluation.
        recipe: the text of the run's recipe.
        missing: a sentence for each part that is missing or cannot be read.
        asked: summary of `predict`; empty if the result is no prediction.
        answers: its predictions, without labels; None likewise, or if their table cannot be used.
        head: the record of the head that it used; None likewise, or if that head has gone.
    """

    parts: Parts
    identity: Mapping[str, Any]
    trained: Mapping[str, Any]
    embedded_by: Mapping[str, Any]
    embedded: Mapping[str, Any]
    tuned: Mapping[str, Any]
    evaluated: Mapping[str, Any]
    metrics: Sequence[Mapping[str, float]]
    openings: Sequence[Mapping[str, Any]]
    predictions: Predictions | None
    recipe: str | None
    missing: tuple[str, ...]
    asked: Mapping[str, Any] = field(default_factory=dict)
    answers: Answers | None = None
    head: HeadRecord | None = None

    @property
    def name(self) -> str:
        return self.parts.name

    @property
    def classes(self) -> list[str]:
        """The labels in the head's order; of two, the second is the positive one."""
        return list(self.evaluated.get("classes", ()))


def collect(parts: Parts) -> Facts:
    """Read the parts of a result that are there.

    Raises:
        RunFolderError: a file that later commands trust is damaged.
    """
    if parts.prediction is not None:
        return _of_prediction(parts, parts.prediction)
    run, missing = parts.run, []
    metrics = metrics_file.read(run.metrics) if run is not None else []
    recipe = None
    if run is not None and run.recipe.is_file():
        recipe = "\n".join(
            line for line in run.checked_recipe().read_text().splitlines() if "wsc_ray_sha256" not in line
        )
    evaluated = _summary(parts.evaluation)
    predictions = None
    if parts.evaluation is not None:
        try:
            predictions = read_predictions(str(parts.evaluation))
            predictions = predictions.arranged(sorted(predictions.slides), evaluated["classes"])
            unknown = sorted(set(predictions.labels.values()) - set(predictions.classes))
            if unknown or len(predictions.labels) < len(predictions.slides):
                raise ValueError(f"slides without a label of the head, {listed(unknown or ['none'])}")
        except (UserError, KeyError, ValueError) as error:
            missing.append(f"its predictions cannot be used: {error}")
            predictions, evaluated = None, {}
    ledger = run.path if run is not None else parts.head
    return Facts(
        parts=parts,
        identity=(read_identity(run.path, "pretrain") or {}) if run is not None else {},
        trained=_summary(run.path if run is not None else None),
        embedded_by=(read_identity(parts.features, "embed") or {}) if parts.features is not None else {},
        embedded=_summary(parts.features),
        tuned=_summary(parts.head),
        evaluated=evaluated,
        metrics=metrics,
        openings=read_ledger(ledger) if ledger is not None else [],
        predictions=predictions,
        recipe=recipe,
        missing=(*missing, *parts.notes, *_absent(parts, bool(metrics))),
    )


def _of_prediction(parts: Parts, place: AnyPath) -> Facts:
    """Read a folder of `predict`; a recipe, training and the ledger belong to the head's run, which is a result of its own."""
    asked, missing, answers = _summary(place), [], None
    try:
        answers = read_answers(place, [str(each) for each in asked.get("classes", ())])
    except (UserError, OSError) as error:
        missing.append(f"its predictions cannot be used: {error}")
    identity = read_identity(place, "predict") or {}
    head, problem = read_head(parts.head, identity.get("head"))
    if parts.features is None:
        missing.append("its features are in no feature store here, so that there is no map of its patches")
    embedded_by: Mapping[str, Any] = {}
    try:
        embedded_by = (read_identity(parts.features, "embed") or {}) if parts.features is not None else {}
    except (UserError, OSError) as error:
        missing.append(f"how its features were made is not known: {unusable(parts.features, error)}")
    return Facts(
        parts=parts,
        identity=head.identity if head else {},
        trained=head.trained if head else {},
        embedded_by=embedded_by,
        embedded=_summary(parts.features),
        tuned=head.tuned if head else {},
        evaluated={},
        metrics=[],
        openings=[],
        predictions=None,
        recipe=None,
        missing=(*missing, *parts.notes, *([problem] if problem else [])),
        asked={**asked, "head_digest": identity.get("head"), "wsc_ray": identity.get("wsc_ray")},
        answers=answers,
        head=head,
    )


def _absent(parts: Parts, trained: bool) -> list[str]:
    """Return a sentence for each missing part, with the command that makes the part."""
    sentences = []
    if parts.run is not None and not trained:
        sentences.append(
            "it has no training metrics: its encoder was not trained, or training has not logged a step yet"
        )
    if parts.features is None:
        sentences.append(f"it has no features ({COHORT_FILE} is missing); `wsc-ray embed` writes them")
    if parts.evaluation is None:
        sentences.append("it is not evaluated; `wsc-ray evaluate` measures its head on test slides")
    elif parts.head is None:
        sentences.append("the head that it was evaluated with has gone")
    return sentences


def _summary(folder: AnyPath | None) -> dict[str, Any]:
    return (read_summary(folder) or {}) if folder is not None else {}
