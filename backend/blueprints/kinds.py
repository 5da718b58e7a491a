"""What every kind of declared object has in common: how it is read, compared, and made so by the services' own commands.

A kind is one class in a file of its own and one line in `registry`. Whatever it writes, it writes through commands that ask for
rights, keep the ledger and leave to a second person what is his.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel
from sqlmodel import Session

from backend.access.teams import Teams
from backend.blueprints.declared import Declared
from backend.blueprints.faults import Fault, fault_of
from backend.blueprints.plan import FieldChange, How
from backend.blueprints.steps import steps_in
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.delivery.endpoints import Endpoints
from backend.delivery.servers import Servers
from backend.metrics.service import Slos
from backend.monitoring.service import Monitors
from backend.policy.ramps import Ramps
from backend.policy.rules import RampStep
from backend.policy.service import Policies
from backend.policy.templates import TEMPLATES


@dataclass(frozen=True)
class State:
    """One object as it is.

    Args:
        spec: as a file would declare it whole.
        mark: moves with every edit of it.
        facts: what its kind has to know besides.
        parts: fields that are not told to whoever does not see all of them.
    """

    name: str
    spec: dict[str, Any]
    mark: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hands:
    """The services, all of them joined to one unit of work."""

    teams: Teams
    policies: Policies
    ramps: Ramps
    servers: Servers
    endpoints: Endpoints
    slos: Slos
    monitors: Monitors


@dataclass(frozen=True)
class Told:
    """What somebody says along with the files.

    Args:
        reason: for commands that ask for one, and for changes.
        secrets: (kind, name) -> the credential that the file refers to, read where `apply` runs.
        renew: whether credentials that are set are entered anew.
    """

    reason: str = "Declared in a file."
    title: str = ""
    secrets: Mapping[tuple[str, str], str] = field(default_factory=dict)
    renew: bool = False


@dataclass(frozen=True)
class Right:
    """An action and what it is done to, asked before anything is locked; the command itself asks again."""

    action: str
    environment: str | None = None
    model: str | None = None
    endpoint: str | None = None
    team: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How one step was done. `reference`: the id of the request, where it became one."""

    how: How = "direct"
    reference: str | None = None


Run = Callable[[Hands], Outcome]


@dataclass(frozen=True)
class Step:
    """One command. Steps of all objects are done in their order: what others stand on comes first, and goes last."""

    order: int
    right: Right
    run: Run


@dataclass(frozen=True)
class Address:
    """A place whose addresses are looked up before anything is written."""

    noun: str
    kind: str
    settings: Mapping[str, Any]
    place: str


@dataclass(frozen=True)
class Proposal:
    """What `Changes.propose` is asked for.

    Args:
        after: the newest change there that is over; 0 for none. What is asked for after that is another request, not the same.
    """

    endpoint: str
    asked: Mapping[str, Any]
    after: int = 0


@dataclass(frozen=True)
class Draft:
    """How a declared object differs, and what would make it so."""

    declared: Declared
    exists: bool
    fields: tuple[FieldChange, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    """What was asked for already, as sentences."""
    address: Address | None = None
    proposal: Proposal | None = None
    refused: Fault | None = None
    mark: str = ""
    lacks_credential: bool = False
    """Whether a credential that was not read is part of it."""


@dataclass(frozen=True)
class Around:
    """What a kind may look at while it compares.

    Args:
        states: kind -> name -> what is there, as far as the actor sees it.
        declared: everything that the files declare, by kind and name.
    """

    session: Session
    actor: Actor
    told: Told
    now: datetime
    states: Mapping[str, Mapping[str, State]]
    declared: Mapping[tuple[str, str], Declared]

    @cached_property
    def claims(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """(field, name) -> the declared teams that claim a model or an endpoint."""
        specs = [(name, one.spec or {}) for (kind, name), one in self.declared.items() if kind == "Team"]
        return _by_thing(specs)

    @cached_property
    def owners(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The same of the teams as they are."""
        return _by_thing([(one.name, one.spec) for one in self.states["Team"].values()])

    def ramp(self, name: str) -> tuple[RampStep, ...] | None:
        """A ramp's steps as they will be; None for one that is not there."""
        if (one := self.declared.get(("Ramp", name))) is not None:
            return steps_in(one.spec["steps"]) if one.spec is not None else None
        state = self.states.get("Ramp", {}).get(name)
        return steps_in(state.spec["steps"]) if state is not None else TEMPLATES.get(name)


def _by_thing(specs: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for name, spec in specs:
        for key in ((what, one) for what in ("models", "endpoints") for one in spec.get(what, ())):
            found[key] = (*found.get(key, ()), name)
    return found


class Kind(ABC):
    """One kind of object."""

    name: ClassVar[str]
    noun: ClassVar[str]
    spec: ClassVar[type[BaseModel]]
    may_go: ClassVar[bool] = True
    """Whether there is a command that removes one."""

    @abstractmethod
    def states(self, session: Session) -> Mapping[str, State]:
        """Every one that the session shows, in the order in which they are exported."""

    @abstractmethod
    def lock(self, session: Session, names: Collection[str]) -> None:
        """Takes the locks of those rows, in order, so that what is read next stays so until the unit ends."""

    @abstractmethod
    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """How the declared object differs from what is there. Raises Refusal for what cannot be declared."""

    @abstractmethod
    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """The command that removes it."""

    def draft(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """`compare`, or what takes the object away; a refusal is told at the object's place."""
        try:
            if not declared.is_absent:
                return self.compare(declared, state, around)
            if state is None:
                return Draft(declared, exists=False)
            if not self.may_go:
                raise Refusal(f"{self.noun.capitalize()}s cannot be removed.", "Leave it out of the file.", code="cannot-go")
            step = self.removal(declared, state, around)
            return Draft(declared, exists=True, steps=(step,), mark=state.mark)
        except Refusal as refusal:
            return refused(declared, state, fault_of(declared.where, refusal))


def refused(declared: Declared, state: State | None, fault: Fault, fields: Sequence[FieldChange] = ()) -> Draft:
    """A declaration that cannot be."""
    mark = state.mark if state is not None else ""
    return Draft(declared, exists=state is not None, fields=tuple(fields), refused=fault, mark=mark)


def direct(call: Callable[[Hands], object]) -> Run:
    """A command that is done at once, or refused."""

    def run(hands: Hands) -> Outcome:
        call(hands)
        return Outcome()

    return run
