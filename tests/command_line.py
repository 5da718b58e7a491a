"""`countersign` called in this process: its arguments in, exit code, JSON object and words out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from click.testing import CliRunner

from backend.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, the object on standard output, and what it said on standard error."""

    code: int
    content: dict[str, Any]
    said: str

    @property
    def error(self) -> str:
        """The code of the error; KeyError when there is none."""
        return str(self.content["error"]["code"])


class CommandLine:
    """Commands under these settings. A traceback is a failure of the test."""

    def __init__(self, *, tokens: Callable[[str], str] | None = None, **settings: str) -> None:
        """`tokens`: gives the token that each name acts by, where the commands act at a server (`url`)."""
        self._tokens = tokens
        self._environment = {f"COUNTERSIGN_{name.upper()}": value for name, value in settings.items()}

    def __call__(self, *arguments: str, by: str | None = None, given: str | None = None) -> Answer:
        """With `--json`: the answer is one line that holds one object."""
        result = self._run([*arguments, "--json"], by, given)
        (line,) = result.stdout.splitlines()
        return Answer(result.exit_code, json.loads(line), result.stderr)

    def text(self, *arguments: str, by: str | None = None) -> str:
        """Without it: the lines for people, which hold no character that moves a cursor."""
        result = self._run(list(arguments), by, None)
        assert result.exit_code == 0, result.output
        assert result.stdout.replace("\n", "").isprintable()
        return str(result.stdout)

    def text_with_tabs(self, *arguments: str) -> str:
        """The lines of a command that writes for another program."""
        result = self._run(list(arguments), None, None)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def _run(self, arguments: list[str], by: str | None, given: str | None) -> Any:
        before = structlog.get_config()
        others = {name: None for name in os.environ if name.startswith("COUNTERSIGN_")}
        whom = {"COUNTERSIGN_AS": by} if self._tokens is None or by is None else {"COUNTERSIGN_TOKEN": self._tokens(by)}
        environment = {**others, **self._environment, **whom}
        try:
            result = CliRunner(env=environment).invoke(main, arguments, input=given)
        finally:
            structlog.configure(**before)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result
