"""Rules of monitors: what one may be told to do, when its slots are, how it fares, and how bad what it found is. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backend.core.errors import Refusal
from backend.policy.rules import Severity

Kind = Literal["drift", "data", "skew", "quality", "estimate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OF_FEATURES: tuple[Kind, ...] = ("drift", "data", "skew")
"""Kinds that compare features and predictions with a reference; the others are about outcomes."""
RunState = Literal["running", "ok", "alarm", "no_data", "early", "idle", "failed"]
RUN_STATES: tuple[RunState, ...] = get_args(RunState)
"""`no_data`: no verdict, though there should be one; `early`: none, since who answers did not answer through its window yet;
`idle`: none, since there was nothing to compare."""
Word = Literal["ok", "alarm", "never", "idle", "late", "no_data", "failing", "paused"]
"""How a monitor fares: `never`: its first whole window has not come; `late`: a slot came and nobody ran it."""
FAULTS: Mapping[str, str] = {"late": "monitor.late", "failing": "monitor.failing", "no_data": "monitor.no-data"}
"""How a monitor fares -> the kind of the finding about it."""

HOUR = timedelta(hours=1)
EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday: slots of a week end with it, those of a day at midnight (UTC)."""
GRACE = timedelta(minutes=30)
"""How long after a slot is due a monitor may take before it is late."""
MOST_BEHIND = 48
"""Slots that are made up for after a pause of the workers; older ones stay missing, and are shown so."""
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME = Annotated[str, Field(min_length=1, max_length=128)]
_Share = Annotated[float, Field(gt=0, le=0.5)]
_MIN_KNOWN = 0.5


class Closed(BaseModel):
    """Immutable, and exactly the named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReferenceSpec(Closed):
    """What a window is compared with.

    Args:
        kind: `training`: the version's profile; `period`: hours of the log with a name; `season`: the same hours a week or 52
            weeks earlier; `champion`: the champion at the same time; `recent`: of an estimate, the latest days whose outcomes
            are known.
    """

    kind: Literal["training", "period", "season", "champion", "recent"] = "training"
    name: Annotated[str, Field(max_length=60)] = ""
    start: datetime | None = None
    end: datetime | None = None
    season: Literal["week", "year"] = "week"
    days: Annotated[int, Field(ge=7, le=180)] = 30

    @model_validator(mode="after")
    def _whole(self) -> ReferenceSpec:
        if (self.kind == "period") != (self.start is not None and self.end is not None):
            raise ValueError("a period has a start and an end, and nothing else has")
        for one in (self.start, self.end):
            if one is not None and (one.tzinfo is None or one != one.replace(minute=0, second=0, microsecond=0)):
                raise ValueError("a period begins and ends at full hours, with their zone")
        if self.start is not None and self.end is not None and not timedelta() < self.end - self.start <= timedelta(days=400):
            raise ValueError("a period ends after its start, 400 days later at most")
        return self


class LimitSpec(Closed):
    """When a figure of quality is news: its whole interval lies above, or below."""

    above: float | None = None
    below: float | None = None
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _whole(self) -> LimitSpec:
        told = [one for one in (self.above, self.below) if one is not None]
        if not told or not all(map(math.isfinite, told)):
            raise ValueError("a limit is a number that a figure shall not be above, or below")
        return self


class TaskSpec(Closed):
    """What is predicted, and under which name its outcome is logged (docs/quality.md)."""

    kind: Literal["binary", "classes", "regression"] = "binary"
    outcome: _NAME
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    classes: Annotated[tuple[_NAME, ...], Field(max_length=50)] = ()
    horizon_hours: Annotated[int, Field(ge=1, le=24 * 365)] | None = None


class JointSpec(Closed):
    """How rows as a whole are told apart: a sample of the window from one of the reference.

    Args:
        above: the AUC that is news if its interval lies above; 0.5 is chance.
        rows: the most that are drawn of each side.
    """

    above: Annotated[float, Field(ge=0.5, lt=1)] = 0.6
    rows: Annotated[int, Field(ge=100, le=10_000)] = 5_000


def _in_short(schema: dict[str, Any]) -> None:
    """`true` is taken too."""
    schema["anyOf"].append({"type": "boolean"})


class MonitorSpec(Closed):
    """All that a monitor is told.

    Args:
        window_hours, every_hours: how long a window is, and how often one is judged. Slots end at full hours (UTC).
        wait_minutes: after the end of a window before it is judged, for rows that come late.
        min_rows: of one version; with fewer, there is no verdict, and that is told.
        at_most: findings are called no worse than this.
        notices: whether what is only to be read becomes a finding for information.
        clean_looks: looks in a row that have to be clean before a finding is over by itself.
        needs_person: that only a person ends what it finds.
        rate: of false discoveries among the features that are called news.
        thresholds: feature -> score -> value, which then decides instead of what was measured on the reference.
        features, without: only these, or all but these.
        arm: only requests of this arm.
        joint: of drift: whether rows as a whole are told apart too; `true` for the usual words.
        report: the part of a window report that is made of a window in which it alarmed, at most one a day.
        first_days: of serving, that skew compares with training.
        task, limits: of quality and estimates: what is predicted, and when a figure is news.
        min_known: of quality: the share of a version's outcomes that has to be known before limits decide.
        segments: features by whose values errors are told apart; of drift and data one, by which features are counted apart.
    """

    kind: Kind
    reference: ReferenceSpec = ReferenceSpec()
    window_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 24
    every_hours: Annotated[int, Field(ge=1, le=168)] = 24
    wait_minutes: Annotated[int, Field(ge=0, le=7 * 1440)] = 15
    min_rows: Annotated[int, Field(ge=1, le=10**9)] = 100
    at_most: Severity = "critical"
    notices: bool = False
    clean_looks: Annotated[int, Field(ge=1, le=30)] = 1
    needs_person: bool = False
    rate: _Share = 0.05
    thresholds: Annotated[
        dict[_NAME, dict[Literal["psi", "jensen_shannon", "wasserstein", "kolmogorov_smirnov"], Annotated[float, Field(gt=0)]]],
        Field(max_length=500),
    ] = {}
    features: Annotated[tuple[_NAME, ...], Field(max_length=2_000)] = ()
    without: Annotated[tuple[_NAME, ...], Field(max_length=2_000)] = ()
    arm: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    joint: Annotated[JointSpec | None, Field(json_schema_extra=_in_short)] = None
    report: Literal["drift", "summary", "classification", "regression"] | None = None
    first_days: Annotated[int, Field(ge=1, le=30)] = 3
    task: TaskSpec | None = None
    limits: Annotated[dict[_NAME, LimitSpec], Field(max_length=30)] = {}
    min_known: Annotated[float, Field(ge=0, le=1)] = _MIN_KNOWN
    segments: Annotated[tuple[_NAME, ...], Field(max_length=20)] = ()

    @field_validator("joint", mode="before")
    @classmethod
    def _joint_in_short(cls, told: object) -> object:
        return {} if told is True else None if told is False else told

    @model_validator(mode="after")
    def _whole(self) -> MonitorSpec:
        about_outcomes = self.kind not in OF_FEATURES
        if about_outcomes != (self.task is not None):
            raise ValueError("quality and estimates need a task, and nothing else has one")
        if not about_outcomes and self.limits:
            raise ValueError("limits are of quality and estimates")
        if self.kind != "quality" and self.min_known != _MIN_KNOWN:
            raise ValueError("min_known is of quality")
        if self.segments and self.kind in ("skew", "estimate"):
            raise ValueError("segments are of drift, data and quality")
        if not about_outcomes and len(self.segments) > 1:
            raise ValueError("features are counted apart by the values of one feature")
        if about_outcomes and (self.thresholds or self.features or self.without):
            raise ValueError("thresholds and features are of drift, data and skew")
        if self.features and self.without:
            raise ValueError("name the features to look at, or those not to; not both")
        allowed = _REFERENCES[self.kind]
        if self.reference.kind not in allowed:
            raise ValueError(f"{self.kind} is compared with {' or '.join(allowed)}")
        if self.joint is not None:
            _refuse_joint(self.kind, self.reference.kind)
        compared = {"regression"} if self.task is not None and self.task.kind == "regression" else {"classification"}
        if self.report in ("classification", "regression") and (self.task is None or self.report not in compared):
            raise ValueError("a report of classification or regression is of quality or estimates, as their task is")
        if self.task is not None and (self.task.kind == "classes") != bool(self.task.classes):
            raise ValueError("several classes have names, in their order, and nothing else has")
        if self.kind == "estimate" and self.task is not None and self.task.kind == "regression":
            raise ValueError("a predicted number says nothing of its own error, so that it cannot be estimated")
        return self

    @property
    def every(self) -> timedelta:
        """Between two slots."""
        return self.every_hours * HOUR

    @property
    def window(self) -> timedelta:
        """How long a window is."""
        return self.window_hours * HOUR

    @property
    def wait(self) -> timedelta:
        """After a window's end."""
        return timedelta(minutes=self.wait_minutes)

    @property
    def clear_after(self) -> timedelta:
        """How long looks have to be clean: from the first clean one on."""
        return (self.clean_looks - 1) * self.every

    def to_json(self) -> dict[str, Any]:
        """As its row keeps it: fields that say what goes without saying are left out, so that new ones change nothing."""
        told: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return {"kind": self.kind, **told}


def _refuse_joint(kind: Kind, reference: str) -> None:
    if kind != "drift":
        raise ValueError("rows as a whole are looked at by drift alone")
    if reference == "training":
        raise ValueError(
            "of training data only aggregates are kept, and rows as a whole need rows: compare with a period, a season or the "
            "champion"
        )


_REFERENCES: Mapping[Kind, tuple[str, ...]] = {
    "drift": ("training", "period", "season", "champion"),
    "data": ("training", "period", "season", "champion"),
    "skew": ("training",),
    "quality": ("training",),
    "estimate": ("recent", "period"),
}


def parse_spec(content: object) -> MonitorSpec:
    """What a monitor is told, from outside. Refusal `bad-monitor` names the first field that is wrong."""
    if isinstance(content, Mapping) and content.get("kind") == "estimate" and "reference" not in content:
        content = {**content, "reference": {"kind": "recent"}}
    try:
        found = MonitorSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        says = str(first["msg"]).removeprefix("Value error, ")
        raise _no_monitor(where, says) from error
    for where, told in found.model_dump(mode="json", exclude_defaults=True).items():
        if (odd := next((one for one in _texts(told) if not one.isprintable()), None)) is not None:
            raise _no_monitor(where, f"{odd[:40]!a} holds characters that cannot be printed")
    return found


def _no_monitor(where: str, says: str) -> Refusal:
    where = ascii(where)[1:-1][:200]
    return Refusal(
        f"This cannot be a monitor: {f'{where}: ' if where else ''}{says}.",
        "Correct it and set it again (docs/monitoring.md).",
        code="bad-monitor",
        field=where,
    )


def _texts(told: object) -> Iterator[str]:
    """All texts in what is told, keys too: no database or terminal shall meet what cannot be printed."""
    if isinstance(told, str):
        yield told
    elif isinstance(told, Mapping):
        for key, value in told.items():
            yield from (str(key), *_texts(value))
    elif isinstance(told, list):
        for one in told:
            yield from _texts(one)


def check_name(name: str) -> str:
    """A monitor's name. Refusal `bad-name`."""
    if not _SLUG.fullmatch(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a monitor.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )
    return name


# -- slots


def latest_slot(now: datetime, spec: MonitorSpec) -> datetime:
    """The newest slot whose window may be judged by now."""
    passed = (now - spec.wait - EPOCH) // spec.every
    return EPOCH + passed * spec.every


def is_due(spec: MonitorSpec, slot: datetime, now: datetime) -> bool:
    """Whether this is one of the slots of a monitor, whose window may be judged by now."""
    return slot <= latest_slot(now, spec) and not (slot - EPOCH) % spec.every


def due_slots(spec: MonitorSpec, *, after: datetime | None, begins: datetime, now: datetime) -> tuple[datetime, ...]:
    """Slots that are to be run, the oldest first, at most `MOST_BEHIND` of them.

    Args:
        after: the newest slot that was run.
        begins: no slot before it is.
    """
    newest, found = latest_slot(now, spec), list[datetime]()
    while len(found) < MOST_BEHIND and newest >= begins and (after is None or newest > after):
        found.append(newest)
        newest -= spec.every
    return tuple(reversed(found))


def next_due(now: datetime, spec: MonitorSpec) -> datetime:
    """When the next slot may be judged."""
    return latest_slot(now, spec) + spec.every + spec.wait


def is_much(late: int, rows: int) -> bool:
    """Whether so many requests that came after a look make it look again: more than one in a hundred of those it saw."""
    return late * 100 > rows


def first_slot(now: datetime, spec: MonitorSpec) -> datetime:
    """The slot that a new monitor begins with: the window that is over by now, so that nobody waits a day for a first look."""
    return latest_slot(now, spec)


# -- how a monitor fares


@dataclass(frozen=True)
class LastRun:
    """The newest run of a monitor.

    Args:
        asked: that somebody had it look, beside its slots; `planned` is then the newest slot that it ran by itself.
    """

    slot: datetime
    state: RunState
    why: str
    asked: bool = False
    planned: datetime | None = None

    @property
    def ran(self) -> datetime | None:
        """The newest slot that it ran by itself; None for none."""
        return self.planned if self.asked else self.slot


@dataclass(frozen=True)
class Fares:
    """How a monitor fares, and what is to be said of it; "" where nothing is."""

    word: Word
    says: str = ""
    since: datetime | None = None


def fares(
    spec: MonitorSpec, *, paused: bool, begins: datetime, last: LastRun | None, now: datetime, set_at: datetime | None = None
) -> Fares:
    """How it fares now. Not to have run is worse than whatever the last run said.

    Args:
        last: the newest run that ended.
        set_at: when it was set or resumed: what was over by then is not late at once.
    """
    if paused:
        return Fares("paused", "It is paused: nobody looks.")
    expected, is_new = latest_slot(now - GRACE, spec), set_at is not None and now - set_at < GRACE
    ran = last.ran if last is not None else None
    if not is_new and expected >= begins and (ran is None or ran < expected):
        slot = ran + spec.every if ran is not None and ran >= begins else max(begins, expected)
        told = f"{slot:%Y-%m-%d %H:%M}"
        return Fares("late", f"It did not run for the window that ended at {told} UTC; see whether a worker runs.", slot)
    if last is None and is_new and latest_slot(now, spec) >= begins:
        return Fares("never", "It begins with windows that are over already, as soon as their hours are counted.")
    if last is None:
        return Fares("never", f"Its first window is judged at {next_due(now, spec):%Y-%m-%d %H:%M} UTC.")
    if last.state == "failed":
        return Fares("failing", last.why, last.slot)
    if last.state == "no_data":
        return Fares("no_data", last.why, last.slot)
    if last.state in ("early", "idle"):
        return Fares("never" if last.state == "early" else "idle", last.why, last.slot)
    return Fares("alarm" if last.state == "alarm" else "ok", last.why, last.slot)


def is_among(spec: MonitorSpec, name: str) -> bool:
    """Whether a monitor looks at a column."""
    return (not spec.features or name in spec.features) and name not in spec.without


# -- severity

_SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_OF_NOTICES: Mapping[str, Severity] = {"notice": "info", "warning": "warning", "critical": "critical"}


def severity_of(told: str, spec: MonitorSpec) -> Severity:
    """What a finding of drift or of the first gate is called, no worse than the monitor says."""
    return no_worse(_OF_NOTICES[told], spec.at_most)


def no_worse(severity: Severity, most: Severity) -> Severity:
    """The milder of two."""
    return min(severity, most, key=_SEVERITIES.index)


def worst(severities: Sequence[str]) -> str:
    """Of notices, warnings and critical ones the worst; "" for none."""
    order = ("", "notice", "info", "warning", "critical")
    return max(severities, key=order.index, default="")
