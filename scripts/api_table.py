"""Print the table of the API's operations, or with --write put it into docs/api.md. The source is the OpenAPI document."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.api import app
from backend.api.document import NEEDS_A_TAG, operations
from backend.bootstrap import Backend

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "api.md"
BEGIN, END = "<!-- operations: written by scripts/api_table.py -->\n", "<!-- end of operations -->\n"


def table() -> str:
    """The table in Markdown, one line an operation."""
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
    return "\n".join(lines) + "\n"


def with_table(document: str) -> str:
    """The document's text with the operations of today."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def _nobody() -> Backend:
    raise AssertionError("the document needs no backend")


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
    else:
        print(table(), end="")
