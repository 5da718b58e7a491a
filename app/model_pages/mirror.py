"""How old the lists are: when the registry was last read, whether it is read now, and what keeps it from being read."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.kit import components, feedback, times
from app.kit.live import live
from app.kit.plain import escape, plural
from app.kit.states import badge
from backend.registry import freshness
from backend.registry.freshness import Reading

_SILENT_SECONDS = 60.0


def connected() -> bool:
    """Whether a registry is configured."""
    return wiring.backend().settings.mlflow_url is not None


def state(reading: Reading, *, has_registry: bool) -> str:
    """The mirror's state, by what matters most to whoever reads a list."""
    if not has_registry and reading.read_at is None:
        return "none"
    if reading.is_working:
        return "reading"
    if reading.failures:
        return "failing"
    if reading.read_at is None:
        return "never"
    return "stale" if reading.is_stale else "fresh"


def says(reading: Reading, look: wiring.Reading, *, has_registry: bool) -> str:
    """One line: when, how much, and why it is not newer. Markdown."""
    parts = [f"MLflow read {times.both(reading.read_at, look.now)}" if reading.read_at else "MLflow was not read yet"]
    if reading.is_counted and reading.whole_at is not None:
        parts.append(f"{plural(reading.models, 'model')} with {plural(reading.versions, 'version')} at the last whole look")
    if reading.runs_left:
        parts.append(f"{reading.runs_left:,} runs still to be read")
    if why := _why(reading, look, has_registry=has_registry):
        parts.append(why)
    return " · ".join(parts)


def _why(reading: Reading, look: wiring.Reading, *, has_registry: bool) -> str:
    """What keeps the lists from being newer, if anything does. Markdown."""
    if not has_registry:
        return "no MLflow is configured for this process (COUNTERSIGN\\_MLFLOW\\_URL)"
    if reading.failures:
        again = f", next try {times.age(reading.due_at, look.now)}" if reading.due_at and reading.due_at > look.now else ""
        return f"failed {reading.failures} times: {escape(reading.error)}{again}"
    if not is_watched(reading, look):
        silent = times.age(reading.beat_at, look.now) if reading.beat_at else "never"
        return f"no worker runs that could read it (last seen: {silent})"
    return ""


def is_watched(reading: Reading, look: wiring.Reading) -> bool:
    """Whether a worker lives that could read the registry."""
    return reading.beat_at is not None and (look.now - reading.beat_at).total_seconds() < _SILENT_SECONDS


def line() -> None:
    """The line under a list's header, drawn anew every few seconds."""
    live(_line)()


def _line() -> None:
    with wiring.reading() as look:
        found = freshness.reading(look.session, look.now)
    shown = badge("mirror", state(found, has_registry=connected()))
    st.markdown(f"{shown} :small[:gray[{says(found, look, has_registry=connected())}]]")


def ask(model: str | None = None) -> None:
    """Has everything, or one model, read now."""
    what = escape(model, 60) if model else "The registry"
    feedback.act(
        lambda: wiring.backend().mirror.ask(identity.current(), model),
        f"{what} will be read at once; the line under the header says when that is done.",
    )


def may_ask(mine: identity.Rights) -> bool:
    """Whether whoever looks may have the registry read now."""
    return connected() and mine.may("registry.refresh")


def why_not(mine: identity.Rights) -> str | None:
    """Why not; None where they may."""
    if may_ask(mine):
        return None
    return "Viewers and auditors cannot ask for it." if connected() else "No MLflow is configured for this process."


def nothing_mirrored(*, may_register: bool) -> bool:
    """The empty list of an installation that has not seen its registry yet. Returns whether the way to register was taken."""
    if not connected():
        components.empty(
            "No MLflow is configured",
            "Countersign lists what your MLflow registry holds. Set COUNTERSIGN\\_MLFLOW\\_URL to its address (and "
            "COUNTERSIGN\\_MLFLOW\\_TOKEN where it asks for one) for the web app and the worker, then start both again.",
            icon="link_off",
        )
        return False
    return components.empty(
        "No model has been read yet",
        "The worker reads MLflow once a minute; the line above says how that goes. Where MLflow is empty, log a model there, "
        "or upload one here.",
        icon="deployed_code",
        step="Register a version" if may_register else "",
        key="nothing",
    )
