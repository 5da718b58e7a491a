"""Model cards: what a team says of a model, revision by revision, beside what the registry says.

A card is somebody's Markdown. It is kept as it was written; whoever draws it makes it harmless first (`app.kit.plain.card`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.access.queries import some_people
from backend.core.canonical import digest_bytes
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound
from backend.core.unit import Unit
from backend.registry import rules
from backend.registry.rows import Model, ModelCard
from backend.registry.signatures import clean


@dataclass(frozen=True)
class CardView:
    """One revision: its text, the SHA-256 of that text, what was changed in it, by whom and when."""

    revision: int
    text: str
    digest: str
    summary: str
    written_by: str
    written_by_name: str
    written_at: datetime


class Cards:
    """Commands on model cards.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, actor: Actor, model: str, text: str, *, revision: int, summary: str = "") -> int:
        """Makes this text the card's next revision and returns its number; the same text again changes nothing.

        Args:
            revision: the one that the writer looked at, 0 for none. StaleWrite when somebody wrote another meanwhile.
        """
        text, summary = clean(text), clean(summary).strip()
        rules.check_card(text, summary)
        with self._database.unit(actor) as tx:
            require(tx, actor, "card.write", model=model)
            row = _locked(tx, model)
            newest = _newest(tx.session, row.id)
            if newest is not None and newest.text == text:
                return newest.revision
            return _append(tx, row, newest, text, summary, revision)


def card(session: Session, model: str, revision: int | None = None) -> CardView | None:
    """The card as it is, or as it was in a revision; None where nobody has written one. NotFound for another revision."""
    query = select(ModelCard).join(Model).where(Model.name == clean(model)).order_by(col(ModelCard.revision).desc())
    if revision is not None:
        query = query.where(ModelCard.revision == revision)
    found = session.exec(query.limit(1)).first()
    if found is None and revision is not None:
        raise NotFound("revision of this card", str(revision), "Open the card's history.")
    return _views(session, [found])[0] if found is not None else None


def history(session: Session, model: str, *, limit: int = 100) -> tuple[CardView, ...]:
    """Revisions, the newest first."""
    query = select(ModelCard).join(Model).where(Model.name == clean(model)).order_by(col(ModelCard.revision).desc())
    return _views(session, session.exec(query.limit(limit)))


def _locked(tx: Unit, model: str) -> Model:
    """The model, locked on PostgreSQL: two who write its card come one after the other."""
    found = tx.session.exec(select(Model).where(Model.name == clean(model)).with_for_update()).one_or_none()
    if found is None:
        raise NotFound("model", model, "Wait for the next look at the registry, or check its name.")
    return found


def _newest(session: Session, model_id: str) -> ModelCard | None:
    query = select(ModelCard).where(ModelCard.model_id == model_id).order_by(col(ModelCard.revision).desc())
    return session.exec(query.limit(1)).first()


def _append(tx: Unit, model: Model, newest: ModelCard | None, text: str, summary: str, revision: int) -> int:
    current = newest.revision if newest is not None else 0
    rules.check_revision(model.name, current, revision)
    row = ModelCard(
        id=tx.new_id("crd"),
        model_id=model.id,
        revision=current + 1,
        text=text,
        digest=digest_bytes(text.encode()),
        summary=summary,
        written_by=tx.actor.id,
        written_at=tx.now,
    )
    tx.add(row)
    before = newest.facts("revision", "digest") if newest is not None else None
    tx.record("card.write", row, before=before, after={"model": model.name, **row.facts("revision", "digest", "summary")})
    return row.revision


def _views(session: Session, rows: Iterable[ModelCard]) -> tuple[CardView, ...]:
    found = list(rows)
    if not found:
        return ()
    people = some_people(session, {row.written_by for row in found}, now=found[0].written_at)
    return tuple(_view(row, people[row.written_by].name if row.written_by in people else row.written_by) for row in found)


def _view(row: ModelCard, name: str) -> CardView:
    return CardView(row.revision, row.text, row.digest, row.summary, row.written_by, name, row.written_at)
