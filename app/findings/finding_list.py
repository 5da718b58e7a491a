"""The list of findings: its filters, its rows, and how many there are, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st

from app.kit import components, states, times
from app.kit.plain import escape, quoted
from app.kit.states import badge
from app.wiring import Reading
from backend.findings import queries
from backend.findings.queries import Filters, FindingLine
from backend.findings.rules import LIVE, SEVERITIES
from backend.policy.queries import names as environments

PAGE = 50
LIVE_ONES, ANY = "Not over", "Any"
_STATES: Mapping[str, Sequence[str]] = {
    LIVE_ONES: LIVE,
    **{look.word: (state,) for state, look in states.LOOKS["finding"].items()},
    ANY: (),
}
_SEVERITIES: Mapping[str, Sequence[str]] = {
    ANY: (),
    **{states.look("severity", one).word: (one,) for one in reversed(SEVERITIES)},
}
_ANYWHERE = {
    "environment": "Any",
    "endpoint": "Any",
    "model": "Any",
    "kind": "Any",
    "owner": "Anybody's",
}


@dataclass(frozen=True)
class Choices:
    """What can be chosen in the filter row, each by its key."""

    environment: Sequence[str]
    kind: Sequence[str]
    owner: Sequence[str]


def choices(look: Reading) -> Choices:
    """What findings there are of, as far as whoever looks sees them."""
    return Choices(environments(look.session), queries.kinds(look.session), queries.owners(look.session))


def draw_filters(offered: Choices) -> Filters:
    """The filter row. Its options are the words that stand in the address."""
    state = st.selectbox("State", list(_STATES), key="state", bind="query-params")
    severity = st.selectbox("Severity", list(_SEVERITIES), key="severity", bind="query-params")
    return Filters(
        states=_STATES[state or LIVE_ONES],
        severities=_SEVERITIES[severity or ANY],
        environment=_choice("environment", "Environment", offered.environment),
        endpoint=_typed("endpoint", "Endpoint"),
        model=_typed("model", "Model"),
        kind=_choice("kind", "Kind", offered.kind),
        owner=_choice("owner", "Owner", offered.owner),
        tests=bool(st.checkbox("Tests too", key="tests", bind="query-params")),
    )


def _choice(key: str, label: str, options: Sequence[str]) -> str:
    chosen = st.selectbox(
        label, ("", *options), key=key, bind="query-params", accept_new_options=True,
        format_func=lambda one: one or _ANYWHERE[key],
    )  # fmt: skip
    return (chosen or "").strip()


def _typed(key: str, label: str) -> str:
    return (st.text_input(label, key=key, bind="query-params", placeholder=_ANYWHERE[key]) or "").strip()


def columns() -> dict[str, Any]:
    """The first five are what a window of 1,024 pixels holds (666 of them); the rest is scrolled to there."""
    return {
        "Finding": st.column_config.NumberColumn(format="%d", width=58),
        "Severity": states.column("severity", "Severity", 84),
        "State": states.column("finding", "State", 112),
        "Says": st.column_config.TextColumn(width=274),
        "At": st.column_config.TextColumn("At", width=138),
        "Owner": st.column_config.TextColumn(width=110),
        "Seen": st.column_config.TextColumn("Last seen", width=104),
        "Times": st.column_config.NumberColumn(format="%d", width=54),
        "Kind": st.column_config.TextColumn(width=110),
        "Environment": st.column_config.TextColumn(width=100),
        "Model": st.column_config.TextColumn(width=110),
    }


def record(line: FindingLine, now: datetime) -> dict[str, Any]:
    """A row of the data table: plain text."""
    return {
        "Finding": line.number,
        "Severity": states.pill("severity", line.severity),
        "State": states.pill("finding", line.state),
        "Says": f"{'Test: ' if line.test else ''}{quoted(line.last_says)}",
        "At": line.endpoint or line.model,
        "Owner": line.owner or "nobody",
        "Seen": times.age(line.last_seen_at, now),
        "Times": line.times,
        "Kind": line.kind,
        "Environment": line.environment or "",
        "Model": line.model,
    }


def trouble(counted: Mapping[tuple[str, str], int]) -> list[str]:
    """What nobody has answered yet, as badges, the worst first."""
    return [
        badge("severity", severity, f"{counted['open', severity]:,} {states.look('severity', severity).word.lower()}")
        for severity in reversed(SEVERITIES)
        if counted.get(("open", severity))
    ]


def summary(counted: Mapping[tuple[str, str], int]) -> str:
    """`3 open, 1 acknowledged, 12 resolved`."""
    told = {state: sum(count for (one, _), count in counted.items() if one == state) for state in states.LOOKS["finding"]}
    said = [f"{count:,} {states.look('finding', state).word.lower()}" for state, count in told.items() if count]
    return ", ".join(said) or "none yet"


def found(shown: queries.Page) -> str:
    """The result count in words."""
    count = len(shown.items)
    return f"{count} finding{'s' * (count != 1)} shown, the worst first; {'more follow' if shown.next else 'no more follow'}"


def nothing(counted: Mapping[tuple[str, str], int], filters: Filters) -> None:
    """Why the list is empty."""
    if filters == Filters(states=LIVE):
        why = "What a monitor finds wrong stands here, once for each cause, until somebody or a clean look ends it."
        earlier = f" {escape(summary(counted).capitalize())}." if counted else ""
        components.empty("Nothing is wrong that anybody found", f"{why}{earlier}", icon="task_alt")
    else:
        components.empty("No finding is like that", "Loosen the filters above.", icon="search_off")
