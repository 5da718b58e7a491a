"""What the ledger's subjects are called: the ledger holds ids, people know names. Only ids of the shown rows are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlmodel import Session, col, select

from backend.access.rows import Team
from backend.changes.rows import Change
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.evidence.rows import Evidence
from backend.findings.rows import Finding
from backend.registry.rows import Model, Version
from backend.rollouts.rows import Rollout

QUIET = frozenset(
    ("evidence.begin", "evidence.request", "evidence.passed", "generation.admit", "generation.bake", "package.store",
     "endpoint.attempt", "endpoint.route", "alias.want", "change.draw", "data_set.read", "authorization.grant", "rollout.wait",
     "change.wait", "inference_log.expire")
)  # fmt: skip
"""Steps on the way, which say nothing to whoever asks what changed lately."""


class Told(Protocol):
    """Whatever is about a subject of the ledger: a row of it, or a message."""

    @property
    def subject_kind(self) -> str:
        """Kind of thing."""

    @property
    def subject_id(self) -> str:
        """Its id."""


def names(session: Session, events: Iterable[Told]) -> dict[str, str]:
    """Subject id -> what people call it, for the rows of a page; one query a kind that occurs."""
    ids: dict[str, set[str]] = {}
    for one in events:
        ids.setdefault(one.subject_kind, set()).add(one.subject_id)
    endpoints = (
        ids.get("endpoint", set())
        | ids.get("inference_log", set())
        | {one.partition("/")[0] for one in ids.get("generation", ())}
    )
    found = _plain(session, Endpoint, endpoints) | _plain(session, Server, ids.get("server", set()))
    found |= _plain(session, RouterRow, ids.get("router", set())) | _plain(session, Team, ids.get("team", set()))
    found |= _plain(session, Model, ids.get("model", set()))
    found |= {key: f"{found.get(key.partition('/')[0], key)} {key.partition('/')[2]}" for key in ids.get("generation", ())}
    found |= _findings(session, ids.get("finding", set()))
    return found | _changes(session, ids) | _versions(session, ids.get("version", set())) | _rollouts(session, ids)


def _plain(session: Session, table: Any, ids: set[str]) -> dict[str, str]:
    return dict(session.exec(select(table.id, table.name).where(table.id.in_(ids))).all()) if ids else {}


def _changes(session: Session, ids: Mapping[str, set[str]]) -> dict[str, str]:
    wanted = ids.get("change", set())
    query = select(Change.id, Change.number, Change.title).where(col(Change.id).in_(wanted))
    found = {key: f"#{number} {title}" for key, number, title in session.exec(query)} if wanted else {}
    if checks := ids.get("evidence"):
        asked = select(Evidence.id, Evidence.gate, Change.number).join(Change, col(Change.id) == Evidence.change_id)
        rows = session.exec(asked.where(col(Evidence.id).in_(checks)))
        found |= {key: f"{gate.replace('_', ' ')} of #{number}" for key, gate, number in rows}
    return found


def _findings(session: Session, ids: set[str]) -> dict[str, str]:
    rows = session.exec(select(Finding.id, Finding.number).where(col(Finding.id).in_(ids))) if ids else ()
    return {key: f"#{number}" for key, number in rows}


def _versions(session: Session, ids: set[str]) -> dict[str, str]:
    query = select(Version.id, Model.name, Version.number).join(Model, col(Model.id) == Version.model_id)
    rows = session.exec(query.where(col(Version.id).in_(ids))) if ids else ()
    return {key: f"{number} of {model}" for key, model, number in rows}


def _rollouts(session: Session, ids: Mapping[str, set[str]]) -> dict[str, str]:
    wanted = ids.get("rollout", set())
    query = select(Rollout.id, Endpoint.name).join(Endpoint, col(Endpoint.id) == Rollout.endpoint_id)
    return dict(session.exec(query.where(col(Rollout.id).in_(wanted))).all()) if wanted else {}
