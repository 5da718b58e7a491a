"""The generated parts of the documents: shows them, or with --write puts every one into its place. Names choose some of them.

    python -m scripts.tables --write
    python -m scripts.tables operations

A part stands between two marks of its document; `schema` is a file of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticUndefined

from backend.access.rules import MATRIX, ROLES, SCOPES
from backend.api import app
from backend.api.document import NEEDS_A_TAG, operations
from backend.blueprints.json_schema import schema
from backend.bootstrap import Backend
from backend.cli.exits import EXITS
from backend.settings import Settings
from scripts import problem_codes as problem_codes_of_the_api

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Part:
    """One generated part.

    Args:
        document: the file that holds it, below the root of the repository.
        text: makes it as it is today.
        name: what its marks are called; a file that is generated whole has none.
    """

    document: str
    text: Callable[[], str]
    name: str = ""

    @property
    def path(self) -> Path:
        """Where the document is."""
        return ROOT / self.document

    def within(self, document: str) -> str:
        """A document's text with the part of today. ValueError where the marks are not there once, in their order."""
        if not self.name:
            return self.text()
        begin, end = f"<!-- {self.name}: written by scripts/tables.py -->\n", f"<!-- end of {self.name} -->\n"
        if (document.count(begin), document.count(end)) != (1, 1) or document.index(begin) > document.index(end):
            raise ValueError(f"{self.document} needs one line {begin.strip()!r} and one line {end.strip()!r} behind it.")
        return document.partition(begin)[0] + begin + self.text() + end + document.partition(end)[2]

    def is_current(self) -> bool:
        """Whether the document says what the code does."""
        told = self.path.read_text(encoding="utf-8")
        return self.within(told) == told

    def write(self) -> None:
        """Puts it into its place."""
        self.path.write_text(self.within(self.path.read_text(encoding="utf-8")), encoding="utf-8")


def settings() -> str:
    """One line a setting, of `backend.settings.Settings`."""
    lines = ["| variable | default | what it sets |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined, "") else f"`{field.default}`"
        lines.append(f"| `COUNTERSIGN_{name.upper()}` | {default} | {field.description} |")
    return _lines(lines)


def matrix() -> str:
    """Who may do what, one line an action, of `backend.access.rules`."""
    lines = [f"| to | action | {' | '.join(ROLES)} | counts in |", "|---|---|" + ":-:|" * len(ROLES) + "---|"]
    for line in MATRIX:
        told = " | ".join("✓" if role in line.roles else "" for role in ROLES)
        scopes = ", ".join(("everywhere", *sorted(SCOPES[line.place])))
        lines.append(f"| {line.says} | `{line.action}` | {told} | {scopes} |")
    return _lines(lines)


def exit_codes() -> str:
    """One line a code of the command line, of `backend.cli.exits`."""
    return _lines(["| code | | when |", "|---|---|---|", *(f"| {one.code} | {one.word} | {one.means} |" for one in EXITS)])


def api_operations() -> str:
    """One line an operation, of the OpenAPI document."""
    lines = ["| operation | id | what it does | fields |", "|---|---|---|---|"]
    for path, method, operation in operations(app.build(_nobody).openapi()):
        says = operation["description"].split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        sent = {one["name"] for one in operation.get("parameters", [])}
        marks = [
            "key" if "Idempotency-Key" in sent else "",
            "tag needed" if NEEDS_A_TAG in operation["description"] else "tag" if "If-Match" in sent else "",
            "304" if "If-None-Match" in sent else "",
        ]
        told = ", ".join(one for one in marks if one)
        lines.append(f"| `{method.upper()} {path.removeprefix('/v1')}` | `{operation['operationId']}` | {says} | {told} |")
    return _lines(lines)


def problem_codes() -> str:
    """One line a code that the API can answer, of the places that refuse."""
    lines = ["| code | status | what it says, for instance |", "|---|---|---|"]
    for one in problem_codes_of_the_api.codes():
        more = f" *and {one.others} more*" if one.others else ""
        says = one.says.replace("|", "\\|")
        lines.append(f"| `{one.code}` | {', '.join(map(str, one.statuses))} | {says}{more} |")
    return _lines(lines)


def config_schema() -> str:
    """The JSON Schema of declarations, of `backend.blueprints`."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def false_alarms() -> str:
    """How often real days are called news, of `scripts.drift_alarms`; takes ten seconds and the demo's packages."""
    from scripts.drift_alarms import table_text

    return table_text()


def planted_faults() -> str:
    """On how many real days planted faults are found, of `scripts.drift_faults`; takes ten seconds as well."""
    from scripts.drift_faults import table_text

    return table_text()


PARTS = {
    "settings": Part("README.md", settings, "settings"),
    "matrix": Part("docs/access.md", matrix, "matrix"),
    "operations": Part("docs/api.md", api_operations, "operations"),
    "problem-codes": Part("docs/api.md", problem_codes, "problem codes"),
    "exit-codes": Part("docs/cli.md", exit_codes, "exit codes"),
    "schema": Part("docs/config.schema.json", config_schema),
    "false-alarms": Part("docs/drift.md", false_alarms, "false alarms"),
    "planted-faults": Part("docs/drift.md", planted_faults, "planted faults"),
}
AGAIN = "run: python -m scripts.tables --write"


def main(arguments: Sequence[str] | None = None) -> None:
    """Shows the parts that are named, or writes them; every one where none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="put them into their places")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - PARTS.keys():
        parser.error(f"There is no {', '.join(sorted(unknown))}. There are {', '.join(PARTS)}.")
    for name in asked.names or PARTS:
        if asked.write:
            PARTS[name].write()
        else:
            print(PARTS[name].text(), end="")


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _nobody() -> Backend:
    raise AssertionError("the document needs no backend")


if __name__ == "__main__":
    main()
