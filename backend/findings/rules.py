"""Rules of findings: what a cause is, the state machine, what seeing it again means, and when somebody else is told. Pure.

One cause has one finding that is not over. Whoever finds says at each look what was seen and what was looked for and not seen:
a look that did not happen says nothing, so that a monitor which stands still clears nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from backend.core.canonical import canonical, digest
from backend.core.errors import Refusal
from backend.core.machine import Machine
from backend.policy.rules import EscalationStep, Severity

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the worst."""
Outcome = Literal["fixed", "expected", "false_alarm"]
"""What a person says of a finding that is over."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
CLEARED, GONE, TESTED = "no_longer_seen", "gone", "tested"
"""Why one is over without a person's word: its cause was looked for and not seen, what it was about is gone, it was a test."""

FINDING = Machine(
    noun="finding",
    initial="open",
    states=("open", "acknowledged", "snoozed", "resolved"),
    table={
        ("open", "acknowledge"): "acknowledged",
        ("snoozed", "acknowledge"): "acknowledged",
        **{(state, "snooze"): "snoozed" for state in ("open", "acknowledged", "snoozed")},
        **{(state, event): "resolved" for state in ("open", "acknowledged", "snoozed") for event in ("resolve", "clear")},
        # Whoever answered or silenced it did so for something less.
        **{(state, "rise"): "open" for state in ("open", "acknowledged", "snoozed")},
        ("open", "escalate"): "open",
        ("snoozed", "wake"): "open",
        **{(state, "reopen"): "open" for state in ("acknowledged", "snoozed", "resolved")},
    },
    remedies={"resolved": "Reopen it if it is not over."},
    cannot={
        "acknowledge": "be acknowledged",
        "snooze": "be snoozed",
        "resolve": "be resolved",
        "reopen": "be reopened",
        "escalate": "be escalated",
        "clear": "end by itself",
        "rise": "become worse",
    },
)
LIVE = ("open", "acknowledged", "snoozed")
"""States of a finding that is not over: each of them holds and blocks as the policy says."""


def is_as_severe(severity: str, least: str) -> bool:
    """Whether a severity is this one or a worse one."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


def rank(state: str, severity: str) -> int:
    """The place in a list that has the worst first: by severity, then by who has answered; what is over comes last."""
    if state == "resolved":
        return 90
    return 10 * (len(SEVERITIES) - 1 - SEVERITIES.index(severity)) + LIVE.index(state)


# -- what was found

_KIND = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*")
MAX_KIND, MAX_SUBJECT, MAX_SAYS, MAX_FOUND_BY = 64, 256, 300, 120


@dataclass(frozen=True)
class Cause:
    """What one finding is of.

    Args:
        kind: of a family, with a dot where the family has several: `drift.feature`, `latency.slo`, `monitor.late`.
        endpoint: where it is; or `model` where it is no endpoint's.
        subject: of what there, e.g. a feature's name or an arm's; "" for the place itself.
    """

    kind: str
    endpoint: str | None = None
    model: str | None = None
    subject: str = ""

    def __post_init__(self) -> None:
        if len(self.kind) > MAX_KIND or not _KIND.fullmatch(self.kind):
            raise ValueError(f"no kind of a finding: {self.kind[:80]!r}")
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("a finding is about an endpoint or about a model")


@dataclass(frozen=True)
class Sighting:
    """A cause that was seen at one look.

    Args:
        says: what is wrong, in a sentence with the figures.
        found_by: the monitor, or whatever else looked; the same at each look.
        evidence: small and JSON-able; kept in bounds.
        clear_after: how long looks have to be clean before the finding is over by itself.
        needs_person: that only a person ends it.
    """

    cause: Cause
    severity: Severity
    says: str
    found_by: str
    evidence: Mapping[str, Any]
    clear_after: timedelta = timedelta(0)
    needs_person: bool = False


def fingerprint(kind: str, place: str, subject: str) -> str:
    """What tells causes apart. `place` is the endpoint's id, or `model/<name>`."""
    return digest({"kind": kind, "place": place, "subject": subject})


def family(kind: str) -> str:
    """Of a kind: findings of one family at one place are told and shown together."""
    return kind.partition(".")[0]


def line(text: str, longest: int) -> str:
    """One line of somebody's text: unprintable characters become spaces, and it is cut."""
    told = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return told if len(told) <= longest else told[: longest - 1].rstrip() + "…"


# -- evidence in bounds

MAX_EVIDENCE = 8_192
"""Bytes of the canonical JSON of one look's evidence."""
_DEEPEST, _MOST_ITEMS, _LONGEST_TEXT, _LARGEST = 5, 60, 500, 2**53 - 1


def bounded(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence as it is kept: whatever a monitor hands over, it fits and is JSON. `left_out` counts what did not fit."""
    kept: dict[str, Any] = {}
    left_out = 0
    size = 2
    for key, value in list(evidence.items())[:_MOST_ITEMS]:
        name, told = line(str(key), 80), _json(value, _DEEPEST)
        took = len(canonical({name: told}))
        if size + took > MAX_EVIDENCE - 64:
            left_out += 1
            continue
        kept[name], size = told, size + took
    left_out += max(0, len(evidence) - _MOST_ITEMS)
    return kept if not left_out else {**kept, "left_out": left_out}


def _json(value: Any, depth: int) -> Any:
    """Numbers that JSON has no word for, or that not every reader of JSON reads alike, become words."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else str(value)[:_LONGEST_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if depth and isinstance(value, Mapping):
        return {line(str(key), 80): _json(one, depth - 1) for key, one in list(value.items())[:_MOST_ITEMS]}
    if depth and isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_json(one, depth - 1) for one in value[:_MOST_ITEMS]]
    return line(str(value), _LONGEST_TEXT)


# -- what a look means


@dataclass(frozen=True)
class Known:
    """The newest finding of a cause, as looks need it.

    Args:
        last_seen_at: of the newest look that saw the cause.
        clean_since: of the first look since then that did not.
    """

    state: str
    severity: str
    last_seen_at: datetime
    clean_since: datetime | None
    resolved_at: datetime | None
    clear_after: timedelta
    needs_person: bool


Seen = Literal["open", "open_again", "rise", "count", "nothing"]
Clean = Literal["clear", "note", "nothing"]


def on_seen(known: Known | None, severity: str, at: datetime, looked_at: datetime | None = None) -> Seen:
    """What it means that a cause was seen: a look that was told already, or that comes too late, means nothing.

    Args:
        at: the look's place among looks, such as the end of the window that was looked at.
        looked_at: when it was looked, by which it is after what people said; `at` by default. A monitor that waits for late
            rows looks long after its window ended.
    """
    if known is None:
        return "open"
    if known.state == "resolved":
        is_after = (looked_at or at) > (known.resolved_at or known.last_seen_at)
        was_clean = known.clean_since is not None and at < known.clean_since
        return "open_again" if is_after and at > known.last_seen_at and not was_clean else "nothing"
    if at <= known.last_seen_at:
        return "nothing"
    return "rise" if not is_as_severe(known.severity, severity) else "count"


def on_clean(known: Known, at: datetime) -> Clean:
    """What it means that a cause was looked for at `at` and not seen."""
    if known.state == "resolved" or at <= known.last_seen_at:
        return "nothing"
    over = at - (known.clean_since or at) >= known.clear_after
    if over and not known.needs_person:
        return "clear"
    return "note" if known.clean_since is None else "nothing"


# -- silence, and its end

LONGEST_SNOOZE: Mapping[str, timedelta] = {
    "info": timedelta(days=90), "warning": timedelta(days=30), "critical": timedelta(days=7),
}  # fmt: skip


def check_snooze(severity: str, until: datetime, now: datetime, *, since: datetime | None = None) -> None:
    """Refusal `bad-snooze` for an end that has passed or lies too far ahead: nothing is silenced for good.

    Args:
        since: of one that is snoozed: since when. Snoozing it again does not begin anew.
    """
    most = LONGEST_SNOOZE[severity]
    if until <= now or until - (since or now) > most:
        begins = "now" if since is None else f"{since:%Y-%m-%d %H:%M} UTC, since when it is"
        raise Refusal(
            f"A finding that is {severity} can be snoozed for up to {most.days} days from {begins}.",
            "Name an end within that; resolve it if it is over.",
            code="bad-snooze",
        )


# -- when nobody answers


@dataclass(frozen=True)
class Due:
    """A step of the escalation that is due: its number, counted from 0, and what it asks for."""

    number: int
    step: EscalationStep


def escalation_due(
    steps: Sequence[EscalationStep], *, state: str, severity: str, since: datetime, taken: int, now: datetime
) -> Due | None:
    """The next step for a finding that nobody answered, once its time has come; None where there is none yet.

    Args:
        since: when it was opened, opened again, or became worse.
        taken: how many of the steps are behind it, those that did not concern it included.
    """
    if state != "open":
        return None
    ahead = ((number, one) for number, one in enumerate(steps) if number >= taken and is_as_severe(severity, one.at))
    found = next(ahead, None)
    if found is None or now < since + timedelta(seconds=found[1].after_seconds):
        return None
    return Due(*found)


def raised(severity: str, to: str | None) -> str:
    """The severity after a step that may raise it."""
    return to if to is not None and not is_as_severe(severity, to) else severity
