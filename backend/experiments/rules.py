"""What figures mean for a ramp or an experiment: the verdict of each guardrail, and one decision with its reasons. Pure.

Harm is how much worse the treatment is than the champion, in the metric's unit or as a share of the champion's figure. A
guardrail tolerates some, its margin: it fails where harm is proved to be beyond the margin, and passes where it is proved to be
within; no data is never a pass.

The decision follows the rule of Schultzberg, Ankargren and Frånberg (2024): ship what is proved better in what it is for (or,
of a mere rollout, nothing) and within the margin in everything else, on data that is sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "inconclusive", "missing", "stale"]
Decision = Literal["ship", "roll_back", "keep_running"]
Goal = Literal["better", "not_worse"]


@dataclass(frozen=True)
class Guardrail:
    """What must not get worse.

    Args:
        name: of the metric, in words.
        margin: how much harm is tolerated, above 0, in the unit that the measured ends are in.
        stale_after: seconds after which what was measured last says nothing.
        segment: whose; "" is everyone. `exploratory` ones are shown and stop nothing.
    """

    name: str
    margin: float
    stale_after: float
    segment: str = ""
    exploratory: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise ValueError(
                "A guardrail tolerates some harm: a margin of 0 can never be met by a version as good as the champion."
            )


@dataclass(frozen=True)
class Measured:
    """Harm as it was measured for one guardrail or goal: above 0 is worse.

    Args:
        harm: best guess; None where nothing was measured.
        fail_low: harm is at least this, at the alpha of a false alarm; minus infinite where nothing is known.
        pass_high: harm is at most this, at the alpha of a false pass.
        n_control, n_treatment: units (or requests) of the arms.
        age: seconds since the newest of them.
        unsettled: why the ends do not count yet (`sequences.missing_words`); then only an exact end may fail or pass.
        exact_fail, exact_pass: an exact test says that harm is beyond, or within, the margin.
    """

    harm: float | None
    fail_low: float = -math.inf
    pass_high: float = math.inf
    n_control: float = 0
    n_treatment: float = 0
    age: float = 0.0
    unsettled: str = ""
    exact_fail: bool = False
    exact_pass: bool = False


@dataclass(frozen=True)
class Judged:
    """A guardrail with its verdict and the reason, a sentence for a person."""

    guardrail: Guardrail
    verdict: Verdict
    reason: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        own = self.guardrail
        return {
            "name": own.name,
            "segment": own.segment,
            "exploratory": own.exploratory,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def judged(guardrail: Guardrail, found: Measured | None) -> Judged:
    """The verdict of one guardrail at one look. Whoever asks for `n` failures one after the other counts them."""
    verdict, reason = _verdict(guardrail, found)
    where = f" of {guardrail.segment}" if guardrail.segment else ""
    return Judged(guardrail, verdict, f"{guardrail.name}{where}: {reason}")


def _verdict(guardrail: Guardrail, found: Measured | None) -> tuple[Verdict, str]:
    if found is None or found.harm is None:
        return "missing", "nothing was measured."
    if not found.n_treatment > 0 or not found.n_control > 0:
        return "missing", f"the {'champion' if found.n_treatment > 0 else 'new version'} got no traffic."
    if not math.isfinite(found.harm) or math.isnan(found.fail_low) or math.isnan(found.pass_high) or math.isnan(found.age):
        return "missing", "what was measured is no number."
    if found.age > guardrail.stale_after:
        return "stale", f"the newest value is {found.age:,.0f} s old, and counts for {guardrail.stale_after:,.0f} s."
    if found.age < -guardrail.stale_after:
        return "stale", "the newest value is dated in the future: check the clocks."
    return _of_ends(guardrail.margin, found)


def _of_ends(margin: float, found: Measured) -> tuple[Verdict, str]:
    counts = not found.unsettled
    if found.exact_fail or (counts and found.fail_low > margin):
        return "fail", f"worse by about {found.harm:.4g}, and more than {margin:.4g} is proved; that much is not tolerated."
    if found.exact_pass or (counts and found.pass_high < margin):
        said = " (worse, but within that)" if counts and found.fail_low > 0 else ""
        return "pass", f"worse by {max(min(found.pass_high, margin), 0):.4g} at most, and {margin:.4g} is tolerated{said}."
    if not counts:
        return "inconclusive", f"{found.unsettled}."
    return "inconclusive", f"harm may lie between {found.fail_low:.4g} and {found.pass_high:.4g}; {margin:.4g} is tolerated."


@dataclass(frozen=True)
class Primary:
    """What an experiment is for.

    Args:
        goal: `better` ships what is proved better; `not_worse` what is within the margin of its guardrail, as a migration is.
        low, high: ends of the gain (above 0 is better), at the primary's own alpha.
        gain: best guess; None where nothing was measured.
        unsettled: why the ends do not count yet.
        ended: the planned sample was reached, and no further look is to come.
    """

    name: str
    gain: float | None
    low: float = -math.inf
    high: float = math.inf
    goal: Goal = "better"
    margin: float = 0.0
    unsettled: str = ""
    ended: bool = False


@dataclass(frozen=True)
class Decided:
    """One decision with its reasons, the weightiest first. `person`: it waits for nothing but somebody's word."""

    decision: Decision
    reasons: tuple[str, ...]
    person: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"decision": self.decision, "reasons": [*self.reasons], "person": self.person}


def decided(
    guardrails: Sequence[Judged], *, primary: Primary | None = None, unsound: Sequence[str] = (), more: bool = True
) -> Decided:
    """Decides one look.

    Args:
        guardrails: all that were asked for, with exploratory ones, which decide nothing.
        primary: None for a rollout, which is for nothing but not being worse.
        unsound: why no figure counts: a sample-ratio mismatch, units in two arms. What is proved on unsound data is not proved,
            so that even a failed guardrail only stops the ramp for a person.
        more: units are still to come.
    """
    binding = [one for one in guardrails if not one.guardrail.exploratory]
    failed = [one.reason for one in binding if one.verdict == "fail"]
    if unsound:
        return Decided("keep_running", (*unsound, "No figure counts until that is explained.", *failed), person=True)
    if failed:
        return Decided("roll_back", tuple(failed))
    waiting = [one.reason for one in binding if one.verdict != "pass"]
    if primary is not None:
        return _of_primary(primary, waiting, more=more)
    if not binding:
        return Decided("keep_running", ("No guardrail was asked for, so that nothing is proved.",), person=True)
    if waiting:
        return Decided("keep_running", tuple(waiting), person=not more)
    return Decided("ship", tuple(one.reason for one in binding))


def _of_primary(primary: Primary, waiting: Sequence[str], *, more: bool) -> Decided:
    if primary.gain is None or any(math.isnan(one) for one in (primary.gain, primary.low, primary.high)):
        return Decided("keep_running", (f"{primary.name}: nothing was measured.", *waiting), person=not more)
    if primary.unsettled:
        return Decided("keep_running", (f"{primary.name}: {primary.unsettled}.", *waiting), person=not more)
    floor = -primary.margin if primary.goal == "not_worse" else 0.0
    between = f"between {primary.low:.4g} and {primary.high:.4g}"
    if primary.high < floor:
        return Decided("roll_back", (f"{primary.name}: proved worse, {between}.",))
    if primary.low > floor:
        how = "proved better" if primary.low > 0 else f"proved to be within {primary.margin:.4g}"
        reason = f"{primary.name}: {how}, {between}."
        return Decided("keep_running", (reason, *waiting), person=not more) if waiting else Decided("ship", (reason,))
    over = primary.ended or not more
    reason = f"{primary.name}: the effect may lie {between}" + (
        "; the planned sample is reached, and it is not proved." if over else "."
    )
    return Decided("keep_running", (reason, *waiting), person=over)
