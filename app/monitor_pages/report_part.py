"""Window reports: the list, which follows what the worker makes, and the dialog that asks for one."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from app import identity, report_door, wiring
from app.kit import components, dialogs, feedback, times
from app.kit.live import live
from app.kit.plain import escape, plural
from app.kit.states import badge
from app.monitor_pages.monitor_filters import Place
from backend.core.errors import Refusal
from backend.monitoring.views import Where
from backend.window_reports import queries
from backend.window_reports.queries import ReportLine, SideLine
from backend.window_reports.rules import LEAST_ROWS, LONGEST, MOST_ROWS, ROWS, UNFINISHED, Asked, Part, Side

MOST = 20
WEEK_EARLIER, BEFORE, TYPED = "The same hours a week earlier", "As long, right before", "A time that I name"
NO_OUTCOMES, CLASSES, NUMBERS = "No comparison with outcomes", "Classification", "Regression"
_REMOVED = "report.removed"
_OUTCOMES: dict[str, Part] = {CLASSES: "classification", NUMBERS: "regression"}


def part(where: Where, place: Place) -> None:
    """The whole part."""
    with components.card("Window reports", "Evidently's page for a sample of a window; times in UTC") as head:
        if place.rights.may("recorded.read"):
            with head:
                if st.button("Ask for a report", icon=":material/add:", key="report.ask"):
                    ask(where, place)
        else:
            st.markdown(":small[:gray[Asking for one takes a role at this endpoint, and a grant of its recorded requests.]]")
        live(listed)(place.name, may_remove=place.rights.may("recorded.read"))
    opened(place)


# -- the list


def listed(endpoint: str, *, may_remove: bool) -> None:
    """The newest reports. What they show takes a grant; that they are there does not."""
    with wiring.reading() as look:
        lines = queries.lines(look.session, endpoint)
    if not lines:
        components.empty(
            "Nobody has asked for a report here",
            "One shows a window's distributions closely, from a sample of recorded requests. It decides nothing.",
            icon="lab_profile",
        )
        return
    for one in lines[:MOST]:
        _line(one, look.now, may_remove=may_remove)
    if len(lines) > MOST:
        st.markdown(f":small[:gray[and {plural(len(lines) - MOST, 'older report')}]]")


def _line(one: ReportLine, now: datetime, *, may_remove: bool) -> None:
    notes = "".join(f"  \n:gray[{escape(note, 200)}]" for note in one.notes[:3])
    says = f"  \n{escape(one.says, 300)}" if one.says else ""
    by = f"made for an alarm of {escape(one.asked_by)}" if one.monitor else f"asked by {escape(one.asked_by)}"
    asked = f"{escape(', '.join(one.parts))} · {by} {times.age(one.asked_at, now)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        st.markdown(
            f":small[**{_side(one.current)}** against {_side(one.reference)}  \n:gray[{asked}]{says}{notes}]", width="stretch"
        )
        st.markdown(badge("window_report", one.state), width="content")
        if one.digest is not None:
            address = report_door.link(one.endpoint, one.id)
            st.link_button("Open", address, icon=":material/open_in_new:", help="Opening it is written into the ledger.")
        elif one.state in UNFINISHED:
            st.markdown(":small[:gray[the worker makes it]]", width="content")
        if may_remove and st.button("", icon=":material/delete:", key=f"report.remove.{one.id}", help="Remove this report"):
            st.session_state[_REMOVED] = (one.id, f"{_side(one.current)} against {_side(one.reference)}")
            st.rerun()


def _side(one: SideLine) -> str:
    whose = [f"version {one.version}"] if one.version is not None else []
    whose += [f"arm {escape(one.arm)}"] if one.arm is not None else []
    drawn = [f"{one.drawn:,} of {one.rows:,} rows"] if one.drawn is not None and one.rows is not None else []
    return ", ".join([f"{times.short(one.start)} to {times.short(one.end)}", *whose, *drawn])


# -- removing


def opened(place: Place) -> None:
    """Opens the dialog of the report whose removal was clicked; called once, after the part is drawn."""
    asked = st.session_state.pop(_REMOVED, None)
    if asked is not None:
        _remove(place.name, *asked)


@dialogs.framed("Remove this report")
def _remove(endpoint: str, report: str, says: str) -> None:
    st.markdown(
        f"The report of {says} is taken away for everybody, with its page. The ledger keeps that there was one, and who "
        "removed it. No recorded request is touched."
    )
    if dialogs.decide("Remove it", "report.remove.go", icon="delete"):
        feedback.act(
            lambda: wiring.backend().window_reports.remove(identity.current(), endpoint, report), "The report is removed."
        )


# -- asking


def ask(where: Where, place: Place) -> None:
    """Opens the dialog, for what the page is narrowed to."""
    end = where.end.replace(minute=0, second=0, microsecond=0)
    start = max(where.start.replace(minute=0, second=0, microsecond=0), end - timedelta(days=1))
    _dialog(Side(start, end, where.version, where.arm), place)


@dialogs.framed("Ask for a window report", width="large")
def _dialog(begun: Side, place: Place) -> None:
    st.markdown(
        f"A sample of the requests to **{escape(place.name)}** is drawn and shown by Evidently. That they are read for it is "
        "written into the ledger, and takes a grant of the data set of its recorded requests."
    )
    left, right = st.columns(2)
    with left:
        start = _time("From (UTC)", "report.start", begun.start)
        end = _time("To (UTC)", "report.end", begun.end)
        against = st.selectbox("Compared with", [WEEK_EARLIER, BEFORE, TYPED], key="report.against")
        other_start = other_end = ""
        if against == TYPED:
            other_start = _time("Reference from (UTC)", "report.other_start", None)
            other_end = _time("Reference to (UTC)", "report.other_end", None)
    with right:
        drift = st.checkbox("Drift", value=True, key="report.drift")
        summary = st.checkbox("Summary of the data", value=True, key="report.summary")
        compared = st.selectbox("Predictions and outcomes", [NO_OUTCOMES, *_OUTCOMES], key="report.outcomes")
        outcome = st.text_input("Outcome, as it is logged", key="report.outcome") if compared != NO_OUTCOMES else ""
        rows = st.number_input("Rows of each side", LEAST_ROWS, MOST_ROWS, ROWS, step=500, key="report.rows")
    st.markdown(f":small[:gray[{_whose(begun)} Windows and references have at most {LONGEST.days} days.]]")
    if dialogs.decide("Ask for it", "report.go", icon="lab_profile"):
        wanted: dict[Part, bool] = {"drift": bool(drift), "summary": bool(summary)}
        parts: list[Part] = [name for name, is_wanted in wanted.items() if is_wanted]
        parts += [_OUTCOMES[compared]] if compared in _OUTCOMES else []
        with feedback.shown():
            current = Side(_read(start), _read(end), begun.version, begun.arm)
            reference = compared_with(current, against or WEEK_EARLIER, other_start, other_end)
            asked = Asked(current, reference, tuple(parts), int(rows or ROWS), outcome=(outcome or "").strip() or None)
            says = "The report is asked for; it stands in the list while the worker makes it."
            feedback.act(lambda: wiring.backend().window_reports.ask(identity.current(), place.name, asked), says)


def compared_with(current: Side, against: str, start: str, end: str) -> Side | None:
    """The reference that was chosen; None for the same hours a week earlier. Refusal for a time that is none."""
    if against == BEFORE:
        return Side(current.start - (current.end - current.start), current.start, current.version, current.arm)
    if against == TYPED:
        return Side(_read(start), _read(end), current.version, current.arm)
    return None


def _whose(begun: Side) -> str:
    told = [f"Only version {begun.version}." if begun.version is not None else "All versions."]
    told += [f"Only arm {escape(begun.arm)}."] if begun.arm is not None else []
    return " ".join(told)


def _time(label: str, key: str, begun: datetime | None) -> str:
    shown = times.written(begun) if begun is not None else ""
    return st.text_input(label, value=shown, key=key, placeholder="2026-11-25 19:00", required=True) or ""


def _read(typed: str) -> datetime:
    found = times.entered(typed)
    if found is None:
        raise Refusal("A time is missing.", "Write it like 2026-11-25 19:00, in UTC.", code="bad-time")
    return found
