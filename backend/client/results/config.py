"""Configuration as code, and ramps by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RampStep:
    """One step of a ramp; its share in buckets out of 10,000, and what it takes to go on.

    `statistics`: `not_failed`, `passed` or None; `shadow`: the version gets copies at it and answers nobody.
    """

    share: int
    hold_seconds: int
    person: bool
    min_units: int = 0
    statistics: str | None = None
    shadow: bool = False


@dataclass(frozen=True)
class NamedRamp:
    """Steps under a name, and the environments whose policies ask for it. Revision 0: a template that nobody changed."""

    name: str
    steps: tuple[RampStep, ...]
    revision: int
    asked_for_by: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class ConfigFault:
    """What is refused, and where (`FILE:LINE:COLUMN`) the files ask for it."""

    where: str
    message: str
    remedy: str
    code: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.remedy}".strip()


@dataclass(frozen=True)
class ConfigField:
    """One field: what it is, and what it shall be."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ConfigObject:
    """One declared object. `action`: create, change, remove, none or waits; `how`: direct, request, move, change."""

    kind: str
    name: str
    action: str
    fields: tuple[ConfigField, ...]
    where: str
    how: tuple[str, ...]
    notes: tuple[str, ...]
    refused: ConfigFault | None
    mark: str


@dataclass(frozen=True)
class ConfigPlan:
    """What applying would do. `left`: kind -> what is there and in none of the files; it is left alone."""

    digest: str
    differs: bool
    counts: Mapping[str, int]
    objects: tuple[ConfigObject, ...]
    left: Mapping[str, tuple[str, ...]]

    @property
    def faults(self) -> tuple[ConfigFault, ...]:
        """What is refused."""
        return tuple(one.refused for one in self.objects if one.refused is not None)


@dataclass(frozen=True)
class ConfigDone:
    """What became of one object: done, a request that a second person confirms, a change, or refused after all."""

    kind: str
    name: str
    says: str
    request: str | None
    change: int | None
    refused: ConfigFault | None


@dataclass(frozen=True)
class ConfigApplied:
    """The plan, and what was done."""

    plan: ConfigPlan
    done: tuple[ConfigDone, ...]

    @property
    def refused(self) -> tuple[ConfigFault, ...]:
        """Changes that could not be proposed after the rest had been done."""
        return tuple(one.refused for one in self.done if one.refused is not None)


@dataclass(frozen=True)
class ConfigExport:
    """What is there: as YAML that `apply` takes, and as values."""

    text: str
    objects: tuple[Mapping[str, Any], ...]
