"""What a model predicts, under which name its outcome is logged, and by what its errors are told apart. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Literal

from backend.core.errors import Refusal

MOST_SEGMENTATIONS = 50
MOST_SEGMENTS = 20
MOST_CLASSES = 50
OTHER, MISSING, NOT_A_NUMBER = "other", "missing", "not a number"


@dataclass(frozen=True, slots=True)
class Binary:
    """A probability that the outcome is 1.

    Args:
        outcome: the outcome's name in the log; its values are 0 and 1.
        threshold: a score of at least this is a call of 1.
        horizon: an outcome counts only where it became known within that time of its request; None counts whatever is known.
            With a horizon, hours that are older than it never change again but by corrections, and can be compared.
    """

    outcome: str
    threshold: float = 0.5
    horizon: timedelta | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise Refusal("A threshold lies between 0 and 1.", "Give one such as 0.5.", code="bad-threshold")
        _check_horizon(self.horizon)


@dataclass(frozen=True, slots=True)
class Classes:
    """Probabilities of several classes, as JSON: a list in the order of `classes`, or an object by their names.

    Args:
        outcome: its values are places in `classes`, from 0.
        classes: their names, in order.
        horizon: see `Binary`.
    """

    outcome: str
    classes: tuple[str, ...]
    horizon: timedelta | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= MOST_CLASSES or len(set(self.classes)) < len(self.classes) or "" in self.classes:
            raise Refusal(
                "These are not the names of classes.", f"Give 2 to {MOST_CLASSES} different names.", code="bad-classes"
            )
        _check_horizon(self.horizon)


@dataclass(frozen=True, slots=True)
class Regression:
    """A number that the outcome should be. `horizon`: see `Binary`."""

    outcome: str
    horizon: timedelta | None = None

    def __post_init__(self) -> None:
        _check_horizon(self.horizon)


Task = Binary | Classes | Regression


@dataclass(frozen=True, slots=True)
class Categories:
    """Segments by a feature's values: each of `values` is one ("= UA"), all others are "other", none at all is "missing"."""

    feature: str
    values: tuple[str, ...]
    kind: Literal["text", "flag"] = "text"

    def __post_init__(self) -> None:
        if not 1 <= len(self.values) <= MOST_SEGMENTS or len(set(self.values)) < len(self.values):
            raise Refusal(
                "These are no segments.", f"Give 1 to {MOST_SEGMENTS} different values of {self.feature}.", code="bad-segments"
            )


@dataclass(frozen=True, slots=True)
class Bands:
    """Segments by a number: below the first edge, from each edge on, from the last one on; "missing" where there is none."""

    feature: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise(self.edges)) and len(set(self.names)) == len(self.names)
        if not 1 <= len(self.edges) < MOST_SEGMENTS or not rising or not all(map(math.isfinite, self.edges)):
            raise Refusal(
                "These are no bands.", f"Give 1 to {MOST_SEGMENTS - 1} rising edges of {self.feature}.", code="bad-segments"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The bands' names, the lowest first; edges are told in six digits."""
        if not self.edges:
            return ()
        between = (f"{low:.6g} to {high:.6g}" for low, high in pairwise(self.edges))
        return (f"below {self.edges[0]:.6g}", *between, f"from {self.edges[-1]:.6g}")


Segmentation = Categories | Bands


def checked(segmentations: Sequence[Segmentation]) -> tuple[Segmentation, ...]:
    """The same, unless there are too many or two of one feature."""
    names = [one.feature for one in segmentations]
    if len(names) > MOST_SEGMENTATIONS or len(set(names)) < len(names):
        raise Refusal(
            "These segmentations cannot be counted together.",
            f"Give at most {MOST_SEGMENTATIONS}, each of another feature.",
            code="bad-segments",
        )
    return tuple(segmentations)


def _check_horizon(horizon: timedelta | None) -> None:
    if horizon is not None and horizon <= timedelta():
        raise Refusal("A horizon is a time after the request.", "Give one above 0, such as 2d.", code="bad-horizon")
