"""`countersign completion`: what a shell needs to complete commands, options and names.

Source: click's documentation, "Shell Completion"; the scripts are click's own for this program's name.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_COUNTERSIGN_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what SHELL needs to complete commands: `eval "$(countersign completion bash)"`, in ~/.bashrc for good."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = ctx.find_root().command
    click.echo(made(root, {}, "countersign", _VARIABLE).source())
