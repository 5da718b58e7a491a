"""Print the matrix of who may do what, or with --write put it into docs/access.md. The source is `backend.access.rules`."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.access.rules import MATRIX, ROLES, SCOPES

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "access.md"
BEGIN, END = "<!-- matrix: written by scripts/access_table.py -->\n", "<!-- end of matrix -->\n"


def table() -> str:
    """The table in Markdown, one line an action."""
    lines = [f"| to | action | {' | '.join(ROLES)} | counts in |", "|---|---|" + ":-:|" * len(ROLES) + "---|"]
    for line in MATRIX:
        told = " | ".join("✓" if role in line.roles else "" for role in ROLES)
        scopes = ", ".join(("everywhere", *sorted(SCOPES[line.place])))
        lines.append(f"| {line.says} | `{line.action}` | {told} | {scopes} |")
    return "\n".join(lines) + "\n"


def with_table(document: str) -> str:
    """The document's text with the matrix of today."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
    else:
        print(table(), end="")
