"""What holds for every command: help, one JSON object, and no secret among its arguments."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backend.cli.main import COMMANDS, main


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _leaves(found, (*path, name))
    else:
        yield path, command


def test_every_command_has_help_and_json_and_takes_no_secret_as_an_argument() -> None:
    leaves = dict(_leaves(main))
    assert len(leaves) > 40
    for path, command in leaves.items():
        names = {parameter.name for parameter in command.params}
        assert command.help, path
        assert "as_json" in names or path in (("worker",), ("ingest",), ("ui",), ("completion",)), path
        secret = {
            name for name in names if name and any(word in name for word in ("password", "secret", "token", "credential"))
        }
        assert secret <= {"credential_env", "credential_from", "credential_stdin", "token_id"}, path


def test_the_list_of_commands_says_what_each_does() -> None:
    for name, lazy in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert lazy.help.endswith(".")
        assert len(lazy.help) < 90
