"""Ways to things that other pages show, in one place: the file of a page and the name that its address takes."""

from __future__ import annotations

import streamlit as st

from app import ways
from backend.changes.briefly import Named


def to_change(change: Named | None, label: str = "") -> None:
    """A link to a change; nothing where there is none."""
    if change is not None:
        said = label or f"Change {change.number}"
        st.page_link(ways.path("change"), label=said, icon=":material/rule:", query_params={"change": str(change.number)})


def to_server(name: str, label: str = "") -> None:
    """A link to a server."""
    st.page_link(ways.path("server"), label=label or "Open the server", icon=":material/dns:", query_params={"server": name})


def to_finding(number: int, label: str = "") -> None:
    """A link to a finding."""
    said, where = label or f"Finding {number}", {"finding": str(number)}
    st.page_link(ways.path("finding"), label=said, icon=":material/notification_important:", query_params=where)


def to_findings(endpoint: str, label: str = "All findings") -> None:
    """A link to the list of an endpoint's findings."""
    arrow = ":material/chevron_right:"
    st.page_link(
        ways.path("findings"), label=label, icon=arrow, icon_position="right", query_params={"endpoint": endpoint},
        width="content",
    )  # fmt: skip


def to_endpoint(name: str, label: str = "Open") -> None:
    """A link to an endpoint."""
    arrow = ":material/chevron_right:"
    st.page_link(ways.path("endpoint"), label=label, icon=arrow, icon_position="right", query_params={"endpoint": name})


def to_monitoring(endpoint: str, label: str = "Monitoring", **narrowed: str) -> None:
    """A link to what is watched at an endpoint, narrowed to a part and to what it takes."""
    query = {"endpoint": endpoint, **narrowed}
    st.page_link(ways.path("monitoring"), label=label, icon=":material/monitoring:", query_params=query)


def to_window_report(endpoint: str, report: object) -> None:
    """A link to where a report of an endpoint stands; nothing where there is none."""
    if isinstance(report, str) and report:
        where = {"endpoint": endpoint, "part": "Reports"}
        label = "The window report that was made of it"
        st.page_link(ways.path("monitoring"), label=label, icon=":material/lab_profile:", query_params=where)
