"""What applying some files would do, as values: object by object, field by field, and what of it is refused or waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.blueprints.faults import Fault
from backend.core.canonical import digest

Action = Literal["create", "change", "remove", "none", "waits"]
"""`none`: it is as declared. `waits`: all that is different was asked for already, and somebody else has to decide."""
How = Literal["direct", "request", "move", "change"]
"""At once; as a request of a second person; as a move that another confirms; as a change that is reviewed."""


@dataclass(frozen=True)
class FieldChange:
    """One field: what it is, and what it shall be. None: it is not there."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ObjectPlan:
    """One declared object.

    Args:
        where: `file:line:column` of its declaration.
        how: every way in which something of it is done.
        notes: what a person should know besides, as sentences.
        refused: why it cannot be.
        mark: moves with every edit of the object, so that a plan is of one state of it.
    """

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...]
    where: str
    how: tuple[How, ...] = ()
    notes: tuple[str, ...] = ()
    refused: Fault | None = None
    mark: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that applying would do.

    Args:
        left: kind -> names of what is there and in none of the files: it is left alone.
        digest: of what is different, from which state, by which way; applying is bound to it.
    """

    objects: tuple[ObjectPlan, ...]
    left: Mapping[str, tuple[str, ...]]
    digest: str

    @property
    def differs(self) -> bool:
        """Whether anything is to be done."""
        return any(one.action in ("create", "change", "remove") for one in self.objects)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is refused."""
        return tuple(one.refused for one in self.objects if one.refused is not None)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects there are of each action, without those that are refused."""
        return {action: sum(one.action == action and one.refused is None for one in self.objects) for action in Action.__args__}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Done:
    """What became of one object.

    Args:
        request: id of the request that a second person has to confirm. `change`: number of the change that was proposed.
        refused: why it was not done after all; everything else that is told as done is done.
    """

    kind: str
    name: str
    says: str
    request: str | None = None
    change: int | None = None
    refused: Fault | None = None


@dataclass(frozen=True)
class Applied:
    """A plan and what became of it."""

    plan: Plan
    done: tuple[Done, ...] = field(default=())

    @property
    def refused(self) -> tuple[Fault, ...]:
        """What was refused after the rest had been done: changes, which are proposed last, each by itself."""
        return tuple(one.refused for one in self.done if one.refused is not None)


def plan_digest(told: list[Any]) -> str:
    """What a plan is known by."""
    return digest({"schema": 1, "objects": told})


def changes_between(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> tuple[FieldChange, ...]:
    """Field by field, however deep; a list is one field. What `new` does not name is not compared."""
    found: list[FieldChange] = []
    for name, value in new.items():
        path, before = f"{where}.{name}" if where else name, old.get(name)
        if isinstance(value, Mapping) and (value or isinstance(before, Mapping)):
            found += changes_between(before if isinstance(before, Mapping) else {}, value, path)
        elif value != before or isinstance(value, bool) != isinstance(before, bool):
            found.append(FieldChange(path, before, value))
    return tuple(found)
