"""What is said before any figure: each thing that makes figures impossible, doubtful or partial, in its own words. Pure.

Nothing found here stops the figures; each is computed from what is left, or says by itself why it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from backend.quality import counts
from backend.quality.counts import Tally
from backend.quality.figures import PROVISIONAL_BELOW
from backend.quality.tasks import Binary, Classes, Regression, Task

FEW = 30
"""Known outcomes below which intervals are wide enough to say so."""

Kind = Literal[
    "no-requests",
    "prediction-missing",
    "prediction-malformed",
    "prediction-not-finite",
    "prediction-outside",
    "probabilities-not-one",
    "no-usable-prediction",
    "constant-predictions",
    "no-outcomes",
    "few-outcomes",
    "one-class",
    "outcomes-missing",
    "outcome-without-value",
    "outcome-wrong",
    "certain-and-wrong",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader of the figures has to know.

    Args:
        kind: which of a fixed set.
        words: for a person; they hold nothing of any row.
        count, of: how many requests of how many it is about.
        blocks: whether no figure over outcomes is possible because of it.
    """

    kind: Kind
    words: str
    count: int
    of: int
    blocks: bool = False


def findings(task: Task, tally: Tally) -> tuple[Finding, ...]:
    """All that is to be said of a window, in the order in which rows are looked at: requests, predictions, outcomes."""
    usable = tally.count("requests")
    every = usable + sum(tally.unusable.values())
    if not every:
        return (Finding("no-requests", "No request was answered in this window.", 0, 0, True),)
    found = [*_unusable(task, tally, every)]
    if not usable:
        return (*found, Finding("no-usable-prediction", "No prediction of this window can be used.", every, every, True))
    return (*found, *_constant(tally, usable), *_outcomes(task, tally, usable))


def _unusable(task: Task, tally: Tally, every: int) -> Iterator[Finding]:
    for code, (kind, words) in _UNUSABLE.items():
        count = tally.unusable.get(code, 0)
        if count:
            yield Finding(kind, words.format(count=f"{count:,}", every=f"{every:,}", shape=_SHAPES[type(task)]), count, every)


def _constant(tally: Tally, usable: int) -> Iterator[Finding]:
    if usable > 1 and tally.is_constant:
        words = f"All {usable:,} predictions are the same number: they tell no request from another."
        yield Finding("constant-predictions", words, usable, usable)


def _outcomes(task: Task, tally: Tally, usable: int) -> Iterator[Finding]:
    pending, valueless, wrong, known = (tally.count(name) for name in ("pending", "valueless", "wrong", "labelled"))
    if wrong:
        words = f"{wrong:,} outcomes are no {_OUTCOMES[type(task)]} and were left out; look at what sends them."
        yield Finding("outcome-wrong", words, wrong, usable)
    if valueless:
        words = f"{valueless:,} of {usable:,} requests are known to have no value of this outcome; no figure covers them."
        yield Finding("outcome-without-value", words, valueless, usable)
    if not known:
        yield Finding("no-outcomes", f"Of {usable:,} requests no outcome is known yet.", pending, usable, True)
        return
    if known + valueless + wrong < PROVISIONAL_BELOW * usable:
        words = f"The outcomes of {pending:,} of {usable:,} requests are not known yet; figures may still move."
        yield Finding("outcomes-missing", words, pending, usable)
    if known < FEW:
        yield Finding("few-outcomes", f"Only {known:,} outcomes are known; intervals are wide.", known, usable)
    if not isinstance(task, Regression):
        yield from _kinds_of_outcomes(tally, known)


def _kinds_of_outcomes(tally: Tally, known: int) -> Iterator[Finding]:
    ones = tally.count("positives")
    if ones in (0, known):
        words = f"All {known:,} known outcomes are the same; ranking, recall and calibration need both kinds."
        yield Finding("one-class", words, known, known)
    certain_and_wrong = _certain_and_wrong(tally)
    if certain_and_wrong:
        words = (
            f"{certain_and_wrong:,} predictions of exactly 0 or 1 turned out wrong; the log loss counts each as 36, "
            "without that limit it would be infinite."
        )
        yield Finding("certain-and-wrong", words, certain_and_wrong, known)


def _certain_and_wrong(tally: Tally) -> int:
    """Exactly 0 and exactly 1 have bins of their own, on the grid too."""
    never, always = tally["high"] == 0, tally["low"] == 1
    return int(tally["positives"][never].sum() + (tally["labelled"] - tally["positives"])[always].sum())


_SHAPES = {
    Binary: "a single number",
    Regression: "a single number",
    Classes: "one number for each class, as a list or by name",
}
_OUTCOMES = {Binary: "0 or 1", Regression: "finite number", Classes: "place of a class"}
_UNUSABLE: dict[int, tuple[Kind, str]] = {
    counts.NO_PREDICTION: (
        "prediction-missing",
        "{count} of {every} requests were answered but carry no prediction in the log.",
    ),
    counts.MALFORMED: ("prediction-malformed", "{count} of {every} predictions are not {shape}."),
    counts.NOT_FINITE: ("prediction-not-finite", "{count} of {every} predictions are not a finite number (NaN or infinite)."),
    counts.OUTSIDE: ("prediction-outside", "{count} of {every} predictions lie outside 0 to 1: they are no probabilities."),
    counts.NOT_ONE: ("probabilities-not-one", "{count} of {every} predictions give probabilities that do not sum up to 1."),
}
