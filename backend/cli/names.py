"""Names that a shell offers for completion: asked of a server, if it answers at once; otherwise nothing is offered.

For a data folder of this machine nothing is offered: starting its services would make each press of a key take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from backend.client.countersign import Countersign

_MOST = 100


def models(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of models."""
    return _asked(ctx, begun, lambda client: ((one.name, "") for one in client.models.page(limit=_MOST)))


def endpoints(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of endpoints."""
    return _asked(ctx, begun, lambda client: ((one.name, one.state) for one in client.endpoints.page(limit=_MOST)))


def changes(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Numbers of changes, each with its state and title."""
    return _asked(
        ctx, begun, lambda client: ((str(one.number), f"{one.state}: {one.title}") for one in client.changes.page(limit=_MOST))
    )


def findings(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Numbers of findings, each with its severity and what it says."""
    return _asked(
        ctx,
        begun,
        lambda client: ((str(one.number), f"{one.severity}: {one.says}") for one in client.findings.page(limit=_MOST)),
    )


def _asked(ctx: click.Context, begun: str, ask: Callable[[Countersign], Iterable[tuple[str, str]]]) -> list[CompletionItem]:
    from backend.cli import remote
    from backend.cli.session import place
    from backend.client.wire import Patience
    from backend.core.errors import CountersignError

    try:
        where = place(ctx.params.get("url"), ctx.params.get("data"), ctx.params.get("acting_as"), os.environ)
        if where.url is None:
            return []
        client = remote.client(where.url, patience=Patience(tries=1), seconds=1.0)
        found = [(name, help) for name, help in ask(client) if name.startswith(begun) and name.isprintable()]
        client.close()
    except (CountersignError, remote.ClientError):
        return []
    return [
        CompletionItem(name, help="".join(one if one.isprintable() else "?" for one in help) or None) for name, help in found
    ]
