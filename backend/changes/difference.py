"""What a plan changes, in absolute words and field by field: against what is live, or against an earlier plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.changes import comparison_words, field_words
from backend.delivery import buckets
from backend.delivery.desired import Range
from backend.delivery.plan import BUCKETS, Plan, percent

Ranges = Mapping[str, Sequence[Range]]
_MISSING = object()


@dataclass(frozen=True)
class Line:
    """One field that a plan changes: a sentence, and the values before and after (None where there is none)."""

    field: str
    says: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Move:
    """So many of 10,000 buckets go from one arm to another."""

    source: str
    target: str
    buckets: int


@dataclass(frozen=True)
class Difference:
    """Everything that a plan changes. `anew`: every unit is assigned anew, so that moves do not tell who changes arm."""

    lines: tuple[Line, ...]
    moves: tuple[Move, ...] = ()
    anew: bool = False

    @property
    def summary(self) -> str:
        """The lines as one text."""
        return " ".join(line.says for line in self.lines) or "Nothing changes."

    def to_json(self) -> dict[str, Any]:
        """JSON-able form for pages and the command line."""
        return {
            "summary": self.summary,
            "lines": [vars(line) for line in self.lines],
            "moves": [vars(move) for move in self.moves],
            "anew": self.anew,
        }


def from_base(plan: Plan, base: Mapping[str, Any], *, ranges: Ranges | None = None, salt: str | None = None) -> Difference:
    """What a plan changes of what is live.

    Args:
        base: what is live, as in `Endpoint.base`.
        ranges: buckets by arm as they are now; without them they are laid out from the base's shares.
        salt: the present salt; None when nothing is assigned yet.
    """
    anew = salt is not None and salt != plan.salt
    moves = () if anew else _moves(plan, base, ranges)
    lines = (
        *_arm_lines(plan, base),
        *_champion_line(plan, base),
        *_move_line(plan, moves, anew),
        *_course_lines(plan),
        *_stranger_lines(base),
    )
    return Difference(tuple(lines), moves, anew)


def from_plan(plan: Plan, earlier: Plan) -> Difference:
    """What a plan changes of the plan before an edit or a rebase, field by field."""
    before, after = _flat("", _by_name(earlier)), _flat("", _by_name(plan))
    fields = sorted({*before, *after})
    changed = [
        (field, before.get(field, _MISSING), after.get(field, _MISSING))
        for field in fields
        if before.get(field, _MISSING) != after.get(field, _MISSING)
    ]
    return Difference(tuple(_field_line(*one) for one in changed))


def _arm_lines(plan: Plan, base: Mapping[str, Any]) -> Iterator[Line]:
    was = {str(one["name"]): int(one["buckets"]) for one in base["arms"]}
    for arm in plan.arms:
        before, after, new = was.get(arm.name), arm.buckets, f"{arm.name} (version {arm.version})"
        if arm.name == plan.shadow:
            says = f"{new} gets copies of requests and answers nobody."
        elif before is None:
            says = f"{new} is new and gets {percent(after)} of units."
        elif before == after:
            says = f"{new} keeps {percent(after)}."
        elif after == 0:
            says = f"{new} gives up its {percent(before)} and gets nobody."
        else:
            says = f"{new} gets {percent(after)} of units; it has {percent(before)}."
        yield Line(f"arms.{arm.name}.buckets", says, before, after)
    for name in sorted(set(was) - {arm.name for arm in plan.arms}):
        yield Line(f"arms.{name}", f"{name} is taken off.", was[name], None)


def _champion_line(plan: Plan, base: Mapping[str, Any]) -> Iterator[Line]:
    before = base["champion"]
    if before != plan.champion:
        was = f"; now {before} does" if before is not None else ""
        yield Line("champion", f"{plan.champion} answers whoever is not assigned{was}.", before, plan.champion)


def _move_line(plan: Plan, moves: Sequence[Move], anew: bool) -> Iterator[Line]:
    if anew:
        yield Line("salt", "A new experiment: every unit is assigned anew.", None, plan.salt)
    elif moves:
        told = ", ".join(f"{one.buckets:,} of {BUCKETS:,} buckets move from {one.source} to {one.target}" for one in moves)
        pairs = {(one.source, one.target) for one in moves}
        back = any((target, source) in pairs for source, target in pairs)
        yield Line("buckets", f"{told}{'' if back else ', none back'}.", None, [vars(one) for one in moves])


def _course_lines(plan: Plan) -> Iterator[Line]:
    if plan.ramp:
        steps = [step.model_dump(mode="json") for step in plan.ramp]
        yield Line("ramp", f"On the way: {field_words.tell('ramp', steps)}.", None, steps)
    for field, title, says in comparison_words.lines(plan):
        yield Line(field, f"{title}: {says}.", None, says)
    if plan.bake_seconds:
        says = f"What ran before stays loaded for {field_words.span(plan.bake_seconds)} afterwards."
        yield Line("bake_seconds", says, None, plan.bake_seconds)
    if plan.rollback is None:
        yield Line(
            "rollback",
            "Nothing ran before: it can be taken back to nothing until it is proved, and not any more then.",
            None,
            None,
        )
    else:
        target = field_words.shares_say(plan.rollback.shares)
        yield Line("rollback", f"Going back leads to {target}.", None, plan.rollback.model_dump(mode="json"))


def _stranger_lines(base: Mapping[str, Any]) -> Iterator[Line]:
    for name, version in base.get("strangers", ()):
        says = f"Version {version} of {name} is loaded there and no approval names it."
        yield Line("strangers", says, [name, version], None)


def _moves(plan: Plan, base: Mapping[str, Any], ranges: Ranges | None) -> tuple[Move, ...]:
    """Along the whole ramp: which buckets have another arm at its end than now."""
    now = {str(one["name"]): int(one["buckets"]) for one in base["arms"] if one["buckets"]}
    if sum(now.values()) != BUCKETS:
        return ()
    held = {name: buckets.share(owned) for name, owned in (ranges or {}).items()}
    before: Ranges = ranges if ranges is not None and held == now else buckets.allocate({}, now)
    after = before
    for step in plan.steps:
        after = buckets.allocate(after, step.shares)
    counted = buckets.moves(before, after)
    return tuple(Move(source, target, count) for (source, target), count in sorted(counted.items()))


def _by_name(plan: Plan) -> dict[str, Any]:
    """The plan's JSON with arms, guardrails, metrics and segments by name, so that a new one does not shift the others."""
    content = plan.to_json()
    compared = content.get("comparison")
    if compared is not None:
        named = {part: _keyed(compared[part], "name") for part in ("metrics", "segments")}
        others = {part: one for part, one in compared.items() if part not in named}
        content["comparison"] = {**others, **{part: one for part, one in named.items() if one}}
    guarded = {"guardrails": _keyed(content.pop("guardrails"), "metric")}
    return {**content, "arms": _keyed(content["arms"], "name"), **{name: one for name, one in guarded.items() if one}}


def _keyed(listed: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    return {str(one[key]): {name: value for name, value in one.items() if name != key} for one in listed}


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, one in value.items():
        found |= _flat(f"{prefix}.{key}" if prefix else key, one)
    return found


def _field_line(field: str, before: Any, after: Any) -> Line:
    title = field_words.title(field)
    if before is _MISSING:
        return Line(field, f"{title}: {field_words.tell(field, after)}; new.", None, after)
    if after is _MISSING:
        return Line(field, f"{title}: none; it was {field_words.tell(field, before)}.", before, None)
    return Line(field, f"{title}: {field_words.tell(field, after)}; it was {field_words.tell(field, before)}.", before, after)
