"""Servers and routers: where they are and how they are reached. A credential is named, never told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared
from backend.blueprints.faults import Fault
from backend.blueprints.kinds import Address, Around, Draft, Hands, Kind, Outcome, Right, Run, State, Step, direct, refused
from backend.blueprints.plan import FieldChange, changes_between
from backend.blueprints.specs import RouterSpec, ServerSpec
from backend.core.context import Actor
from backend.core.credentials import is_reference
from backend.core.errors import Refusal
from backend.delivery import moves
from backend.delivery.entered import entered
from backend.delivery.routers.names import router_type
from backend.delivery.rows import RouterRow, Server
from backend.delivery.targets.names import target_type

Row = Server | RouterRow
_Given = Mapping[str, Any]
"""What a command is given of a credential: `credential`, `credential_from`, or neither."""
UNREAD = "not read yet"
"""Stands for a credential while a plan is made, which needs none; applying refuses to go on without the real one."""


class _Commands(NamedTuple):
    """The commands on servers, or those on routers."""

    register: Callable[..., Row]
    edit: Callable[..., Row]
    remove: Callable[[Actor, str], None]


class _Places(Kind):
    """What the two have alike. A move under managed endpoints that need approvals waits for a second person."""

    table: ClassVar[type[Server] | type[RouterRow]]
    place: ClassVar[str]
    argument: ClassVar[str]
    """What the commands call the place."""
    order: ClassVar[int]
    removed: ClassVar[int]

    def states(self, session: Session) -> Mapping[str, State]:
        """By name."""
        table: Any = self.table
        rows: list[Row] = list(session.exec(select(table).order_by(table.name)))
        return {row.name: _state(row, self.place) for row in rows}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By name."""
        table: Any = self.table
        session.exec(select(table).where(col(table.name).in_(names)).order_by(table.id).with_for_update()).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """Kind, settings one by one, the place, and whether a credential is set."""
        given = declared.spec or {}
        before = state.spec if state is not None else {}
        kind = given.get("kind") or before.get("kind") or ""
        if state is None and (missing := [name for name in ("kind", self.place) if not given.get(name)]):
            return refused(declared, state, Fault(declared.where, f"A new {self.noun} needs `{missing[0]}`.", "Write it."))
        if state is not None and kind != before["kind"]:
            raise Refusal(
                f"The {self.noun} {declared.name} is of the kind {before['kind']}.", "Name another one.", code="fixed"
            )
        try:
            settings = entered(self._settings(kind), kind, {**before.get("settings", {}), **given.get("settings", {})})
        except Refusal as refusal:
            return refused(declared, state, _at_setting(declared, refusal))
        wanted = {"kind": kind, "settings": settings, self.place: given.get(self.place, before.get(self.place))}
        fields = changes_between(before, wanted)
        return self._draft(declared, state, around, wanted, fields)

    def _draft(
        self,
        declared: Declared,
        state: State | None,
        around: Around,
        wanted: Mapping[str, Any],
        fields: tuple[FieldChange, ...],
    ) -> Draft:
        if state is not None and _is_asked_for(state, wanted, self.place, around):
            return Draft(
                declared, True, fields, waits=(f"A move to there waits: `{self.noun} confirm-move`.",), mark=state.mark
            )
        secret = _Secret(declared, state, around, moved=bool(fields))
        if (lacks := secret.lacks()) is not None:
            return refused(declared, state, lacks, fields)
        fields += secret.fields
        if not fields:
            return Draft(declared, exists=True, mark=state.mark if state is not None else "")
        action = "server.register" if state is None else "server.edit"
        step = Step(self.order, Right(action), self._writing(declared.name, state, around, wanted, secret.given))
        where = Address(self.noun, str(wanted["kind"]), wanted["settings"], str(wanted[self.place]))
        mark = state.mark if state is not None else ""
        unread = secret.given.get("credential") == UNREAD
        return Draft(declared, state is not None, fields, (step,), address=where, mark=mark, lacks_credential=unread)

    @abstractmethod
    def _settings(self, kind: str) -> type[BaseModel]:
        """The adapter's own settings. Refusal for an unknown kind."""

    @abstractmethod
    def _commands(self, hands: Hands) -> _Commands:
        """What registers, edits and forgets one."""

    def _writing(self, name: str, state: State | None, around: Around, wanted: Mapping[str, Any], given: _Given) -> Run:
        """Registers or edits it."""
        told = {"settings": wanted["settings"], self.argument: str(wanted[self.place]), **given}

        def run(hands: Hands) -> Outcome:
            commands = self._commands(hands)
            if state is None:
                commands.register(around.actor, name=name, kind=str(wanted["kind"]), **told)
                return Outcome()
            row = commands.edit(around.actor, name, revision=int(state.mark), **told)
            return Outcome("move") if row.move is not None else Outcome()

        return run

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """After the endpoints that stood there."""
        run = direct(lambda hands: self._commands(hands).remove(around.actor, declared.name))
        return Step(self.removed, Right("server.remove"), run)


class ServerKind(_Places):
    """See `delivery.servers`."""

    name: ClassVar[str] = "Server"
    noun: ClassVar[str] = "server"
    spec: ClassVar[type[BaseModel]] = ServerSpec
    table: ClassVar[type[Server] | type[RouterRow]] = Server
    place: ClassVar[str] = "upstream"
    argument: ClassVar[str] = "upstream"
    order: ClassVar[int] = 30
    removed: ClassVar[int] = 85

    def _settings(self, kind: str) -> type[BaseModel]:
        return target_type(kind).Settings

    def _commands(self, hands: Hands) -> _Commands:
        return _Commands(hands.servers.register, hands.servers.edit, hands.servers.remove)


class RouterKind(_Places):
    """See `delivery.servers`."""

    name: ClassVar[str] = "Router"
    noun: ClassVar[str] = "router"
    spec: ClassVar[type[BaseModel]] = RouterSpec
    table: ClassVar[type[Server] | type[RouterRow]] = RouterRow
    place: ClassVar[str] = "publicUrl"
    argument: ClassVar[str] = "public_url"
    order: ClassVar[int] = 40
    removed: ClassVar[int] = 84

    def _settings(self, kind: str) -> type[BaseModel]:
        return router_type(kind).Settings

    def _commands(self, hands: Hands) -> _Commands:
        servers = hands.servers
        return _Commands(servers.register_router, servers.edit_router, servers.remove_router)


class _Secret:
    """What is to be done about a credential.

    One that is set stays, until the server moves or somebody wants it entered anew. A reference is a field like any other.
    """

    def __init__(self, declared: Declared, state: State | None, around: Around, *, moved: bool) -> None:
        self._declared = declared
        self._refers = (declared.spec or {}).get("credential", {})
        held: Mapping[str, Any] = state.spec.get("credential", {}) if state is not None else {}
        self.given: _Given = {}
        self.fields: tuple[FieldChange, ...] = ()
        self._lacking = bool(self._refers.get("set")) and not held
        if (reference := self._refers.get("reference")) is not None:
            self._refer(reference, _told(held), moved=moved)
        elif self._refers.get("fromEnv") or self._refers.get("fromFile"):
            self._enter(around, held, moved=moved)

    def _refer(self, reference: str, before: str | None, *, moved: bool) -> None:
        if moved or before != reference:
            self.given = {"credential_from": reference}
        if before != reference:
            self.fields = (FieldChange("credential", before, reference),)

    def _enter(self, around: Around, held: Mapping[str, Any], *, moved: bool) -> None:
        before, renew = _told(held), around.told.renew
        anew = before != "set" or renew
        if anew or moved:
            secret = around.told.secrets.get((self._declared.kind, self._declared.name))
            self.given = {"credential": secret or UNREAD}
        if anew:
            self.fields = (FieldChange("credential", before, "set" if before != "set" else "entered anew"),)

    def lacks(self) -> Fault | None:
        """Why it cannot be."""
        told = [name for name in ("fromEnv", "fromFile", "reference", "set") if self._refers.get(name)]
        where = self._declared.at("credential")
        if len(told) > 1 or (self._refers == {} and "credential" in (self._declared.spec or {})):
            return Fault(
                where, "A credential comes from one place.", "Write one of `fromEnv`, `fromFile`, `reference` and `set: true`."
            )
        if self._lacking:
            says = "No credential is set, and an export holds none."
            remedy = "Say where it is read from: `fromEnv: VARIABLE`, `fromFile: PATH` or `reference: file:NAME`."
            return Fault(where, says, remedy, "credential-needed")
        return None


def _told(held: Mapping[str, Any]) -> str | None:
    """A credential as a plan tells it: its reference, or only that one is set."""
    return str(held.get("reference", "set")) if held else None


def _state(row: Row, place: str) -> State:
    spec = {"kind": row.kind, place: moves.place_of(row), "settings": dict(row.settings)}
    if row.sealed_credential is not None:
        spec["credential"] = {"reference": row.sealed_credential} if is_reference(row.sealed_credential) else {"set": True}
    return State(row.name, spec, str(row.revision), {"move": row.move})


def _is_asked_for(state: State, wanted: Mapping[str, Any], place: str, around: Around) -> bool:
    """One that nobody can confirm any more is asked for anew."""
    move = state.facts["move"]
    if move is None or (move["settings"], move["place"]) != (wanted["settings"], wanted[place]):
        return False
    return not moves.is_outlived(around.session, move, around.now)


def _at_setting(declared: Declared, refusal: Refusal) -> Fault:
    """At the setting that is wrong, where the refusal names one."""
    path = str(refusal.facts.get("field", "")).split(".")
    return Fault(declared.at("settings", *path), refusal.message, refusal.remedy, refusal.code)
