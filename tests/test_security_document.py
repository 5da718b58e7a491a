"""`docs/security.md`: every requirement that applies has its line, and every test that a line names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.access.checks import require
from backend.access.service import Identities
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "security.md"
REQUIRED = {
    "1.1": [1, 2], "1.2": range(1, 10), "1.3": range(1, 12), "1.4": range(1, 4), "1.5": [1, 2],
    "2.1": range(1, 4), "2.2": range(1, 4), "2.3": range(1, 5), "2.4": [1],
    "3.2": [1, 2], "3.3": range(1, 5), "3.4": range(1, 7), "3.5": range(1, 6), "3.7": [1, 2],
    "4.1": range(1, 4), "4.2": [1], "4.3": [1, 2], "4.4": range(1, 5), "5.1": [1], "5.2": range(1, 4), "5.3": [1, 2],
    "5.4": range(1, 4), "7.1": range(1, 4), "7.2": range(1, 5), "7.3": [1, 2], "7.4": range(1, 6), "7.5": [1, 2], "7.6": [1, 2],
    "8.1": [1, 2], "8.2": range(1, 4), "8.3": [1], "8.4": [1], "9.1": range(1, 4), "9.2": range(1, 5),
    "10.1": [1, 2], "10.2": [1, 2], "10.3": range(1, 5), "10.4": range(1, 12), "10.5": range(1, 6), "10.6": [1, 2],
    "10.7": range(1, 4), "11.1": [1, 2], "11.2": range(1, 4), "11.3": range(1, 4), "11.4": range(1, 5), "11.5": [1],
    "11.6": [1],
    "13.1": [1], "13.2": range(1, 6), "13.3": [1, 2], "13.4": range(1, 6), "16.1": [1], "16.2": range(1, 6),
    "16.3": range(1, 5), "16.4": range(1, 4), "16.5": range(1, 4),
}  # fmt: skip
"""Section -> its requirements of levels 1 and 2, from OWASP ASVS 5.0.0 (docs_en, the CSV of the release)."""
ATTACKS = {
    "2023-1177", "2023-2780", "2024-1560", "2025-11201", "2026-2393", "2026-0545", "2023-48022", "2026-27482", "2026-4137",
    "2023-43654", "2024-35198", "2025-23319",
}  # fmt: skip
"""CVE numbers of MLflow, Ray, TorchServe and Triton whose way in is tried here."""
_CVE = re.compile(r"CVE-(\d{4})-(\d+)")
_LINE = re.compile(r"^\| V(\d+\.\d+\.\d+) \| ([12]) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def lines() -> list[tuple[str, str, str, str]]:
    return _LINE.findall(DOCUMENT.read_text(encoding="utf-8"))


def test_every_requirement_of_the_chapters_that_apply_has_one_line() -> None:
    wanted = [f"{section}.{number}" for section, numbers in REQUIRED.items() for number in numbers]
    assert [one[0] for one in lines()] == wanted


def test_every_line_names_a_test_or_says_why_there_is_none() -> None:
    for identifier, _level, _asks, shown in lines():
        assert _TEST.search(shown) or len(shown) >= len("not used"), identifier


def test_every_test_that_is_named_is_there() -> None:
    named = set(_TEST.findall(DOCUMENT.read_text(encoding="utf-8")))
    assert len(named) > 100
    known: dict[str, set[str]] = {}
    for file, test in sorted(named):
        path = ROOT / "tests" / file
        if file not in known:
            tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
            known[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert test in known[file], f"tests/{file} has no {test}"


def test_every_known_attack_has_a_test_that_bears_its_number() -> None:
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Known attacks")[2].partition("\n## ")[0]
    found: set[str] = set()
    for row in table.splitlines():
        words = {word for _, test in _TEST.findall(row) for word in test.split("_")}
        for year, number in _CVE.findall(row):
            assert {year, number} <= words, f"CVE-{year}-{number}"
            found.add(f"{year}-{number}")
    assert found == ATTACKS


def test_every_gap_is_said_in_its_place() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    told = text.partition("## Gaps")[2].partition("\n## ")[0]
    for identifier, _level, _asks, shown in lines():
        assert ("gap**" in shown.lower()) <= (identifier in told), identifier


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_refused_stands_in_the_log(database: Database) -> None:
    identities = Identities(database, Settings(demo_identities=True))
    identities.seed_demo()
    ana = identities.act_as("ana")
    with capture_logs() as written, pytest.raises(Refusal), database.unit(ana) as tx:
        require(tx, ana, "policy.set", environment="production")
    (line,) = [one for one in written if one["event"] == "access.refused"]
    assert (line["identity"], line["action"]) == (ana.id, "policy.set")
