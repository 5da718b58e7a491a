"""`client.models`: what the registry has, registering versions, and the champion alias."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.client.errors import OtherSystemFailed, Refused, StrangeAnswer
from backend.client.pages import Pages, every, page
from backend.client.results import Alias, Intake, Model, ModelLine, ModelPage, Page, Registration, Version, VersionLine
from backend.client.shapes import read
from backend.client.waiting import Clock, Look, wait
from backend.client.wire import Wire

_READING_SECONDS = 1_800.0
"""Every file of a version is read, hashed and searched before there is an answer."""


@dataclass(frozen=True)
class _Read:
    read_at: datetime | None
    total: int | None = None


@dataclass(frozen=True)
class _Parts:
    name: str
    aliases: tuple[Alias, ...]
    versions: Mapping[str, Any]
    description: str = ""
    owner: str = ""
    removed_at: datetime | None = None


class Models:
    """Models on one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, after: str | None = None, limit: int = 100, **narrow: Any) -> ModelPage:
        """One page of models, narrowed by `words`, `owner`, `alias`, `live` (an environment), `pickled` or `removed`; `order`
        is `newest` or `name`. With `counted` also how many there are in all and how many versions each has, which takes longer.
        """
        told = self._wire.get("models", after=after, limit=limit, **narrow).content
        found, besides = page(ModelLine, told), read(_Read, told)
        return ModelPage(found.items, found.next, besides.read_at, besides.total)

    def list(self, **narrow: Any) -> Iterator[ModelLine]:
        """Every model."""
        return every(lambda after: self.page(after=after, **narrow))

    def show(self, model: str) -> Model:
        """One model with its aliases and the newest of its versions."""
        told = self._wire.get("models", model).content
        parts = read(_Parts, told)
        versions = page(VersionLine, parts.versions)
        return Model(parts.name, parts.aliases, versions, parts.description, parts.owner, parts.removed_at)

    def versions(self, model: str, *, after: str | None = None, limit: int = 100) -> Page[VersionLine]:
        """One page of a model's versions, the highest number first."""
        return Pages(self._wire, VersionLine, "models", model, "versions").page(after=after, limit=limit)

    def version(self, model: str, number: int) -> Version:
        """One version whole."""
        return read(Version, self._wire.get("models", model, "versions", number).content)

    def register(self, model: str, number: int) -> Registration:
        """Takes a version of the registry on: every file is read, hashed and searched for pickled code."""
        path = ("models", model, "versions", number, "register")
        return read(Registration, self._wire.send("POST", path, again=True, seconds=_READING_SECONDS).content)

    def set_champion(self, model: str, environment: str, version: int) -> None:
        """Points an environment's champion alias at the version that is proved to answer there."""
        sent = {"environment": environment, "version": version}
        self._wire.send("POST", ("models", model, "champion"), sent=sent, again=True)

    def aliases(self, model: str) -> tuple[Alias, ...]:
        """Where a model's aliases point."""
        return self.show(model).aliases

    def upload(
        self,
        model: str,
        archive: Path,
        *,
        description: str = "",
        seconds: float = _READING_SECONDS,
        told: Callable[[float, str], None] | None = None,
        clock: Clock | None = None,
    ) -> Registration:
        """Makes an archive (zip, tar, tar.gz) of an artifact a new version of the model, and waits until it is registered.

        Args:
            told: called with how far it is, from 0 to 1, and what is being done.
        """
        query = {"file": archive.name, "description": description}
        path = ("models", model, "uploads")
        begun = read(Intake, self._wire.send("POST", path, query=query, stream=archive, key="", seconds=seconds).content)
        ended = self._taken(begun, seconds, told, clock)
        if ended.state != "done" or ended.number is None:
            kind = Refused if ended.state == "refused" else OtherSystemFailed
            raise kind(ended.message, ended.remedy, code=f"intake-{ended.state}", status=422 if kind is Refused else 502)
        registered = self.version(model, ended.number).registered
        if registered is None:
            raise StrangeAnswer(f"Version {ended.number} is not registered.", "Look at it, and register it.")
        return registered

    def _taken(self, begun: Intake, seconds: float, told: Callable[[float, str], None] | None, clock: Clock | None) -> Intake:
        """How an intake ended."""
        found = [begun]

        def look() -> Look:
            found.append(read(Intake, self._wire.get("intakes", begun.id).content))
            if told is not None:
                told(found[-1].fraction, found[-1].doing)
            return ("reached" if found[-1].state != "running" else None), found[-1].doing

        wait(look, seconds, clock=clock)
        return found[-1]
