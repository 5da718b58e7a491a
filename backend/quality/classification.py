"""Figures of a probability over the outcomes that are known. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from backend.quality import means
from backend.quality.calibration import calibration_error, intercept_and_slope
from backend.quality.counts import Tally
from backend.quality.figures import LEVEL, NO_OUTCOMES, NO_POSITIVES, NONE_CALLED, Figure, NotPossible, Value
from backend.quality.intervals import WILSON, wilson
from backend.quality.ranking import auc_figure


def figures(tally: Tally, level: float = LEVEL) -> Mapping[str, Value]:
    """Every figure by name, those that are not possible as the words why: docs/quality.md says what each means."""
    intercept, slope = intercept_and_slope(tally, level)
    return {
        "log_loss": means.LOG_LOSS.of(tally, level),
        "brier": means.BRIER.of(tally, level),
        "auc": auc_figure(tally, level),
        **_calls(tally, level),
        "positive_share": _share(tally, tally.total("positives"), tally.total("labelled"), level),
        "mean_score": means.MEAN_SCORE.of(tally, level),
        "calibration_error": calibration_error(tally, level),
        "calibration_error_debiased": calibration_error(tally, level, debiased=True),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
    }


def _calls(tally: Tally, level: float) -> dict[str, Value]:
    """Accuracy, precision and recall at the task's threshold."""
    n, ones = tally.total("labelled"), tally.total("positives")
    called, right = tally.total("called_labelled"), tally.total("called_positives")
    correct = right + (n - ones) - (called - right)
    return {
        "accuracy": _share(tally, correct, n, level),
        "precision": _share(tally, right, called, level, NONE_CALLED),
        "recall": _share(tally, right, ones, level, NO_POSITIVES),
    }


def _share(tally: Tally, some: float, n: float, level: float, none: NotPossible = NO_OUTCOMES) -> Value:
    """A share of outcomes with Wilson's interval; `n` of the figure is what the share is of."""
    outcomes = tally.count("labelled")
    if not outcomes:
        return NO_OUTCOMES
    span = wilson(some, n, level)
    return Figure(some / n, *span, int(n), tally.missing, method=WILSON, outcomes=outcomes) if n else none
