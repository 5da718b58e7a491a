"""Keys under which somebody proposes, so that a request which is sent again, after a time-out say, has one effect.

Source of the idea: the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from backend.changes.rows import Change, ProposalKey
from backend.core.canonical import digest
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit

_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True)
class Claim:
    """One request under a key of one identity."""

    identity_id: str
    key: str
    request_digest: str


def claimed(actor: Actor, key: str | None, asked: Sequence[Any]) -> Claim | None:
    """What a request claims; None without a key. Refusal for a text that is none."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Refusal(
            "This cannot be the key of a request.", "Use up to 128 letters, digits, `_`, `.`, `:` and `-`.", code="bad-key"
        )
    return Claim(actor.id, key, digest(list(asked)))


def made_under(session: Session, claim: Claim | None) -> Change | None:
    """The change that this very request made before, as it is now. Refusal where another request used the key."""
    row = session.get(ProposalKey, (claim.identity_id, claim.key)) if claim is not None else None
    if row is None or claim is None:
        return None
    change = session.get_one(Change, row.change_id)
    if row.request_digest != claim.request_digest:
        raise Refusal(
            f"Change {change.number} was proposed under this key, and with something else in it.",
            "Use a new key for a new request.",
            code="key-used",
        )
    return change


def keep(tx: Unit, claim: Claim | None, change: Change) -> None:
    """Joins the unit that makes the change. Numbers are given one at a time, so that nobody else writes this key meanwhile."""
    if claim is not None:
        tx.session.flush()  # the change first: the key points to it
        at = tx.now
        tx.add(ProposalKey(**vars(claim), change_id=change.id, at=at))
