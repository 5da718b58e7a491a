"""What the page is narrowed to: endpoint, version, arm, segment and time, each bound to the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import streamlit as st

from app import identity, reach, wiring
from app.identity import Rights
from app.kit import components, times
from app.kit.addresses import number_in
from app.kit.plain import escape
from app.wiring import Reading
from backend.core.errors import NotFound, Refusal
from backend.delivery import fleet
from backend.delivery import queries as delivery
from backend.delivery.lines import EndpointLine
from backend.monitoring import queries
from backend.monitoring.views import Choices, Where

PERIODS = {"Last 24 hours": 1, "Last 3 days": 3, "Last 7 days": 7, "Last 14 days": 14, "Last 30 days": 30, "Last 60 days": 60}
"""What is offered -> days. Of longer spans latency has more points than are drawn."""
USUAL = "Last 30 days"
ANY = {"endpoint": "All endpoints", "version": "Any version", "arm": "Any arm", "segment": "Any segment"}
_ASKED = "monitoring.asked"


@dataclass(frozen=True)
class Place:
    """The endpoint that is looked at: what there is to choose there, and what whoever looks may do."""

    line: EndpointLine
    choices: Choices
    rights: Rights

    @property
    def name(self) -> str:
        """Of the endpoint."""
        return self.line.name


def open_at(endpoint: str) -> None:
    """Shows another endpoint. Its filter takes that before it is drawn, which is at the beginning of a run."""
    st.session_state[_ASKED] = endpoint
    st.rerun()


def offered(look: Reading) -> Sequence[str]:
    """Names of endpoints, the first two hundred; others can be typed."""
    return fleet.names(look.session)


def endpoint(names: Sequence[str]) -> str:
    """The endpoint; "" for all of them."""
    if (asked := st.session_state.pop(_ASKED, None)) is not None:
        st.session_state["endpoint"] = asked
    return _choice("endpoint", "Endpoint", names, width=200)


def place(look: Reading, name: str) -> Place | None:
    """The endpoint of that name; None where there is none, or none that whoever looks sees."""
    try:
        line = delivery.endpoint(look.session, name, now=look.now, interval=wiring.interval()).line
        choices = queries.choices(look.session, name)
    except NotFound:
        return None
    mine = reach.at(look, identity.rights(look), environment=line.environment, model=line.model, endpoint=name)
    return Place(line, choices, mine)


def missing(name: str) -> None:
    """What stands there for an endpoint that is not there."""
    with st.container(border=True):
        components.empty(
            f"No endpoint is called {escape(name, 60)}",
            "It may have been removed while it was only observed, or the address is wrong. Choose one above.",
            icon="search_off",
        )


def narrow(found: Place, now: datetime) -> Where:
    """The other filters. Refusal for an address that names what cannot be."""
    choices, segments = found.choices, _segments(found.choices.segments)
    version = _choice("version", "Version", [str(one) for one in reversed(choices.versions)])
    arm = _choice("arm", "Arm", choices.arms)
    segment = _choice("segment", "Segment", list(segments))
    period = st.selectbox("Period", list(PERIODS), index=list(PERIODS).index(USUAL), key="period", bind="query-params")
    typed = st.text_input(
        "Until (UTC)", key="until", bind="query-params", placeholder="now", icon=":material/history:",
        validate=(times.WRITTEN, "Write a time like 2026-11-25 19:14"),
    )  # fmt: skip
    end = times.moment(typed or "") or now
    segmentation, value = _of(segments, segment)
    return Where(
        endpoint=found.name,
        start=end - timedelta(days=PERIODS[period or USUAL]),
        end=end,
        version=_version(version),
        arm=arm or None,
        segmentation=segmentation,
        segment=value,
    )


def segment_words(feature: str, name: str) -> str:
    """`carrier = UA`, `distance up to 500`, `carrier missing`: a segment's name says how it lies to its feature."""
    return f"{feature} {name}"


def _segments(offered: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    return {segment_words(feature, one): (feature, one) for feature, names in offered.items() for one in names}


def _of(segments: Mapping[str, tuple[str, str]], chosen: str) -> tuple[str, str]:
    if not chosen:
        return "", ""
    if chosen not in segments:
        raise Refusal("No monitor here tells that segment apart.", "Choose one that is offered, or any.", code="bad-filter")
    return segments[chosen]


def _version(typed: str) -> int | None:
    if not typed:
        return None
    if (number := number_in(typed)) is None:
        is_number = typed.removeprefix("-").isdecimal()
        said = "No version has that number." if is_number else "A version is a number."
        raise Refusal(said, "Choose one that is offered, or any.", code="bad-filter")
    return number


def _choice(key: str, label: str, options: Sequence[str], width: int | Literal["stretch"] = "stretch") -> str:
    """One that is offered, or one that somebody types: an address may name what is not offered any more."""
    chosen = st.selectbox(
        label, ("", *options), key=key, bind="query-params", accept_new_options=True, width=width,
        format_func=lambda one: one or ANY[key],
    )  # fmt: skip
    return (chosen or "").strip()
