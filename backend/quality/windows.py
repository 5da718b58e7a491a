"""All that is said of one window: what to know first, the figures, and the reliability curve. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backend.quality import classification, regression
from backend.quality.calibration import Band, by_chance, reliability
from backend.quality.counts import Counts, Tally, Where
from backend.quality.figures import LEVEL, Value
from backend.quality.gate import Finding, findings
from backend.quality.tasks import Classes, Regression, Task

_OF_SEVERAL = (
    *("log_loss", "brier", "accuracy", "mean_score"),
    *("calibration_error", "calibration_error_debiased", "calibration_intercept", "calibration_slope"),
)
"""What can be said of the most probable of several classes; ranking, precision and recall are said of each class."""


@dataclass(frozen=True)
class Quality:
    """How good the predictions of a window were.

    Args:
        requests: how many were answered in it.
        findings: what to know before reading a figure.
        figures: by name; each is a number with its interval, or the words why there is none.
        curve: the reliability curve; () of numbers.
        by_chance: the calibration error that perfectly calibrated scores would show by chance; NaN without outcomes.
        classes: the figures of each class by itself, where there are several.
    """

    requests: int
    findings: tuple[Finding, ...]
    figures: Mapping[str, Value]
    curve: tuple[Band, ...]
    by_chance: float
    classes: Mapping[str, Mapping[str, Value]]


def quality(counts: Counts, where: Where, level: float = LEVEL) -> Quality:
    """Judges what was counted of a window, version, arm or segment."""
    tally, task = counts.tally(where), counts.task
    labels = task.classes if isinstance(task, Classes) and not where.label else ()
    classes = {label: classification.figures(counts.tally(replace(where, label=label)), level) for label in labels}
    numbers = isinstance(task, Regression)
    return Quality(
        requests=tally.count("requests") + sum(tally.unusable.values()),
        findings=findings(task, tally),
        figures=figures(task, tally, level, where.label),
        curve=() if numbers else reliability(tally, level),
        by_chance=float("nan") if numbers else by_chance(tally),
        classes=classes,
    )


def figures(task: Task, tally: Tally, level: float = LEVEL, label: str = "") -> Mapping[str, Value]:
    """The figures that a task has; with a `label`, those of one class against all others."""
    if isinstance(task, Regression):
        return regression.figures(tally, level)
    found = classification.figures(tally, level)
    return {name: found[name] for name in _OF_SEVERAL} if isinstance(task, Classes) and not label else found
