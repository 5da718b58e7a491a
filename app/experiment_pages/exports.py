"""Files of an experiment's raw aggregates: counted anew when they are fetched, for whoever fetches them."""

from __future__ import annotations

import json
from collections.abc import Callable

import streamlit as st

from app import acting, identity, wiring
from app.experiment_pages.seen import Seen
from app.kit import export
from backend.core.context import Actor
from backend.experiments.comparing.aggregates import COLUMNS, Aggregates


def menu(seen: Seen) -> None:
    """Both files behind one button."""
    line, actor = seen.view.line, identity.current()
    with st.popover("Export", icon=":material/download:"):
        st.markdown(":small[:gray[Sums over units by arm, metric and segment, of which every figure can be made again.]]")
        csv = as_csv(actor, line.endpoint, line.slug)
        export.download("Raw aggregates, CSV", f"{line.slug}-aggregates.csv", csv, key="export.csv")
        st.download_button(
            "Raw aggregates, JSON",
            data=acting.while_here(as_json(actor, line.endpoint, line.slug)),
            file_name=f"{line.slug}-aggregates.json",
            mime="application/json",
            key="export.json",
            icon=":material/download:",
            on_click="ignore",
        )


def as_csv(actor: Actor, endpoint: str, slug: str) -> Callable[[], bytes]:
    """What makes the table: one row for each metric of each arm in each generation and segment."""

    def make() -> bytes:
        rows = (one.to_json() for one in _counted(actor, endpoint, slug).rows)
        return export.to_csv(COLUMNS, ([one[name] for name in COLUMNS] for one in rows))

    return make


def as_json(actor: Actor, endpoint: str, slug: str) -> Callable[[], bytes]:
    """What makes the same as JSON."""

    def make() -> bytes:
        return json.dumps(_counted(actor, endpoint, slug).to_json(), indent=1).encode()

    return make


def _counted(actor: Actor, endpoint: str, slug: str) -> Aggregates:
    return wiring.backend().aggregating.of(actor, endpoint, slug)
