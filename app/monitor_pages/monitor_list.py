"""Monitors and how they fare, what they found that is not over, and both in a strip above everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from app import ways, wiring
from app.kit import components, links, listing, states, times
from app.kit.plain import escape, plural, quoted
from app.kit.states import badge
from app.monitor_pages import latency_part, monitor_acts, monitor_filters
from app.monitor_pages.monitor_filters import Place
from app.record_pages import alarm
from app.wiring import Reading
from backend.core.errors import NotFound
from backend.findings import queries as findings
from backend.findings.queries import FindingLine
from backend.findings.rules import LIVE, SEVERITIES
from backend.monitoring import queries
from backend.monitoring.views import MonitorLine, RunLine

MOST_FINDINGS, MOST_RUNS = 20, 30
NOT_LOOKING = ("failing", "late", "no_data")
WHAT_NEXT = {
    "late": "See whether a worker runs (`countersign worker`), then have the monitor look now.",
    "failing": "Correct what it names, then have the monitor look now.",
    "no_data": "See whether requests reach the inference log of this endpoint.",
}
"""How a monitor fares that gives no verdict -> what to do next."""
_RUNS = {
    "ok": "in order",
    "alarm": "alarm",
    "no_data": "no data",
    "early": "too early",
    "idle": "nothing to compare",
    "failed": "failed",
    "running": "running",
}


def part(place: Place) -> None:
    """Monitors, their windows, and what they found."""
    with wiring.reading() as look:
        lines = here(look, place)
    if lines:
        windows(place, lines)
    with wiring.reading() as look:
        found(look, place)
    monitor_acts.opened(place)


# -- the strip


def standing(endpoint: str) -> None:
    """Four cells that say how it stands, drawn anew by itself: monitors, findings, the error budget, the newest look."""
    with wiring.reading() as look:
        try:
            lines = queries.monitors(look.session, endpoint, now=look.now)
        except NotFound:
            return  # it was removed meanwhile; the next run of the page says so
        counted = findings.counts(look.session, findings.Filters(states=LIVE, endpoint=endpoint))
        promises = queries.budgets(look.session, endpoint, now=look.now)
    cells = components.four()
    with cells[0]:
        _monitors_fact(lines)
    with cells[1]:
        _findings_fact(counted)
    with cells[2]:
        budgets = [] if promises is None else [one for one in promises.promises if one.budget.left is not None]
        worst = min(budgets, key=lambda one: one.budget.left or 0.0, default=None)
        if promises is None:
            components.fact("Error budget", "Nothing is promised", text="Set one: `countersign slo set`.")
        elif worst is None or worst.budget.left is None:
            components.fact("Error budget", "Not known", badge("objective", "unknown"), "See under Latency why.")
        else:
            share = 100 * worst.budget.left
            left = f"{share:.3g} % left" if share >= 0 else f"Overspent by {-share:.3g} %"
            components.fact(
                "Error budget", left, badge("objective", worst.verdict), escape(latency_part.slo_name(worst.objective))
            )
    with cells[3]:
        looked = max((one.last_slot for one in lines if one.last_slot is not None), default=None)
        said = times.age(looked, look.now).capitalize() if looked is not None else "Never"
        text = f"{times.short(looked)} UTC" if looked is not None else "no window was judged yet"
        components.fact("Judged up to", said, text=text)


def _monitors_fact(lines: Sequence[MonitorLine]) -> None:
    if not lines:
        components.fact("Monitors", "None", text="Nobody watches this endpoint.")
        return
    worst, well = lines[0], sum(one.word == "ok" for one in lines)
    not_well = Counter(states.look("monitor", one.word).word.lower() for one in lines if one.word != "ok")
    says = ", ".join(f"{count:,} {word}" for word, count in not_well.items()) or "each judged its latest window"
    components.fact("Monitors", f"{well:,} of {len(lines):,} in order", badge("monitor", worst.word), says)


def _findings_fact(counted: dict[tuple[str, str], int]) -> None:
    count = sum(counted.values())
    worst = next((one for one in reversed(SEVERITIES) if any(severity == one for _, severity in counted)), None)
    unanswered = sum(number for (state, _), number in counted.items() if state == "open")
    says = f"{unanswered:,} that nobody has answered" if count else "nothing is wrong that anybody found"
    components.fact("Findings not over", f"{count:,}", badge("severity", worst) if worst else "", says)


# -- monitors


_EVERYWHERE = {
    "Endpoint": st.column_config.TextColumn(width=130),
    "Monitor": st.column_config.TextColumn(width=110),
    "Says": st.column_config.TextColumn(width=190),
    "Findings": st.column_config.NumberColumn(width=70),
    "Judged": st.column_config.TextColumn("Judged up to", width=110),
    "Next": st.column_config.TextColumn(width=100),
    "Watches": st.column_config.TextColumn(width=420),
    "Owner": st.column_config.TextColumn(width=110),
    "Environment": st.column_config.TextColumn(width=100),
}


def everywhere(look: Reading, lines: Sequence[MonitorLine]) -> None:
    """Every monitor that whoever looks sees, those that do not fare well first; a row opens its endpoint."""
    with components.card("Monitors", "those that need somebody first; a row opens its endpoint"):
        if not lines:
            components.empty(
                "Nothing is watched yet",
                "Choose an endpoint above for its latency. To watch it: `countersign monitor set ENDPOINT drift --kind drift`, "
                "or a file of kind Monitor.",
                icon="monitoring",
            )
            return
        columns = {"Endpoint": _EVERYWHERE["Endpoint"], "Monitor": _EVERYWHERE["Monitor"],
                   "Fares": states.column("monitor", "Fares", 110), **_EVERYWHERE}  # fmt: skip
        records = [_record(one, look.now) for one in lines]
        chosen = listing.rows(records, columns, key="monitors", alt="Monitors, those that need somebody first")
    if chosen is not None:
        monitor_filters.open_at(lines[chosen].endpoint)


def summary(lines: Sequence[MonitorLine]) -> str:
    """`7 monitors at 3 endpoints`."""
    return f"{plural(len(lines), 'monitor')} at {plural(len({one.endpoint for one in lines}), 'endpoint')} · times in UTC"


def trouble(lines: Sequence[MonitorLine]) -> list[str]:
    """Badges of what needs somebody, with how many."""
    counted = {word: sum(one.word == word for one in lines) for word in (*NOT_LOOKING, "alarm")}
    return [
        badge("monitor", word, f"{count:,} {states.look('monitor', word).word.lower()}")
        for word, count in counted.items()
        if count
    ]


def _record(one: MonitorLine, now: datetime) -> dict[str, Any]:
    """A row of the data table: plain text."""
    return {
        "Endpoint": one.endpoint,
        "Monitor": one.name,
        "Fares": states.pill("monitor", one.word),
        "Says": one.says or "–",
        "Findings": one.findings,
        "Judged": times.short(one.last_slot) if one.last_slot is not None else "never",
        "Next": times.age(one.next_due, now) if one.next_due is not None else "–",
        "Watches": one.watches,
        "Owner": one.owner or "nobody",
        "Environment": one.environment,
    }


def here(look: Reading, place: Place) -> Sequence[MonitorLine]:
    """The monitors of one endpoint, each with what to do where it does not look."""
    lines = queries.monitors(look.session, place.name, now=look.now)
    with components.card("Monitors", f"{plural(len(lines), 'monitor')}, those that need somebody first"):
        if not lines:
            components.empty(
                "Nobody watches this endpoint",
                f"An operator or an admin sets one: {escape(f'countersign monitor set {place.name} drift --kind drift')}. "
                "Drift and data take a reference profile of the version first.",
                icon="monitoring",
            )
            return ()
        rows = [_cells(one, look.now) for one in lines]
        components.table(rows, ("Monitor", "Fares", "Watches", "Next"), alt="Monitors of this endpoint", tight=(0, 1, 3))
        for one in lines:
            if one.word in WHAT_NEXT:
                st.warning(f"**{escape(one.name)}**: {escape(one.says, 300)} {WHAT_NEXT[one.word]}", icon=":material/history:")
    return lines


def _cells(one: MonitorLine, now: datetime) -> tuple[str, str, str, str]:
    following = times.age(one.next_due, now) if one.next_due is not None else "–"
    return escape(one.name), badge("monitor", one.word), escape(one.watches, 200), following


_WINDOWS = {
    "End": st.column_config.DatetimeColumn("Window's end (UTC)", format="D MMM HH:mm", timezone="UTC", width=130),
    "Came to": st.column_config.TextColumn(width=86),
    "Rows": st.column_config.NumberColumn(format="localized", width=76),
    "Says": st.column_config.TextColumn(width=420),
    "Took": st.column_config.TextColumn(width=80),
}


def windows(place: Place, lines: Sequence[MonitorLine]) -> None:
    """What the newest windows of one monitor came to, and what one does about it."""
    names = [one.name for one in lines]
    with components.card("Windows", "the newest first") as head:
        with head:
            chosen = st.selectbox(
                "Monitor", list(names), key="monitor", bind="query-params", label_visibility="collapsed", width=160
            )
        line = next((one for one in lines if one.name == chosen), lines[0])
        with head:
            monitor_acts.draw(place, line)
        with wiring.reading() as look:
            view = queries.monitor(look.session, place.name, line.name, now=look.now)
        if line.paused:
            _muted(f"Paused by {escape(view.set_by)} {times.both(view.set_at, look.now)}: {escape(view.paused_reason, 300)}")
        runs = view.runs[:MOST_RUNS]
        if not runs:
            components.empty("It has not judged a window yet", "The worker does when the first one is over.", icon="schedule")
            return
        listing.rows([_run(one) for one in runs], _WINDOWS, key="windows", alt="Windows, the newest first")


def _run(one: RunLine) -> dict[str, Any]:
    said = quoted(" ".join(each.says for each in one.found)) or one.why or "nothing stood out"
    took = times.span(one.ended_at - one.started_at) if one.ended_at is not None else "runs"
    return {"End": one.slot, "Came to": _RUNS.get(one.state, one.state), "Rows": one.rows, "Says": said, "Took": took}


# -- findings


def found(look: Reading, place: Place) -> None:
    """Findings of this endpoint that are not over, each with the way to it, and the way to all of them."""
    wanted = findings.Filters(states=LIVE, endpoint=place.name)
    shown = findings.page(look.session, wanted, limit=MOST_FINDINGS)
    more = f", the first {MOST_FINDINGS}" if shown.next else ""
    with components.card("Findings", f"not over, the worst first{more}") as head:
        with head:
            links.to_findings(place.name)
            if place.rights.may("finding.test") and alarm.test_button():
                alarm.ask_test(place.name)
        if not shown.items:
            components.empty(
                "Nothing is wrong here that anybody found",
                "What a monitor finds stands here until somebody, or a clean look, ends it. Above it says who looks.",
                icon="task_alt",
            )
        for one in shown.items:
            _finding(one, look.now)


def _finding(one: FindingLine, now: datetime) -> None:
    last = times.age(one.last_seen_at, now)
    seen = f"seen {plural(one.times, 'time')}, last {last} · {escape(one.owner or 'nobody')} · {escape(one.kind)}"
    state = f"{badge('severity', one.severity)} {badge('finding', one.state)}"
    says = escape(quoted(one.last_says), 240)
    components.line(f"{one.number}. {says}", seen, state, ways.path("finding"), {"finding": str(one.number)})


def _muted(text: str) -> None:
    st.markdown(f":small[:gray[{text}]]")
