"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import access_table
from scripts.settings_table import README, with_table

ROOT = Path(__file__).resolve().parent.parent


def test_the_readme_lists_every_setting() -> None:
    text = README.read_text()
    assert with_table(text) == text, "run: python scripts/settings_table.py --write"
    assert text.count("| `COUNTERSIGN_") > 10


def test_links_between_documents_lead_somewhere() -> None:
    for document in [README, *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_matrix_of_the_documentation_is_that_of_the_code() -> None:
    text = access_table.DOCUMENT.read_text()
    assert access_table.with_table(text) == text, "run: python scripts/access_table.py --write"
