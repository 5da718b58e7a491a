"""The documents say what the code does."""

from __future__ import annotations

import re

import pytest

from scripts import tables
from scripts.tables import ROOT

README = ROOT / "README.md"


def test_the_readme_lists_every_setting() -> None:
    assert tables.PARTS["settings"].is_current(), tables.AGAIN
    assert README.read_text().count("| `COUNTERSIGN_") > 10


def test_links_between_documents_lead_somewhere() -> None:
    for document in [README, *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_matrix_of_the_documentation_is_that_of_the_code() -> None:
    assert tables.PARTS["matrix"].is_current(), tables.AGAIN


def test_a_generated_part_changes_nothing_outside_its_marks_and_needs_both() -> None:
    part = tables.Part("README.md", lambda: "new\n", "things")
    begin, end = "<!-- things: written by scripts/tables.py -->\n", "<!-- end of things -->\n"
    assert part.within(f"above\n{begin}old\n{end}below\n") == f"above\n{begin}new\n{end}below\n"
    for broken in ("", begin, f"{end}{begin}", f"{begin}{end}{begin}{end}"):
        with pytest.raises(ValueError, match=r"README\.md needs"):
            part.within(broken)
