"""What `/servers` and `/routers` have alike: rows that people know by their names, with a place, settings and a credential."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, SecretStr, Strict, StringConstraints
from sqlmodel import Session, col, select

from backend.api.asking import Asks, Plain, Reading, Sent
from backend.api.tags import Held
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.delivery.rows import RouterRow, Server
from backend.delivery.servers import MAX_CREDENTIAL

V = TypeVar("V")
Kind = Annotated[str, StringConstraints(min_length=1, max_length=40), Plain]
Place = Annotated[str, StringConstraints(min_length=1, max_length=2_000), Plain]
Credential = Annotated[
    SecretStr,
    Strict(False),
    Field(max_length=MAX_CREDENTIAL, description="Sealed to the worker's key at once; no answer ever tells it."),
]
CredentialFrom = Annotated[
    str,
    StringConstraints(max_length=300),
    Plain,
    Field(description="`file:NAME` or `env:NAME`: kept by the administrator where the worker runs.", examples=["file:triton"]),
]
Forgetting = Annotated[bool, Field(description="Whether the credential that there is shall be forgotten.")]


class WithCredential(Sent):
    """What is sent of one, whose credential may be entered or referred to."""

    credential: Credential | None = None
    credential_from: CredentialFrom | None = None

    def told(self) -> dict[str, Any]:
        """As the services take it."""
        secret = self.credential.get_secret_value() if self.credential is not None else None
        return {**self.model_dump(exclude={"credential"}), "credential": secret}


@dataclass(frozen=True)
class Placed(Generic[V]):
    """The rows of one table, each shown in one form.

    Args:
        find: what is shown of the one of a name; None where there is none.
    """

    table: type[Server] | type[RouterRow]
    find: Callable[[Session, str], V | None]

    def view(self, asks: Asks, name: str) -> V:
        """One as it is now. NotFound."""
        with asks.reading("endpoint.read") as look:
            return self._shown(name)(look, asks.actor)

    def seen(self, held: Held, name: str, *, needed: bool = True) -> AbstractContextManager[None]:
        """What is done within is done only to what the caller saw; `needed`: who does not say what he saw does nothing."""
        rows = select(col(self.table.id)).where(col(self.table.name) == name)
        return held.held("endpoint.read", self._shown(name), rows, needed=needed)

    def revision(self, asks: Asks, name: str) -> int:
        """The present one: whether it is what the caller saw is compared in the unit."""
        with asks.backend.database.read() as session:
            found = session.exec(select(col(self.table.revision)).where(col(self.table.name) == name)).one_or_none()
        return found if found is not None else 0

    def _shown(self, name: str) -> Callable[[Reading, Actor], V]:
        def shown(look: Reading, _actor: Actor) -> V:
            found = self.find(look.session, name)
            if found is None:
                raise NotFound(str(self.table.__subject__), name[:80])
            return found

        return shown
