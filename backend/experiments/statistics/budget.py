"""One budget of errors for everything that may stop a ramp, and corrections where several metrics may each be news.

Looks cost nothing more: intervals hold at every look. What is shared out is the chance that *any* guardrail of *any* declared
segment and arm calls a good version bad: a union, by Bonferroni, which needs no independence. That a bad version passes has a
chance of `pass_alpha` for each guardrail without sharing out, since all of them have to pass (an intersection-union test,
Berger 1982; Schultzberg, Ankargren and Frånberg 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")
FAIL_ALPHA, PASS_ALPHA = 0.05, 0.05
SEGMENTS_PART = 0.25
"""Of the budget, what goes to segments where any are declared: rarely news, and there are many of them."""
EXACT_PART = 0.2
"""Of one guardrail's alpha, what goes to the exact test of shares that counts before an asymptotic interval does."""


@dataclass(frozen=True)
class Budget:
    """The chances of a false alarm and of a false pass, over a whole rollout or experiment.

    Args:
        fail_alpha: of rolling back, ever, because of any guardrail, a version that is within every margin.
        pass_alpha: of passing, ever, a version that is beyond the margin of a given guardrail.
        guardrails: how many there are.
        segments: how many are declared and may stop the ramp; segments that are only looked at are exploratory and get nothing.
        arms: compared with the champion.
        restarts: of statistics, such as one for each step where a ramp reads each step by itself.
    """

    guardrails: int
    segments: int = 0
    arms: int = 1
    restarts: int = 1
    fail_alpha: float = FAIL_ALPHA
    pass_alpha: float = PASS_ALPHA

    def __post_init__(self) -> None:
        if self.guardrails < 1 or self.segments < 0 or self.arms < 1 or self.restarts < 1:
            raise ValueError("A budget is for at least one guardrail, arm and start.")
        if not (0 < self.fail_alpha < 1 and 0 < self.pass_alpha < 1):
            raise ValueError("Chances lie between 0 and 1.")

    @property
    def whole(self) -> float:
        """Alpha of calling one guardrail of one arm failed, over everyone."""
        part = 1 - SEGMENTS_PART if self.segments else 1.0
        return self.fail_alpha * part / (self.guardrails * self.arms * self.restarts)

    @property
    def segment(self) -> float:
        """As `whole`, of one declared segment; 0 without any."""
        if not self.segments:
            return 0.0
        return self.fail_alpha * SEGMENTS_PART / (self.guardrails * self.arms * self.restarts * self.segments)

    @property
    def total(self) -> float:
        """What all of them use together: `fail_alpha`."""
        return (self.whole + self.segments * self.segment) * self.guardrails * self.arms * self.restarts


def holm(chances: Mapping[K, float]) -> dict[K, float]:
    """p-values as Holm (1979) adjusts them: of all that are at or below alpha, any is false with chance alpha at most.

    With always-valid p-values this holds at any moment of stopping. NaN counts as 1.
    """
    plain = {key: 1.0 if math.isnan(one) else min(max(one, 0.0), 1.0) for key, one in chances.items()}
    adjusted, most = dict[K, float](), 0.0
    for place, key in enumerate(sorted(plain, key=lambda one: plain[one])):
        most = max(most, min(1.0, (len(plain) - place) * plain[key]))
        adjusted[key] = most
    return {key: adjusted[key] for key in chances}


def needed_power(power: float, guardrails: int) -> float:
    """The power that each guardrail needs so that a good version passes all of them with this one (Bonferroni on what is
    missed)."""
    return 1 - (1 - power) / max(guardrails, 1)


def shares(budget: Budget, segments: Sequence[str]) -> dict[str, float]:
    """Alpha by segment, "" being everyone; for a page that shows where the budget goes."""
    return {"": budget.whole, **dict.fromkeys(segments, budget.segment)}
