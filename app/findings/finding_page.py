"""One finding: what was seen first and last, what waits for it, what people said, and whom a message reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from app import identity, reach, ways
from app.identity import Rights
from app.kit import components, links, times
from app.kit.addresses import number_in
from app.kit.plain import escape, plural, quoted
from app.kit.states import badge, mark, tag
from app.wiring import Reading
from backend.core.errors import NotFound
from backend.findings import queries
from backend.findings.queries import FindingMoment, FindingView, ToldLine
from backend.notify.rules import EVENTS

LONGEST_TITLE = 68
_CLAUSE = re.compile(r"[:;.]\s")
_DID: Mapping[str, str] = {
    "open": "was opened",
    "open_again": "was opened again, as its cause was seen anew",
    "acknowledge": "was acknowledged",
    "assign": "was given to somebody",
    "follow_owner": "went to the team that owns the place now",
    "snooze": "was snoozed",
    "wake": "was opened again, as its snooze was over",
    "rise": "became more severe",
    "escalate": "was escalated, as nobody had answered",
    "resolve": "was resolved",
    "clear": "is over",
    "reopen": "was reopened",
}
_OUTCOMES: Mapping[str, str] = {
    "fixed": "fixed",
    "expected": "expected, nothing to mend",
    "false_alarm": "a false alarm",
    "no_longer_seen": "no longer seen",
    "gone": "its endpoint is gone",
    "tested": "a test",
}


@dataclass(frozen=True)
class Seen:
    """One finding in one look, and what whoever looks may do with it."""

    view: FindingView
    told: tuple[ToldLine, ...]
    mine: Rights
    now: datetime


def find(look: Reading, text: str) -> Seen | None:
    """The finding that an address names; None after the way back to the list was drawn, where it names none."""
    try:
        return read(look, text)
    except NotFound as missing:
        with components.header("Finding", back=("Findings", "findings")), st.container():
            pass
        with st.container(border=True):
            why = f"{escape(missing.remedy)} A link may be older than what it leads to."
            components.empty(escape(missing.message), why, icon="search_off", step="All findings", page=ways.path("findings"))
        return None


def read(look: Reading, text: str) -> Seen:
    """The same. NotFound."""
    if (number := number_in(text)) is None:
        raise NotFound("finding", text[:40], "Open it from the Findings page.")
    found = queries.view(look.session, number)
    line = found.line
    mine = reach.at(look, identity.rights(look), environment=line.environment, model=line.model, endpoint=line.endpoint)
    return Seen(found, queries.told(look.session, number), mine, look.now)


def meta(seen: Seen) -> str:
    """The line under the title."""
    line = seen.view.line
    where = f"{escape(line.endpoint)} in {escape(line.environment)}" if line.endpoint else f"the model {escape(line.model)}"
    owner = f"of **{escape(line.owner)}**" if line.owner else "of nobody"
    told = [
        f"Finding {line.number}",
        where,
        owner,
        f"{_state_word(line.state)} since {times.both(line.state_since, seen.now)}",
        f"snoozed until {times.stamp(line.snoozed_until)}" if line.snoozed_until else "",
    ]
    return " · ".join(one for one in told if one)


def title(seen: Seen) -> str:
    """What it is, short enough to leave room for what one does about it: the whole sentence stands below."""
    return escape(_short(quoted(seen.view.line.says)), LONGEST_TITLE)


def _short(sentence: str) -> str:
    first = _CLAUSE.split(sentence, maxsplit=1)[0]
    return first if len(sentence) > LONGEST_TITLE else sentence


def badges(seen: Seen) -> list[str]:
    """Its severity, its state, and what waits for it."""
    line = seen.view.line
    told = [badge("severity", line.severity), badge("finding", line.state)]
    told += [tag("Test", "science")] if line.test else []
    told += [tag("Keeps changes from starting", "block", "orange")] if seen.view.blocks else []
    return [*told, *([tag("Holds rollouts", "pause_circle", "orange")] if seen.view.holds else [])]


def answer(seen: Seen) -> str:
    """What stands, in one plain sentence; Markdown, escaped."""
    line, view = seen.view.line, seen.view
    if line.state == "resolved":
        how = _OUTCOMES.get(view.outcome or "", "")
        by = f" {escape(view.by)} said so" if view.by else ""
        why = f": {escape(view.reason)}" if view.reason else ""
        return f"It is over ({how}).{by}{why}"
    if line.state == "snoozed":
        return f"Nobody is called until {times.stamp(line.snoozed_until or line.state_since)}: {escape(view.reason)}"
    if line.clean_since is not None:
        until = "somebody says that it is over" if view.needs_person else "looks were clean for long enough"
        return f"It was not seen since {times.both(line.clean_since, seen.now)}; it stands until {until}."
    if line.state == "acknowledged":
        return f"{escape(view.by) or 'Somebody'} looks after it{': ' + escape(view.reason) if view.reason else '.'}"
    return "Nobody has answered it yet."


def draw_evidence(seen: Seen) -> None:
    """What was seen, first and last."""
    view, line = seen.view, seen.view.line
    with components.card("What was seen", f"by {escape(line.found_by)}"):
        components.facts(
            [
                *([("Says", escape(quoted(line.says), 400))] if len(line.says) > LONGEST_TITLE else []),
                *([("Now", escape(quoted(line.last_says), 400))] if line.last_says != line.says else []),
                ("First", times.both(line.first_seen_at, seen.now)),
                ("Last", f"{times.both(line.last_seen_at, seen.now)}, {plural(line.times, 'time')} in all"),
                ("Kind", escape(line.kind)),
                *([("Of", escape(line.subject))] if line.subject and not line.test else []),
                ("Ends", _ends(view)),
            ]
        )
        if rows := _evidence(view.first_evidence, view.latest_evidence):
            components.table(
                rows, ("Evidence", "At first", "Latest"), alt="Evidence of the first and the latest look", tight=(0,)
            )
        if line.endpoint is not None:
            report = view.latest_evidence.get("report") or view.first_evidence.get("report")
            links.to_window_report(line.endpoint, report)


def _ends(view: FindingView) -> str:
    if view.needs_person:
        return "when a person says so"
    if not view.clear_after_seconds:
        return "at the first look that does not see it"
    return f"when looks were clean for {times.span(timedelta(seconds=view.clear_after_seconds))}"


def _evidence(first: Mapping[str, Any], latest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    names = [*latest, *(one for one in first if one not in latest)]
    return [(escape(name, 60), _value(first.get(name)), _value(latest.get(name))) for name in names]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(f"{value:.6g}" if isinstance(value, float) else value, 160)


def draw_history(seen: Seen) -> None:
    """What happened to it, the latest first."""
    with components.card("What happened", "ledger, UTC"):
        components.feed([_moment(one) for one in reversed(seen.view.history)], narrow=True)


def _moment(one: FindingMoment) -> components.Told:
    why = f": {escape(quoted(one.reason), 400)}" if one.reason else ""
    said = f"{mark('finding', one.state)} It {_DID.get(one.what, escape(one.what))}{why}"
    return components.Told(times.short(one.at), said, escape(one.by))


def draw_beside(seen: Seen) -> None:
    """The one before, the one after, and others of its kind that are not over."""
    view = seen.view
    if view.former is None and view.later is None and not view.beside and view.line.endpoint is None:
        return
    with components.card("Beside it"):
        if view.line.endpoint is not None:
            if (shown := shown_at(view)) is not None:
                links.to_monitoring(view.line.endpoint, f"{shown['part']}, under Monitoring", **shown)
            links.to_endpoint(view.line.endpoint, escape(view.line.endpoint))
        if view.former is not None:
            links.to_finding(view.former, f"Finding {view.former}, the one before of the same cause")
        if view.later is not None:
            links.to_finding(view.later, f"Finding {view.later}, of the same cause since")
        for number in view.beside[:8]:
            links.to_finding(number, f"Finding {number}, of the same family there")


def shown_at(view: FindingView) -> dict[str, str] | None:
    """The part of Monitoring that shows what was found, and what it is narrowed to there; None for what it does not show."""
    line, told = view.line, view.latest_evidence
    family = line.kind.partition(".")[0]
    if line.test or family not in _PARTS:
        return None
    if family == "monitor":
        return {"part": _PARTS[family], "monitor": line.subject}
    version, column = told.get("version"), told.get("column")
    found = {"part": "Predictions" if line.kind == "drift.prediction" else _PARTS[family]}
    found |= {"version": str(version)} if isinstance(version, int) else {}
    return found | ({"feature": column} if found["part"] == "Drift" and isinstance(column, str) else {})


_PARTS: Mapping[str, str] = {
    "drift": "Drift",
    "data": "Drift",
    "skew": "Drift",
    "quality": "Predictions",
    "estimate": "Predictions",
    "slo": "Latency",
    "monitor": "Monitors",
}
"""Family of findings -> the part of Monitoring that shows what they are about."""


def draw_told(seen: Seen) -> None:
    """Whom messages of it went to, and what became of them."""
    with components.card("Who was told", plural(len(seen.told), "message") if seen.told else ""):
        rows = [(escape(one.whom, 80), _event(one), badge("message", one.state)) for one in seen.told]
        if rows:
            components.table(rows, ("To", "Of", "Message"), alt="Messages of this finding")
        else:
            why = "Messages are made within seconds where somebody is to be told; what was counted together is with another."
            components.empty("No message of this one", why, icon="notifications_off")


def _event(one: ToldLine) -> str:
    return escape(EVENTS[one.event].says if one.event in EVENTS else one.event)


def _state_word(state: str) -> str:
    return state if state != "resolved" else "over"
