"""What is wrong with a window, as values: each kind of finding with its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from backend.drift.values import Key

FindingKind = Literal[
    "empty-window",
    "tiny-window",
    "empty-reference",
    "missing-column",
    "extra-column",
    "type-changed",
    "unreadable",
    "nulls",
    "infinities",
    "range",
    "new-categories",
    "frozen",
    "drift",
    "prediction-drift",
    "rescaled",
    "swapped",
    "uncounted",
    "failed",
]
FINDING_KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
Severity = Literal["notice", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From least to most. A notice is to be read when one looks; it alarms nobody."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one column, or with a whole window.

    Args:
        kind: what it is, for machines; one column has each kind at most once a window.
        column: None for the whole window.
        words: one sentence for a person.
        facts: the figures in it.
    """

    kind: FindingKind
    severity: Severity
    column: Key | None
    words: str
    facts: Mapping[str, float | int | str] = field(default_factory=dict)


def percent(share: float) -> str:
    """A share for a person: `12 %`, `0.4 %`, `less than 0.01 %`."""
    hundredths = 100 * share
    if 0 < hundredths < 0.01:
        return "less than 0.01 %"
    return f"{hundredths:.3g} %" if hundredths < 99.5 or hundredths == 100 else f"{hundredths:.4g} %"


def figure(value: float) -> str:
    """A number for a person."""
    return f"{value:.3g}"


def two_figures(one: float, other: float) -> tuple[str, str]:
    """Two numbers for a person, with as many figures as tell them apart."""
    told = (figure(one), figure(other))
    for places in range(4, 18):
        if told[0] != told[1] or one == other:
            break
        told = (f"{one:.{places}g}", f"{other:.{places}g}")
    return told


def sentence(words: str) -> str:
    """Words as a sentence of their own."""
    return words[:1].upper() + words[1:]


def counted(number: int, one: str, many: str) -> str:
    """`1 row`, `2,300 rows`."""
    return f"{number:,} {one if number == 1 else many}"
