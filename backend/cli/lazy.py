"""A group of commands that are imported when they are asked for, so that help and the worker's start cost no service."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from backend.cli.output import REFUSED


@dataclass(frozen=True)
class Lazy:
    """Where a command is (`module:attribute`), and its line in the list of commands."""

    path: str
    help: str


class LazyGroup(click.Group):
    """Source of the approach: click's documentation, "Lazily Loading Subcommands".

    Wrong usage prints the error object too when `--json` was asked for; its exit code is that of a refusal.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(*args, **options)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, sorted."""
        return sorted({*super().list_commands(ctx), *self.lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if need be."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name].path.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the lines that are given here: none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._line(ctx, name)) for name in self.list_commands(ctx)])

    def main(  # type: ignore[override]  # click has overloads for what its last argument makes it return
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **options: Any
    ) -> Any:
        """Runs the command line; see click."""
        given = list(sys.argv[1:] if args is None else args)
        if "--json" not in given or not standalone_mode:
            return super().main(given, standalone_mode=standalone_mode, **options)
        try:
            code = super().main(given, standalone_mode=False, **options)
        except click.Abort:
            sys.exit(1)
        except click.ClickException as wrong:
            wrong.show()
            remedy = "Look at the command's --help."
            click.echo(json.dumps({"error": {"code": "usage", "message": wrong.format_message(), "remedy": remedy}}))
            sys.exit(REFUSED)
        sys.exit(code if isinstance(code, int) else 0)

    def _line(self, ctx: click.Context, name: str) -> str:
        if name in self.lazy:
            return self.lazy[name].help
        command = super().get_command(ctx, name)
        return command.get_short_help_str(200) if command is not None else ""
