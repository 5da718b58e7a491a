"""Print the JSON Schema of declarations, or with --write put it into docs/. The source is `backend.blueprints`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backend.blueprints.json_schema import schema

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "config.schema.json"


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(text())
    else:
        print(text(), end="")
