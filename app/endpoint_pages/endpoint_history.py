"""What happened to one endpoint: its timeline, its generations with who approved them, pushes, and any moment of the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from app import ways
from app.endpoint_pages import fleet, fleet_timeline
from app.kit import charts, components, listing, states, times
from app.kit.addresses import number_in
from app.kit.charts import plain
from app.kit.palette import Palette, current
from app.kit.plain import escape
from app.kit.states import badge, look, pill
from app.kit.timeline import Mark, timeline
from app.kit.timeline import Span as Drawn
from app.record_pages import people
from app.wiring import Reading
from backend.access import queries as access
from backend.changes import briefly
from backend.core.errors import Refusal
from backend.delivery import past, queries
from backend.delivery.past import Move, Span
from backend.delivery.queries import EndpointDetail, GenerationView, Moment, PushView
from backend.delivery.records import Share

PUSHES = 15
_WHY = {"baseline": "Baseline signed off", "start": "First step", "ramp": "Next step", "rollback": "Rolled back"}
_TOUCH = 0.07
"""Marks of a lane that are nearer than this part of the width would write over each other."""
_CALLED = ("out_of_sync", "unreachable", "fight", "paused")
"""States whose beginning is marked in the timeline."""


# -- the timeline


def deployments(look_: Reading, found: EndpointDetail) -> None:
    """The card with who had which share when, what was approved, and what went wrong."""
    with components.card("Deployments", "share of traffic by version, %, UTC") as head:
        with head:
            days = fleet_timeline.period()
        start = look_.now - timedelta(days=days)
        spans = past.spans(look_.session, [found.line.id], start, look_.now).get(found.line.id, ())
        moves = past.moves(look_.session, [found.line.id], start, look_.now)
        changes = briefly.named(look_.session, [one.change_id for one in spans])
        if not spans:
            components.empty("Nothing was desired here yet", "Generations stand here from the baseline on.", icon="timeline")
            return
        palette = current()
        begin = max(spans[0].start, start)
        placed = apart(marks(spans, moves, changes, start), (look_.now - begin) * _TOUCH)
        figure = timeline(palette, drawn(spans, start), placed, colours(palette, spans), now=look_.now)
        charts.show(figure, key="deployments", alt=_timeline_words(spans))


def drawn(spans: Sequence[Span], start: datetime) -> list[Drawn]:
    """Generations as the timeline takes them: from the period's beginning on, the champion at the bottom."""
    return [Drawn(max(one.start, start), one.number, _percent(one.shares)) for one in spans]


def colours(palette: Palette, spans: Sequence[Span]) -> dict[str, str]:
    """Version -> colour: slate for the newest champion, as on every page, and for those before it; violet for others."""
    champions = {_label(one) for span in spans for one in span.shares if one.arm == span.champion}
    newest = spans[-1]
    now = {_label(one) for one in newest.shares if one.arm == newest.champion}
    names = [_label(one) for span in spans for one in span.shares]
    others = list(dict.fromkeys(one for one in names if one not in now))
    return {name: palette.arm("champion") for name in champions & now} | {
        name: palette.arm("challenger", number) for number, name in enumerate(others)
    }


def marks(spans: Sequence[Span], moves: Sequence[Move], changes: Mapping[str, briefly.Named], start: datetime) -> list[Mark]:
    """Approvals where a change began, rollbacks, and where something went wrong."""
    found: list[Mark] = []
    for one in spans:
        change = changes.get(one.change_id or "")
        if one.start < start:
            continue
        if one.reason in ("start", "baseline"):
            words = f"#{change.number}" if change else "baseline"
            found.append(Mark(one.start, "approvals", words, change.title if change else "signed off as it was found"))
        if one.reason == "rollback":
            found.append(Mark(one.start, "events", "rolled back", "as approved in advance", "orange", "triangle-left"))
    for move in moves:
        if move.after in _CALLED:
            shown = look("endpoint", move.after)
            found.append(Mark(move.at, "events", shown.word.lower(), move.reason, shown.tone, "x"))
    return found


def apart(found: Sequence[Mark], least: timedelta) -> list[Mark]:
    """Marks of one lane whose words would touch: of those the latest stands, and says how many came before it."""
    kept: list[Mark] = []
    for mark in sorted(found, key=lambda one: (one.lane, one.at)):
        if kept and kept[-1].lane == mark.lane and mark.at - kept[-1].at < least:
            before = kept.pop()
            mark = replace(mark, more=f"{mark.more}; before it {before.words}: {before.more}")
        kept.append(mark)
    return kept


def _percent(shares: Sequence[Share]) -> dict[str, float]:
    return {_label(one): one.buckets / 100 for one in shares if one.buckets}


def _label(one: Share) -> str:
    return f"v{one.version}"


def _timeline_words(spans: Sequence[Span]) -> str:
    told = [f"generation {one.number} since {times.short(one.start)}: {fleet.share_words(one.shares)}" for one in spans[-12:]]
    return "; ".join(told)


# -- generations


_GENERATIONS = {
    "Generation": st.column_config.NumberColumn(width=84),
    "Admitted": st.column_config.DatetimeColumn("Admitted (UTC)", format="D MMM HH:mm:ss", timezone="UTC", width=128),
    "Why": st.column_config.TextColumn(width=140),
    "Shares": st.column_config.TextColumn("Shares, %", width=130),
    "Change": st.column_config.TextColumn(width=220),
    "By": st.column_config.TextColumn("Admitted by", width=150),
    "Policy": st.column_config.TextColumn(width=110),
    "Proved": st.column_config.TextColumn("Proved after", width=110),
}


def generations(look_: Reading, name: str) -> None:
    """Every generation, newest first; a row opens its change, or the moment of a baseline."""
    place = listing.place("generation", name)
    found = queries.history(look_.session, name, before=_number(place.key), limit=PUSHES + 1)
    rows, more = found[:PUSHES], len(found) > PUSHES
    changes = briefly.named(look_.session, [one.change_id for one in rows])
    with components.card("Generations", "what was admitted, newest first; a row opens its change"):
        if not rows:
            components.empty("No generation yet", "The signed-off baseline will be the first.", icon="layers")
            return
        if more or place.key:
            listing.walk(place, fleet.counted(len(rows), more), str(rows[-1].number) if more else None)
        records = [_generation(one, changes) for one in rows]
        chosen = listing.rows(records, _GENERATIONS, key=f"generations.{place.key}", alt="Generations, newest first")
    if chosen is not None:
        _open(rows[chosen], changes, name)


def _generation(one: GenerationView, changes: Mapping[str, briefly.Named]) -> dict[str, Any]:
    change = changes.get(one.change_id or "")
    proved = times.span(one.proved_at - one.admitted_at) if one.proved_at else "not proved"
    return {
        "Generation": one.number,
        "Admitted": one.admitted_at,
        "Why": f"{_WHY[one.reason]}{', revoked' if one.revoked_at else ''}",
        "Shares": fleet.share_words(one.shares),
        "Change": f"#{change.number} {change.title}" if change else "signed off as found",
        "By": one.admitted_by_name,
        "Policy": one.policy or "–",
        "Proved": proved,
    }


def _open(one: GenerationView, changes: Mapping[str, briefly.Named], name: str) -> None:
    change = changes.get(one.change_id or "")
    if change is not None:
        ways.go("change", change=change.number)
    ways.go("endpoint", endpoint=name, at=times.written(one.admitted_at))


# -- pushes


_PUSHES = {
    "Time": st.column_config.DatetimeColumn("Time (UTC)", format="D MMM HH:mm:ss", timezone="UTC", width=128),
    "Generation": st.column_config.NumberColumn(width=84),
    "Took": st.column_config.TextColumn(width=76),
    "Steps": st.column_config.TextColumn("Steps, seconds", width=330),
    "Error": st.column_config.TextColumn("What went wrong", width=360),
}


def pushes(look_: Reading, name: str) -> None:
    """Every attempt to make a generation true, newest first."""
    place = listing.place("push", name)
    found = queries.push_log(look_.session, name=name, before=_attempt(place.key), limit=PUSHES + 1)
    rows, more = found[:PUSHES], len(found) > PUSHES
    with components.card("Push log", "every attempt, newest first"):
        if not rows:
            components.empty("Nothing was ever pushed here", "An observed endpoint is never written to.", icon="upload")
            return
        if more or place.key:
            last = f"{rows[-1].started_at.isoformat()}~{rows[-1].id}"
            listing.walk(place, fleet.counted(len(rows), more), last if more else None)
        columns = {"Time": _PUSHES["Time"], "Generation": _PUSHES["Generation"],
                   "Result": states.column("push", "Result", 104), **_PUSHES}  # fmt: skip
        listing.rows([_push(one) for one in rows], columns, key=f"pushes.{place.key}", alt="Pushes, newest first")


def _push(one: PushView) -> dict[str, Any]:
    return {
        "Time": one.started_at,
        "Generation": one.generation,
        "Result": pill("push", one.outcome),
        "Took": times.span(one.seconds) if one.seconds is not None and one.seconds >= 1 else _little(one.seconds),
        "Steps": ", ".join(f"{step['step']} {step['seconds']:g}" for step in one.steps) or "–",
        "Error": one.error or "",
    }


def _little(seconds: float | None) -> str:
    return "runs" if seconds is None else f"{seconds * 1000:.0f} ms"


def _attempt(key: str) -> tuple[datetime, str] | None:
    """The place of an attempt as an address names it. Refusal for anything else."""
    if not key:
        return None
    written, _, identifier = key.partition("~")
    try:
        at = datetime.fromisoformat(written)
    except ValueError as error:
        raise _no_page() from error
    if at.tzinfo is None or not identifier:
        raise _no_page()
    return at, identifier


def _number(key: str) -> int | None:
    number = number_in(key)
    if key and number is None:
        raise _no_page()
    return number


def _no_page() -> Refusal:
    return Refusal("This is not a page of the list.", "Begin with the newest.", code="bad-page")


# -- what was seen


def transitions(look_: Reading, name: str) -> None:
    """What was seen, pushed and changed, newest first: only transitions, as nothing else is kept."""
    entries = queries.timeline(look_.session, name, limit=9)
    names = people.names(list(access.some_people(look_.session, _actors(entries), now=look_.now).values()))
    with components.card("What happened", "transitions, newest first, UTC"):
        components.feed((_entry(one, names) for one in entries), narrow=True)
        if not entries:
            components.empty("Nothing happened yet", "The worker's first look will stand here.", icon="history")


def _actors(entries: Sequence[queries.TimelineEntry]) -> set[str]:
    return {str(one.details["actor_id"]) for one in entries if "actor_id" in one.details}


def _entry(one: queries.TimelineEntry, names: Mapping[str, str]) -> components.Told:
    who = names.get(str(one.details.get("actor_id", "")), "Countersign")
    says = f": {escape(one.says, 240)}" if one.says else ""
    if one.kind == "push":
        what = f"Pushed generation {one.generation} {badge('push', one.state)}{says}"
    elif one.kind == "state":
        before = look("endpoint", str(one.details["before"])).word.lower()
        what = f"{badge('endpoint', one.state)} after {before}{says}"
    else:
        what = f"Seen: {escape(fleet.seen_words(one.details), 200)}"
    return components.Told(times.short(one.at), what, escape(who))


# -- any moment of the past


def time_travel(look_: Reading, found: EndpointDetail) -> None:
    """What was desired, approved and seen at a moment that somebody asks for."""
    with components.card("At any moment", "what was desired, approved and seen then"):
        typed = st.text_input(
            "As of (UTC)", key="at", bind="query-params", placeholder="2026-11-25 19:14", icon=":material/history:",
            validate=(times.WRITTEN, "Write a time like 2026-11-25 19:14"),
        )  # fmt: skip
        at = times.moment(typed or "")
        if at is None:
            st.markdown(":small[:gray[Enter a time: the ledger tells how it stood then, and who had approved it.]]")
            return
        moment = queries.at(look_.session, found.line.name, at)
        if not moment.exists:
            components.empty("It did not exist then", f"It was created {times.stamp(found.created_at)}.", icon="history")
            return
        components.table(_moment(look_, moment), None, alt="The endpoint at that moment", tight=(0,))


def _moment(look_: Reading, moment: Moment) -> list[tuple[str, str]]:
    desired = moment.desired
    change = briefly.named(look_.session, [desired.change_id if desired else None])
    voters = {str(one["identity_id"]) for one in moment.votes if one["verdict"] == "approve"}
    names = people.names(list(access.some_people(look_.session, voters, now=look_.now).values()))
    approved = ", ".join(sorted(escape(names.get(one, one)) for one in voters)) or "nobody was asked"
    rows = [("State", f"{badge('endpoint', moment.state or 'observed')} {escape(moment.reason, 300)}")]
    if desired is None:
        rows.append(("Desired", "nothing had been approved"))
    else:
        told = change.get(desired.change_id or "")
        by = f"change {told.number}, approved by {approved} under {escape(desired.policy or '')}" if told else "the baseline"
        rows.append(("Desired", f"generation {desired.number}: {plain(fleet.share_words(desired.shares))}"))
        rows.append(("Approved", f"{by}, admitted {times.stamp(desired.admitted_at)}"))
        rows.append(("Proved", times.stamp(desired.proved_at) if desired.proved_at else "not by then"))
    seen = f"{escape(fleet.seen_words(moment.seen), 300)}, since {times.stamp(moment.seen_at)}" if moment.seen_at else "never"
    return [(f":gray[{name}]", value) for name, value in [*rows, ("Seen", seen)]]
