"""Print the exit codes of the command line, or with --write put them into docs/cli.md. The source is `backend.cli.exits`."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.cli.exits import EXITS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
BEGIN, END = "<!-- exit codes: written by scripts/exit_codes_table.py -->\n", "<!-- end of exit codes -->\n"


def table() -> str:
    """The table in Markdown, one line a code."""
    return "| code | | when |\n|---|---|---|\n" + "".join(f"| {one.code} | {one.word} | {one.means} |\n" for one in EXITS)


def with_table(document: str) -> str:
    """The document's text with the codes of today."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
    else:
        print(table(), end="")
