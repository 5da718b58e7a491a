"""What every command starts from: where it acts (a server by its address, or a data folder of this machine), and as whom.

Commands speak to `client` alone, which is the same client of the API in both cases: over the network, or to the API in this
very process. So a command is written once, and does and says the same wherever it acts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from backend.cli import saved
from backend.core.errors import Refusal

if TYPE_CHECKING:
    from backend.bootstrap import Backend
    from backend.cli.here import Here, Reading
    from backend.client.countersign import Countersign
    from backend.client.waiting import Clock
    from backend.core.context import Actor
    from backend.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
URL = "COUNTERSIGN_URL"
_AS_NAME = "COUNTERSIGN_AS"
_OF_THIS_MACHINE = (_AS_NAME, "COUNTERSIGN_DATA_DIR", "COUNTERSIGN_DATABASE_URL")


@dataclass(frozen=True)
class Place:
    """Where a command acts: at `url`, or on this machine where that is None; there in `data`, as the demo identity `name`."""

    url: str | None = None
    data: Path | None = None
    name: str | None = None


def place(url: str | None, data: Path | None, name: str | None, told: Mapping[str, str] | None = None) -> Place:
    """What is said nearest counts: options, then the environment, then the server that one logged in at, then this machine."""
    environment = os.environ if told is None else told
    if url and (data or name):
        raise Refusal(
            "A command acts in one place.",
            "Give `--url`, or `--data` and `--as` for a data folder of this machine.",
            code="two-places",
        )
    name = name or environment.get(_AS_NAME) or None
    if url or data or name != (environment.get(_AS_NAME) or None):
        return Place(url) if url else Place(None, data, name)
    if environment.get(URL):
        return Place(environment[URL])
    if not any(environment.get(one) for one in _OF_THIS_MACHINE) and (current := saved.current(environment)) is not None:
        return Place(current)
    return Place(None, None, name)


class Session:
    """One command's place and, on first use, what it speaks to there."""

    def __init__(self, where: Place) -> None:
        self.where = where

    @property
    def is_remote(self) -> bool:
        """Whether it acts at a server's address."""
        return self.where.url is not None

    @cached_property
    def client(self) -> Countersign:
        """The API, as this command's identity. Refusal or ClientError where there is none."""
        if self.where.url is None:
            return self.here.client()
        from backend.cli import remote

        return remote.client(self.where.url)

    @cached_property
    def here(self) -> Here:
        """This machine's installation. Refusal for a command that acts at a server's address."""
        if self.where.url is not None:
            raise only_here()
        from backend.cli.here import Here  # only now: the services take a second to import

        return Here(self.where.data, self.where.name)

    @property
    def settings(self) -> Settings:
        """Of this machine."""
        return self.here.settings

    @property
    def backend(self) -> Backend:
        """The services of this machine, for what no operation of the API does."""
        return self.here.backend

    @property
    def actor(self) -> Actor:
        """Whom this command acts as on this machine."""
        return self.here.actor

    def require_ready(self) -> None:
        """Refusal or ExternalFailure when there is no database to work with."""
        self.here.require_ready()

    def permit(self, action: str) -> None:
        """Refusal unless this command's identity may do `action`; for what is not read from the database."""
        with self.reading(action):
            return

    def reading(self, action: str) -> AbstractContextManager[Reading]:
        """A look at this machine's database by somebody who may do `action`; else Refusal."""
        return self.here.reading(action)

    @property
    def pace(self) -> Clock:
        """How often one looks while waiting: this machine's own database more often than somebody's server."""
        from backend.client.waiting import Clock

        return Clock() if self.is_remote else Clock(shortest=0.2, longest=1.0)

    def close(self) -> None:
        """Returns every connection that was opened."""
        for name in ("client", "here"):
            if name in self.__dict__:
                self.__dict__[name].close()


def only_here() -> Refusal:
    """For what makes sense on the server's own machine alone."""
    return Refusal(
        "This is done on the machine that Countersign runs on.",
        f"Run it there; or unset {URL}, or name a data folder of this machine with `--data DIR`.",
        code="only-here",
    )


def refuse_elsewhere(data: Path | None) -> None:
    """Refusal where the environment names a server and no data folder of this machine was named."""
    if data is None and os.environ.get(URL):
        raise only_here()


def data_option(command: Callable[Concatenate[Session, P], T]) -> Callable[..., T]:
    """Adds `--data`; the command gets a session on this machine."""

    def run(data: Path | None, *args: Any, **options: Any) -> T:
        with closing(_Refusing(Place(None, data))) as opened:
            return command(opened, *args, **options)

    return _named_like(command, _DATA(run))


def acting(command: Callable[Concatenate[Session, P], T]) -> Callable[..., T]:
    """Adds `--url`, `--data` and `--as`; the command gets a session that acts there."""

    def run(url: str | None, data: Path | None, acting_as: str | None, *args: Any, **options: Any) -> T:
        with closing(_Asked(url, data, acting_as)) as opened:
            return command(opened, *args, **options)

    return _named_like(command, _URL(_DATA(_AS(run))))


class _Asked(Session):
    """A session whose place is looked up when it is needed, so that what is wrong with it is told as every refusal is."""

    def __init__(self, url: str | None, data: Path | None, name: str | None) -> None:
        self._told = (url, data, name)

    @cached_property
    def where(self) -> Place:  # type: ignore[override]
        """Where it acts."""
        return place(*self._told)


class _Refusing(Session):
    """A session of this machine alone."""

    @cached_property
    def here(self) -> Here:
        """This machine's installation."""
        refuse_elsewhere(self.where.data)
        from backend.cli.here import Here

        return Here(self.where.data, None)


_DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (COUNTERSIGN_DATA_DIR).")
_AS = click.option("--as", "acting_as", metavar="NAME", help="Demo identity to act as (COUNTERSIGN_AS).")
_URL = click.option("--url", metavar="URL", help="Act at this server (COUNTERSIGN_URL), by a token; see `countersign login`.")


def _named_like(command: Callable[..., Any], wrapped: Callable[..., T]) -> Callable[..., T]:
    """click takes a command's name, help and earlier options from the function."""
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    earlier = getattr(command, "__click_params__", [])
    wrapped.__click_params__ = [*earlier, *getattr(wrapped, "__click_params__", [])]  # type: ignore[attr-defined]
    return wrapped
