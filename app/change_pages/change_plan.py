"""A plan against what is live, field by field and in absolute terms. Pure: values in, rows of Markdown out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from app.change_pages.changes import named, shares_at, shares_say
from app.kit import times
from app.kit.charts import Step
from app.kit.components import short
from app.kit.plain import escape
from app.kit.states import badge
from backend.changes import comparison_words, field_words
from backend.changes.difference import Difference, Line
from backend.delivery.plan import BUCKETS, Arm, Plan, percent
from backend.delivery.plan import Step as PlanStep

Change = Literal["added", "removed", "changed", "unchanged"]
NONE = ":gray[none]"
HEAD = ("Field", "Change", "Live", "Plan")
STEPS_HEAD = ("Step", "Shares", "Then")


@dataclass(frozen=True)
class Live:
    """What the plan is held against: the base that it was drawn on, and how units are assigned there.

    Args:
        base: as in `Endpoint.base`.
        salt, unit_header, shadow: of the newest generation; "" and None before the first.
    """

    base: Mapping[str, Any]
    salt: str = ""
    unit_header: str = ""
    shadow: str | None = None

    @property
    def arms(self) -> Sequence[Mapping[str, Any]]:
        """What runs there, with its shares."""
        return tuple(self.base.get("arms", ()))


@dataclass(frozen=True)
class Field:
    """One field: its name, what the plan does to it, and both sides as Markdown."""

    name: str
    change: Change
    live: str
    plan: str


def fields(plan: Plan, live: Live) -> list[Field]:
    """Every field of the plan, in the order in which one asks."""
    return [
        *_champion(plan, live),
        *_arms(plan, live),
        *_digests(plan, live),
        _field("Shadow", _named(plan, live, live.shadow), _named(plan, live, plan.shadow)),
        _field("On the way", "", _course(plan)),
        *(_field(title, "", escape(f"{says}.", 600)) for _, title, says in comparison_words.lines(plan)),
        _field("Stays loaded afterwards", "", _bake(plan)),
        _field("Going back leads to", "", _way_back(plan)),
        _field("Recorded answers", "", _probes(plan)),
        _field("Assignment of units", escape(live.salt), escape(plan.salt)),
        _field("Unit's header", escape(live.unit_header), escape(plan.unit_header)),
    ]


def rows(found: Sequence[Field], *, unchanged: bool) -> list[tuple[str, ...]]:
    """The table's rows; unchanged fields only where they are asked for, and muted."""
    return [
        (one.name, badge("difference", one.change), *_sides(one))
        for one in found
        if (unchanged or one.change != "unchanged") and (one.live or one.plan)
    ]


def unchanged(found: Sequence[Field]) -> int:
    """How many fields stay as they are."""
    return sum(1 for one in found if one.change == "unchanged" and one.plan)


def moves_say(changes: Difference) -> str:
    """Who moves from where to where; "" when nobody does."""
    return " ".join(escape(line.says) for line in changes.lines if line.field in ("buckets", "salt", "strangers"))


def since_rows(changes: Difference) -> list[tuple[str, str, str]]:
    """What an edit or a redrawing changed of the plan before, field by field."""
    return [(escape(field_words.title(one.field)), _told(one, one.before), _told(one, one.after)) for one in changes.lines]


def step_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """What a vote admits, step by step: shares in absolute terms and what ends each step."""
    last = len(plan.steps)
    told = []
    for number, step in enumerate(plan.steps, 1):
        then = _end(plan) if number == last else gates(step)
        told.append((str(number), f"{shares_say(plan, step.shares).replace(' has ', ' gets ')}{_copies(plan, step)}", then))
    return told


def gates(step: Gated) -> str:
    """What a step asks for before the next, in the order in which it is asked."""
    measured = {"not_failed": "no guardrail has failed", "passed": "every guardrail is proved to be kept"}
    told = (
        f"held for {times.span(step.hold_seconds)}" if step.hold_seconds else "",
        f"each arm has {step.min_units:,} units" if step.min_units else "",
        measured.get(step.statistics or "", ""),
        "somebody lets it go on" if step.person else "",
    )
    return ", then ".join(one for one in told if one) or "goes on once it is proved"


class Gated(Protocol):
    """A step of a plan, or of a rollout's view."""

    @property
    def hold_seconds(self) -> int: ...
    @property
    def min_units(self) -> int: ...
    @property
    def statistics(self) -> str | None: ...
    @property
    def person(self) -> bool: ...


def _copies(plan: Plan, step: PlanStep) -> str:
    return f", version {plan.arm(step.shadow).version} gets copies and answers nobody" if step.shadow is not None else ""


def chart_steps(plan: Plan, arm: str) -> list[Step]:
    """The planned share over hours; a step that holds no time is drawn as a short one, and so is the end."""
    hours = [max(step.hold_seconds / 3_600, 0.0) for step in plan.steps]
    width = max(sum(hours) / 8, 0.25)
    return [Step(step.shares.get(arm, 0) / 100, held or width) for step, held in zip(plan.steps, hours, strict=True)]


def digests(plan: Plan, plan_digest: str, base_digest: str) -> dict[str, str]:
    """The whole digests, to be copied."""
    found = {"Plan": plan_digest, "Base": base_digest}
    for arm in plan.arms:
        found |= {
            f"Artifact of version {arm.version}": arm.artifact_digest,
            f"Package of version {arm.version}": arm.package_digest,
        }
    return found


def _champion(plan: Plan, live: Live) -> Iterator[Field]:
    now = live.base.get("champion")
    before = next((f"version {one['version']}" for one in live.arms if one["name"] == now), "")
    yield _field("Answers whoever is not assigned", before, f"version {plan.arm(plan.champion).version}")


def _arms(plan: Plan, live: Live) -> Iterator[Field]:
    was = {str(one["name"]): one for one in live.arms}
    for arm in plan.arms:
        before = percent(int(was[arm.name]["buckets"])) if arm.name in was else ""
        path = _path(plan, arm)
        yield _field(f"Share of {named(plan, arm)}", before, path if path != before else before)
    for name in sorted(set(was) - {arm.name for arm in plan.arms}):
        yield _field(f"Share of version {was[name]['version']}", percent(int(was[name]["buckets"])), "")


def _digests(plan: Plan, live: Live) -> Iterator[Field]:
    was = {str(one["name"]): one for one in live.arms}
    for arm in plan.arms:
        before = was.get(arm.name)
        yield _field(
            f"Artifact of {named(plan, arm)}", short(before["artifact_digest"]) if before else "", short(arm.artifact_digest)
        )
        yield _field(
            f"Package of {named(plan, arm)}", short(before["package_digest"]) if before else "", short(arm.package_digest)
        )
        place = before["served_as"] if before else None
        at = f"{escape(place['model'])} version {place['version']}" if place else ""
        yield _field(f"Served as ({named(plan, arm)})", at, f"{escape(arm.served_as.model)} version {arm.served_as.version}")


def _path(plan: Plan, arm: Arm) -> str:
    """`10 → 50 → 100 %`; one figure where it does not change on the way."""
    shares = [step.shares.get(arm.name, 0) for step in plan.steps]
    if len(set(shares)) == 1:
        return percent(shares[0])
    return f"{' → '.join(f'{one / 100:g}' for one in shares)} %"


def _named(plan: Plan, live: Live, name: str | None) -> str:
    if name is None:
        return ""
    version = next((arm.version for arm in plan.arms if arm.name == name), None)
    known = version or next((one["version"] for one in live.arms if one["name"] == name), None)
    return f"version {known}, gets copies and answers nobody" if known else escape(name)


def _course(plan: Plan) -> str:
    told = []
    for step in plan.ramp:
        held = field_words.gates_say(vars(step)) or "until it is proved"
        told.append(f"{shares_say(plan, step.shares)}{_copies(plan, step)} {held}")
    return "; ".join(told)


def _probes(plan: Plan) -> str:
    if plan.probes is None:
        return ""
    return f"{plan.probes.count:,} request{'s' * (plan.probes.count != 1)} inside the package"


def _bake(plan: Plan) -> str:
    return f"what ran before, for {times.span(plan.bake_seconds)}" if plan.bake_seconds else ""


def _way_back(plan: Plan) -> str:
    if plan.rollback is None:
        return "nothing running: nothing ran before"
    return shares_at(plan, plan.rollback.shares)


def _end(plan: Plan) -> str:
    kept = f"; what ran before stays loaded for {times.span(plan.bake_seconds)}" if plan.bake_seconds else ""
    return f"stays so{kept}" if plan.shares else ""


def _field(name: str, live: str, plan: str) -> Field:
    change: Change = "unchanged" if live == plan else "added" if not live else "removed" if not plan else "changed"
    return Field(name, change, live, plan)


def _sides(one: Field) -> tuple[str, str]:
    if one.change == "unchanged":
        return f":gray[{one.live}]", f":gray[{one.plan}]"
    return one.live or NONE, one.plan or NONE


def _told(line: Line, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, str) and value.startswith("sha256:"):
        return short(value)
    return escape(field_words.tell(line.field, value))


def whole(shares: Mapping[str, int]) -> bool:
    """Whether the shares are all of the traffic."""
    return sum(shares.values()) == BUCKETS
