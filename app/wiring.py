"""The one cached backend behind every page and the API of this process, and how a page looks into it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import streamlit as st
import structlog
from sqlmodel import Session

from backend import bootstrap
from backend.access.checks import see_as
from backend.api.readiness import lacks
from backend.bootstrap import Backend
from backend.cli.output import quiet_logs
from backend.core.context import Actor

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds `app/` and `pages/`."""

_SEES = "wiring.sees"

_making = threading.Lock()
_ready = threading.Event()


def backend() -> Backend:
    """Every service, made once a process; nothing connects before its first use."""
    with _making:
        return _made()


@cache
def _made() -> Backend:
    settings = bootstrap.read_settings()
    if not structlog.is_configured():  # `python -m app` has done it, with secrets blotted out
        quiet_logs(settings.log_level)
    return bootstrap.build(settings)


def interval() -> timedelta:
    """How often a server is looked at: older looks say less."""
    return timedelta(seconds=backend().settings.observe_seconds)


def scrape_interval() -> timedelta:
    """How often figures of latency and errors are read: a source that nobody has read for longer is late."""
    return timedelta(seconds=backend().settings.scrape_seconds)


def require_ready() -> None:
    """Refusal while the database is missing or of another schema; asked until it is ready, then never again."""
    if _ready.is_set():
        return
    if (lacking := lacks(backend())) is not None:
        raise lacking
    _ready.set()


def forget() -> None:
    """Closes the backend and makes the next one anew from the settings; for tests."""
    with _making:
        if _made.cache_info().currsize:
            _made().close()
        _made.cache_clear()
        _ready.clear()


@dataclass(frozen=True)
class Reading:
    """One consistent look: a read-only session, and the database's time at which it was opened."""

    session: Session
    now: datetime


@contextmanager
def reading(actor: Actor | None = None) -> Iterator[Reading]:
    """A look for one page or one fragment, which shows what whoever acts in this session may see.

    Take out values, not rows that would load more later.

    Args:
        actor: for a file that is made when somebody fetches it, outside every session: for whom.
    """
    database = backend().database
    with database.read() as session:
        now = database.now(session)
        see_as(session, actor if actor is not None else st.session_state.get(_SEES), now=now)
        yield Reading(session, now)


def look_as(actor: Actor | None) -> None:
    """From now on looks of this session show what this actor may see; nothing at all for nobody."""
    st.session_state[_SEES] = actor
