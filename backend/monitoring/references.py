"""Reference profiles of versions: set by whoever has the data, kept as aggregates, read by those who count and judge."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.core import work
from backend.core.canonical import digest_bytes
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint
from backend.drift.profile import Profile
from backend.drift.stored import profile_bytes, profile_from
from backend.monitoring.rows import ProfileContent, ReferenceProfile
from backend.registry.rows import Model, Version

COUNT = "count"
"""The kind of the work items by which hours are counted; their keys are endpoints' ids."""
MOST_BYTES = 8 << 20
MAX_SOURCE = 200
_HELD = 16


class ReferenceProfiles:
    """Commands on reference profiles."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self, actor: Actor, model: str, version: int, content: bytes, *, source: str = "", revision: int | None = None
    ) -> ReferenceProfile:
        """Says what a version was made from. Again it changes nothing; another one in its place takes an operator.

        Args:
            content: as `drift.stored.profile_bytes` makes it, where the data are: no row of them comes here.
            source: what it was made from, in words.
        Refusal codes: not-allowed, not-found, bad-profile, too-large, stale-write.
        """
        if len(content) > MOST_BYTES:
            raise Refusal(
                f"A profile has at most {MOST_BYTES >> 20} MiB.", "Leave out columns that are no features.", code="too-large"
            )
        profile = profile_from(content)
        words = " ".join(source.split())[:MAX_SOURCE]
        with self._database.unit(actor) as tx:
            _refuse_unknown(tx, actor, model, version)
            row = _locked(tx, model, version)
            if row is not None and row.content_digest == digest_bytes(content):
                return row
            require(tx, actor, "profile.add" if row is None else "profile.replace", model=model)
            if row is not None:
                tx.expect(row, revision)
            return put(tx, row, model, version, content, profile, words or "the data that it was trained on", actor.id)


def put(
    tx: Unit, row: ReferenceProfile | None, model: str, version: int, content: bytes, profile: Profile, source: str, by: str
) -> ReferenceProfile:
    """Writes a profile, instead of the one in `row`. Joins a unit."""
    before = _facts(row) if row is not None else None
    told: dict[str, Any] = {
        "digest": profile.layout.digest,
        "content_digest": digest_bytes(content),
        "rows": profile.counts.rows,
        "columns": len(profile.layout.features),
        "timed": bool(profile.variations),
        "source": source,
        "set_by": by,
        "set_at": tx.now,
    }
    if row is None:
        row = tx.add(ReferenceProfile(id=tx.new_id("prf"), model=model, version=version, **told))
        tx.session.flush()
        tx.add(ProfileContent(profile_id=row.id, content=content))
    else:
        for name, value in told.items():
            setattr(row, name, value)
        tx.session.get_one(ProfileContent, row.id).content = content
    tx.record("reference_profile.set", row, before=before, after={"model": model, "version": version, **_facts(row)})
    tx.session.flush()
    endpoints = tx.session.exec(select(Endpoint.id).where(Endpoint.model == model)).all()
    work.wake_many(tx, COUNT, list(endpoints))
    return row


class Shelf:
    """Profiles by their content's digest, the latest ones kept: reading one takes some milliseconds."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Profile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, session: Session, row: ReferenceProfile) -> Profile:
        """The profile of a row."""
        with self._lock:
            if (found := self._held.get(row.content_digest)) is not None:
                self._held.move_to_end(row.content_digest)
                return found
        profile = profile_from(session.get_one(ProfileContent, row.id).content)
        with self._lock:
            self._held[row.content_digest] = profile
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return profile


def of_model(session: Session, model: str) -> Mapping[int, ReferenceProfile]:
    """The profiles of a model's versions."""
    query = select(ReferenceProfile).where(ReferenceProfile.model == model)
    return {row.version: row for row in session.exec(query.order_by(col(ReferenceProfile.version).desc()))}


def of_log(profile: Profile) -> bytes:
    """The bytes of a profile that was made here."""
    return profile_bytes(profile)


def _locked(tx: Unit, model: str, version: int) -> ReferenceProfile | None:
    query = select(ReferenceProfile).where(ReferenceProfile.model == model, ReferenceProfile.version == version)
    return tx.session.exec(query.with_for_update()).one_or_none()


def _refuse_unknown(tx: Unit, actor: Actor, model: str, version: int) -> None:
    """A version that is registered, or that an endpoint is known to serve. Whoever may not see the model learns nothing."""
    missing = NotFound("model", model[:80])
    require(tx, actor, "profile.add", model=model, missing=missing)
    query = select(Version.id).join(Model).where(Model.name == model, Version.number == version)
    if tx.session.exec(query).first() is None:
        raise NotFound("version", f"{model[:80]} {version}", "Register the version first.")


def _facts(row: ReferenceProfile) -> dict[str, object]:
    return row.facts("digest", "content_digest", "rows", "columns", "source")
