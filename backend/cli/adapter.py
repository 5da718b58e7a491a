"""The options that describe an adapter on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
T = TypeVar("T")


def adapter(command: Callable[P, T]) -> Callable[P, T]:
    """The options that describe an adapter: its settings, and where its credential is."""
    for option in (
        click.option(
            "--credential-from",
            metavar="file:NAME|env:NAME",
            help="A credential that the administrator keeps where the worker runs; no secret by itself.",
        ),
        click.option("--credential-stdin", is_flag=True, help="Read the credential from standard input."),
        click.option("--credential-env", metavar="VARIABLE", help="The environment variable that holds the credential."),
        click.option(
            "--settings",
            "file",
            type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
            help="A JSON object of settings; `-` is standard input.",
        ),
        click.option("--setting", "pairs", multiple=True, metavar="NAME=VALUE", help="One setting; repeatable."),
    ):
        command = option(command)
    return command
