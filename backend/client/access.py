"""`client.identities`, `.teams`, `.requests`, `.tokens`, `.bindings`, `.data_sets`: who there is, who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import (
    AdminsLeft,
    Binding,
    Bound,
    DataSetGrant,
    Grant,
    Identity,
    Issuer,
    Known,
    NewToken,
    Request,
    Settled,
    Team,
    Token,
    Touched,
)
from backend.client.shapes import read
from backend.client.wire import Wire


class Identities:
    """People and services, and which roles they hold."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, **narrow: Any) -> tuple[Identity, ...]:
        """Everybody, with roles; narrowed by `text`, `kind`, `role`, `active`, `demo`, or `group` and `provider`."""
        return tuple(Pages(self._wire, Identity, "identities").all(limit=MOST, **narrow))

    def show(self, name: str) -> Identity:
        """One person or service."""
        return read(Identity, self._wire.get("identities", name).content)

    def known(self, name: str) -> Known:
        """What is known of somebody besides: of oneself, or of anybody for an admin."""
        return read(Known, self._wire.get("identities", name, "known").content)

    def create(self, name: str, *, owner: str | None = None, display_name: str = "") -> Identity:
        """Creates a person, or a service where it has an owner; without any role yet."""
        kind = "service" if owner is not None else "person"
        sent = {"name": name, "kind": kind, "owner": owner, "display_name": display_name}
        return read(Identity, self._wire.send("POST", ("identities",), sent=sent, key="").content)

    def deactivate(self, name: str, reason: str = "") -> None:
        """Refuses every command of an identity, and every token of its, from now on."""
        self._wire.send("POST", ("identities", name, "deactivate"), sent={"reason": reason}, again=True)

    def activate(self, name: str, reason: str = "") -> None:
        """An identity that was deactivated counts again, with the roles that it still has."""
        self._wire.send("POST", ("identities", name, "activate"), sent={"reason": reason}, again=True)

    def hand_over(self, name: str, owner: str) -> Settled:
        """Hands a service to another owner; where its roles reach changes that need approvals, a second admin confirms it."""
        return read(Settled, self._wire.send("POST", ("identities", name, "owner"), sent={"owner": owner}, again=True).content)

    def grants(self, **narrow: Any) -> tuple[Grant, ...]:
        """Every grant, ended ones included, with who gave it; narrowed by `identity`, `role`, `scope` or `ends`."""
        return tuple(Pages(self._wire, Grant, "grants").all(limit=MOST, **narrow))

    def admins(self) -> AdminsLeft:
        """How long there is an admin everywhere, and what to do before nobody is."""
        return read(AdminsLeft, self._wire.get("grants", "admins").content)

    def grant(self, name: str, role: str, scope: str = "*", *, expires_at: datetime | None = None) -> Settled:
        """Gives a role; where changes need approvals, a second admin has to confirm it."""
        sent = {"identity": name, "role": role, "scope": scope}
        sent |= {} if expires_at is None else {"expires_at": expires_at.isoformat()}
        return read(Settled, self._wire.send("POST", ("grants",), sent=sent, key="").content)

    def take_back(self, name: str, role: str, scope: str = "*", *, reason: str = "") -> None:
        """Ends a role at once."""
        sent = {"identity": name, "role": role, "scope": scope, "reason": reason}
        self._wire.send("POST", ("grants", "take-back"), sent=sent)


class Teams:
    """Teams, who belongs to them, and what they own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Team, ...]:
        """Teams by name, without retired ones."""
        return tuple(Pages(self._wire, Team, "teams").all(limit=MOST))

    def show(self, name: str) -> Team:
        """One team, retired or not."""
        return read(Team, self._wire.get("teams", name).content)

    def create(self, name: str, title: str = "") -> Team:
        """A new team without members."""
        return read(Team, self._wire.send("POST", ("teams",), sent={"name": name, "title": title}, key="").content)

    def rename(self, name: str, to: str, title: str | None = None) -> Team:
        """Another name or title."""
        sent = {"name": to, "title": title}
        return read(Team, self._wire.send("POST", ("teams", name, "rename"), sent=sent).content)

    def retire(self, name: str) -> Team:
        """Ends a team that owns nothing any more."""
        return read(Team, self._wire.send("POST", ("teams", name, "retire")).content)

    def add_member(self, name: str, identity: str) -> Team:
        """Somebody belongs to it from now on."""
        return read(Team, self._wire.send("PUT", ("teams", name, "members", identity)).content)

    def remove_member(self, name: str, identity: str) -> Team:
        """Somebody does not belong to it any more."""
        return read(Team, self._wire.send("DELETE", ("teams", name, "members", identity)).content)

    def set_owner(self, kind: str, name: str, team: str | None) -> Settled:
        """Gives a `model` or an `endpoint` to a team, or to none."""
        sent = {"kind": kind, "name": name, "team": team}
        return read(Settled, self._wire.send("POST", ("teams", "owner"), sent=sent).content)


class Requests:
    """What waits for a second person."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, *, settled: bool = False) -> tuple[Request, ...]:
        """What waits, the oldest first; `settled`: with what was settled or ran out, the newest first."""
        return tuple(Pages(self._wire, Request, "requests").all(settled=settled or None, limit=MOST))

    def show(self, request: str) -> Request:
        """One request whole."""
        return read(Request, self._wire.get("requests", request).content)

    def touched(self, request: str) -> tuple[Touched, ...]:
        """Whom a mapping that is asked for would give its role to, as far as is known; nobody for other requests."""
        return tuple(Pages(self._wire, Touched, "requests", request, "touched").all(limit=MOST))

    def confirm(self, request: str, reason: str = "") -> Request:
        """Confirms what somebody else asked for; it is done at once."""
        sent = {"reason": reason}
        return read(Request, self._wire.send("POST", ("requests", request, "confirm"), sent=sent).content)

    def refuse(self, request: str, reason: str) -> Request:
        """Refuses it, or takes back what one asked for."""
        return read(Request, self._wire.send("POST", ("requests", request, "refuse"), sent={"reason": reason}).content)


class Tokens:
    """Tokens by which programs act."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, *, everybody: bool = False, identity: str | None = None) -> tuple[Token, ...]:
        """One's own and those of one's services, the newest first; everybody's, for an admin; of these one identity's."""
        narrow: dict[str, Any] = {"everybody": everybody or None, "identity": identity}
        return tuple(Pages(self._wire, Token, "tokens").all(limit=MOST, **narrow))

    def create(
        self, name: str, *, identity: str | None = None, lifetime_seconds: int, role: str | None = None, scope: str = "*"
    ) -> NewToken:
        """A new token, at most `role` in `scope`; never sent again by itself: one whose answer was lost is to be revoked."""
        sent: dict[str, Any] = {"name": name, "lifetime_seconds": lifetime_seconds, "role": role, "scope": scope}
        sent |= {} if identity is None else {"identity": identity}
        return read(NewToken, self._wire.send("POST", ("tokens",), sent=sent).content)

    def revoke(self, token: str) -> None:
        """Ends a token, named by its id, at once."""
        self._wire.send("DELETE", ("tokens", token))


class Bindings:
    """Which builds and machine clients act as which service, without a secret to keep."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, *, ended: bool = False) -> tuple[Binding, ...]:
        """Every binding, the newest first; `ended`: ended ones too."""
        return tuple(Pages(self._wire, Binding, "bindings").all(ended=ended or None, limit=MOST))

    def show(self, binding: str) -> Binding:
        """One binding, ended or not."""
        return read(Binding, self._wire.get("bindings", binding).content)

    def issuers(self) -> tuple[Issuer, ...]:
        """The issuers whose tokens are taken, as the server's settings say."""
        return tuple(Pages(self._wire, Issuer, "bindings", "issuers").all(limit=MOST))

    def make(
        self,
        service: str,
        profile: str,
        claims: Mapping[str, str],
        *,
        role: str | None = None,
        scope: str = "*",
        expires_at: datetime | None = None,
    ) -> Bound:
        """Lets tokens of an issuer that say all of `claims` act as a service, as at most `role` in `scope`."""
        sent: dict[str, Any] = {"service": service, "profile": profile, "claims": dict(claims), "role": role, "scope": scope}
        sent |= {} if expires_at is None else {"expires_at": expires_at.isoformat()}
        return read(Bound, self._wire.send("POST", ("bindings",), sent=sent, key="").content)

    def end(self, binding: str, reason: str = "") -> Binding:
        """Ends a binding at once: the next request of its tokens is refused."""
        return read(Binding, self._wire.send("DELETE", ("bindings", binding), query={"reason": reason}).content)


class DataSets:
    """Who may read recorded requests row by row, and reading them, which the ledger notes each time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def grants(self, *, mine: bool = False) -> tuple[DataSetGrant, ...]:
        """Who may read which data set until when, ended grants included; `mine`: one's own, for which no role is needed."""
        return tuple(Pages(self._wire, DataSetGrant, "data-sets", "grants").all(limit=MOST, mine=mine or None))

    def grant(self, data_set: str, *, until: datetime, identity: str | None = None, team: str | None = None) -> str:
        """Lets an identity, or a team's members, read a data set; its id."""
        sent = {"data_set": data_set, "identity": identity, "team": team, "until": until.isoformat()}
        return str(self._wire.send("POST", ("data-sets", "grants"), sent=sent, key="").content["id"])

    def take_back(self, grant: str) -> None:
        """Ends a grant at once."""
        self._wire.send("DELETE", ("data-sets", "grants", grant))

    def probes(self, model: str, number: int, *, limit: int = 100) -> tuple[dict[str, Any], ...]:
        """Recorded requests inside a version's package."""
        return tuple(self._wire.get("models", model, "versions", number, "recorded", limit=limit).content["rows"])

    def requests(self, endpoint: str, start: datetime, end: datetime, *, limit: int = 100) -> tuple[dict[str, Any], ...]:
        """Requests that an endpoint was asked."""
        span = {"start": start.isoformat(), "end": end.isoformat(), "limit": limit}
        return tuple(self._wire.get("endpoints", endpoint, "requests", **span).content["rows"])
