"""Findings that are not over, beside what they are about: each part of the page says which there are, with the way to them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.kit import links, states
from app.kit.plain import plural
from app.wiring import Reading
from backend.findings import queries
from backend.findings.queries import FindingLine
from backend.findings.rules import LIVE

MOST, MOST_READ = 4, 100


def draw(look: Reading, endpoint: str, *families: str, feature: str = "") -> None:
    """Links to findings of these families (`drift`, `slo`) at the endpoint, of one feature where one is named; else nothing."""
    shown = queries.page(look.session, queries.Filters(states=LIVE, endpoint=endpoint), limit=MOST_READ)
    about = among(shown.items, families, feature)
    if not about:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":small[:gray[{plural(len(about), 'finding')} about this:]]", width="content")
        for one in about[:MOST]:
            links.to_finding(one.number, f"{one.number}, {states.look('severity', one.severity).word.lower()}")
        if len(about) > MOST:
            links.to_findings(endpoint, f"and {len(about) - MOST} more")


def among(lines: Sequence[FindingLine], families: Sequence[str], feature: str = "") -> list[FindingLine]:
    """Those of these families, or of these very kinds, and of the feature where one is named."""
    return [
        one
        for one in lines
        if (one.kind in families or one.kind.partition(".")[0] in families)
        and (not feature or one.subject.startswith(f"{feature} of version "))
    ]
