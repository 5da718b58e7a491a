"""Trying an alarm: a button and the dialog behind it. The test's own page says whom it reached."""

from __future__ import annotations

import streamlit as st
from sqlmodel import select

from app import identity, reach, ways, wiring
from app.kit import dialogs, feedback
from app.kit.plain import escape
from app.wiring import Reading
from backend.delivery.rows import Endpoint
from backend.policy.rules import Severity

_MOST_ENDPOINTS = 200


def may_test(look: Reading) -> bool:
    """Whether whoever looks may try who is told of findings, somewhere."""
    return reach.anywhere(identity.rights(look)).may("finding.test")


def test_button() -> bool:
    """Whether it was clicked."""
    return st.button("Test the alarm", icon=":material/science:", key="alarm.test")


@dialogs.framed("Test the alarm")
def ask_test(at: str = "") -> None:
    """Opens what tries who is told of findings at an endpoint: at the one that is named, or at one to be chosen."""
    endpoint = at or _chosen()
    severities: list[Severity] = ["warning", "critical", "info"]
    severity = st.selectbox("Severity", severities, key="finding.test.severity")
    where = f"at **{escape(at)}**" if at else "there"
    st.markdown(
        f"A finding that says that it is a test is opened {where} and ended at once. Whoever is told of findings there is told "
        "of it; it holds nothing up."
    )
    if dialogs.decide("Test it", "finding.test.go", icon="science", disabled=endpoint is None):
        with feedback.shown():
            row = wiring.backend().findings.test(identity.current(), endpoint or "", severity or "warning")
            ways.go("finding", finding=row.number)


def _chosen() -> str | None:
    with wiring.reading() as look:
        names = list(look.session.exec(select(Endpoint.name).order_by(Endpoint.name).limit(_MOST_ENDPOINTS)))
    return st.selectbox("Endpoint", names, key="finding.test.at")
