"""What a look of a monitor comes to: values that the run is stored from and that findings are told by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backend.monitoring.rules import RunState, worst


def plain(text: str) -> str:
    """Somebody's text without what cannot be printed."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def storable(value: Any) -> Any:
    """The same as a database takes it: PostgreSQL has no text with a NUL in it, and UTF-8 none with half a character."""
    if isinstance(value, str):
        return value.replace("\0", "?").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable(one) for one in value]
    return value


@dataclass(frozen=True)
class Found:
    """One thing that a look found.

    Args:
        kind: as a finding is called: `drift.feature`, `data.nulls`, `quality.auc`.
        severity: notice (it is to be read, and alarms nobody), info, warning or critical.
        feature: "" for the whole window; `role`: feature or prediction.
        says: one sentence.
    """

    kind: str
    severity: str
    feature: str
    role: str
    version: int
    says: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a run keeps it. Names of features come from outside."""
        told = {"kind": self.kind, "severity": self.severity, "feature": plain(self.feature), "version": self.version}
        return {**told, "says": plain(self.says)}


@dataclass(frozen=True)
class Scored:
    """One column in one window, as `rows.MonitorScore` keeps it."""

    version: int
    role: str
    feature: str
    rows: int
    missing: float | None = None
    score: str = ""
    value: float | None = None
    threshold: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    adjusted: float | None = None
    severity: str = ""
    why: str = ""


Calm = Literal["early", "idle"]


@dataclass(frozen=True)
class Verdict:
    """What a look came to for one version; `why` says why there is none, "" where there is one. `unjudged`: kinds of findings
    that it could say nothing of. `calm`: that there could be none, and that nothing is wrong by that."""

    version: int
    rows: int = 0
    found: tuple[Found, ...] = ()
    scores: tuple[Scored, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    unjudged: frozenset[str] = frozenset()
    calm: Calm | None = None


@dataclass(frozen=True)
class Came:
    """What a whole look came to."""

    state: RunState
    why: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def rows(self) -> int:
        """Of all versions."""
        return sum(one.rows for one in self.verdicts)

    @property
    def found(self) -> tuple[Found, ...]:
        """Of all versions."""
        return tuple(each for one in self.verdicts for each in one.found)

    @property
    def figures(self) -> dict[str, Any]:
        """By version."""
        return {str(one.version): dict(one.figures) for one in self.verdicts if one.figures}


def early(version: int, since: datetime, start: datetime, rows: int) -> Verdict | None:
    """No verdict on a version that did not answer yet when its window began, and was asked too little since; else None."""
    if start >= since:
        return None
    why = f"Version {version} answers since {since:%Y-%m-%d %H:%M} UTC, after the window began: too little to judge yet."
    return Verdict(version, rows, why=why, calm="early")


NOBODY = "Nothing answers at this endpoint, so that there is nothing to look at."


def came(verdicts: Sequence[Verdict]) -> Came:
    """Of all versions together: alarmed by any, without data where there is a verdict on none of them."""
    told = tuple(verdicts)
    reasons = " ".join(dict.fromkeys(one.why for one in told if one.why))
    if not told:
        return Came("no_data", NOBODY)
    if all(one.why for one in told):
        calm = {one.calm for one in told}
        return Came("no_data" if None in calm else "early" if "early" in calm else "idle", reasons, told)
    severity = worst([each.severity for one in told for each in one.found])
    return Came("alarm" if severity in ("info", "warning", "critical") else "ok", reasons, told)
