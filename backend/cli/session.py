"""What every command starts from: settings, the backend behind them, and the identity that it acts as."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
import sqlalchemy as sa
import sqlmodel

from backend import bootstrap
from backend.access.service import require_to_read
from backend.bootstrap import Backend
from backend.core.context import Actor
from backend.core.errors import ExternalFailure, Refusal
from backend.migrate import require_current
from backend.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
TOKEN = "COUNTERSIGN_TOKEN"


@dataclass(frozen=True)
class Reading:
    """One consistent look at the database, and the time at which it was taken."""

    session: sqlmodel.Session
    now: datetime


class Session:
    """One command's settings and, on first use, its backend."""

    def __init__(self, data: Path | None, name: str | None = None) -> None:
        self._data = data
        self._name = name

    @cached_property
    def settings(self) -> Settings:
        """Read on first use."""
        return bootstrap.read_settings(self._data)

    @cached_property
    def backend(self) -> Backend:
        """The services; made on first use."""
        return bootstrap.build(self.settings)

    def close(self) -> None:
        """Returns every connection of the backend, if there is one."""
        if "backend" in self.__dict__:
            self.backend.close()

    @cached_property
    def actor(self) -> Actor:
        """Whom this command acts as. Refusal when the database is not ready or nobody is named."""
        self.require_ready()
        if self._name is not None:
            return self.backend.identities.act_as(self._name)
        if TOKEN not in os.environ:
            raise Refusal(
                "A command always acts as somebody.",
                f"Put a token into {TOKEN}, or name a demo identity with `--as NAME` or in COUNTERSIGN_AS.",
                code="no-identity",
            )
        if (actor := self.backend.tokens.actor_of(os.environ[TOKEN].strip())) is None:
            raise Refusal(f"The token in {TOKEN} is not good.", "Make another: `countersign token create`.", code="bad-token")
        return actor

    @property
    def interval(self) -> timedelta:
        """Between two looks at a server that is in sync: what says how old a look may be."""
        return timedelta(seconds=self.settings.observe_seconds)

    def require_ready(self) -> None:
        """Refusal or ExternalFailure when there is no database to work with."""
        if (lacking := bootstrap.missing_database(self.settings)) is not None:
            raise lacking
        try:
            require_current(self.backend.database)
        except sa.exc.OperationalError as error:
            raise ExternalFailure("The database", "cannot be reached", retryable=True) from error

    def permit(self, action: str) -> None:
        """Refusal unless this command's identity may do `action`; for what is not read from the database."""
        with self.reading(action):
            return

    @contextmanager
    def reading(self, action: str) -> Iterator[Reading]:
        """A look at the database by somebody who may do `action`; else Refusal."""
        actor, database = self.actor, self.backend.database
        with database.read() as session:
            now = database.now(session)
            require_to_read(session, actor, action, now=now)
            yield Reading(session, now)


def data_option(command: Callable[Concatenate[Session, P], T]) -> Callable[..., T]:
    """Adds `--data`; the command gets a session."""

    def run(data: Path | None, *args: Any, **options: Any) -> T:
        with closing(Session(data)) as opened:
            return command(opened, *args, **options)

    return _named_like(command, _DATA(run))


def acting(command: Callable[Concatenate[Session, P], T]) -> Callable[..., T]:
    """Adds `--data` and `--as`; the command gets a session that acts as that identity."""

    def run(data: Path | None, acting_as: str | None, *args: Any, **options: Any) -> T:
        with closing(Session(data, acting_as)) as opened:
            return command(opened, *args, **options)

    return _named_like(command, _DATA(_AS(run)))


_DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (COUNTERSIGN_DATA_DIR).")
_AS = click.option("--as", "acting_as", envvar="COUNTERSIGN_AS", metavar="NAME", help="Demo identity to act as.")


def _named_like(command: Callable[..., Any], wrapped: Callable[..., T]) -> Callable[..., T]:
    """click takes a command's name, help and earlier options from the function."""
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    earlier = getattr(command, "__click_params__", [])
    wrapped.__click_params__ = [*earlier, *getattr(wrapped, "__click_params__", [])]  # type: ignore[attr-defined]
    return wrapped
