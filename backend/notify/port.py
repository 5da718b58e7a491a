"""What this room has to know of things that stand above it: what a row of the ledger is about, and who is asked for a vote."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlmodel import Session


@dataclass(frozen=True)
class About:
    """What a message is about, as it is now.

    Args:
        label: what it is called in a sentence ("Change 7", "The endpoint flight-delay"), of ours alone.
        title: what somebody called it; anything may stand there.
        number: of a change, for its address and for subscriptions to it.
        state: of a change, as it is now.
        until: when a change expires unless it is decided.
        page, query: the page that shows it, and one thing in its address.
        server, table: where it is a server or router: its name, and which of the two.
        finding, severity: of a finding: its number, and how severe it is now.
        owner_id, owner_team_id: whose it is, where it is somebody's: a person's id, or a team's.
    """

    label: str
    title: str = ""
    environment: str | None = None
    model: str | None = None
    endpoint: str | None = None
    number: int | None = None
    state: str = ""
    until: datetime | None = None
    page: str = ""
    query: tuple[str, str] | None = None
    server: str | None = None
    table: str = "server"
    finding: int | None = None
    severity: str = ""
    owner_id: str | None = None
    owner_team_id: str | None = None


class Subjects(Protocol):
    """What stands above."""

    def about(self, session: Session, kind: str, identifier: str) -> About | None:
        """What a subject of the ledger is; None when it is not there any more, or nothing that is known here."""
        ...

    def voters(self, session: Session, change_id: str, now: datetime) -> Collection[str]:
        """Ids of the people who may vote on a change now and have not done so."""
        ...

    def requesters(self, session: Session, subject_id: str) -> Collection[str]:
        """Ids of whoever asked for a change or edited it; by its id, or by that of its rollout."""
        ...

    def approvers(self, session: Session, subject_id: str) -> Collection[str]:
        """Ids of the people whose votes carried the approval of a change, or of a rollout's."""
        ...
