"""The documents say what the code does."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from backend.access import bearer_file
from backend.api.errors import STATUS
from scripts import problem_codes, tables
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


def test_the_problem_codes_of_the_documentation_are_those_of_the_code() -> None:
    assert tables.PARTS["problem-codes"].is_current(), tables.AGAIN
    for file, each in problem_codes.ELSEWHERE.items():
        text = (problem_codes.BACKEND / file).read_text()
        assert all(f'"{code}"' in text for code, *_ in each), file
    found = {one.code: one for one in problem_codes.codes()}
    assert (found["bad-name"].statuses, found["not-found"].statuses, found["bad-token"].statuses) == ((422,), (404,), (401,))
    assert not [one.code for one in found.values() if not one.says], "each has something that it says"
    assert set(STATUS) <= set(found), "a status for what nobody refuses"


def test_a_code_that_cannot_be_told_is_an_error_and_not_left_out() -> None:
    def codes(text: str) -> list[str]:
        return sorted(one.code for one in problem_codes._File("x.py", ast.parse(text)).found())

    assert codes("def f():\n raise Refusal('a', 'b', code='x' if g() else 'y')") == ["x", "y"]
    makes = "def made(code, message='m'):\n return Refusal(message, 'r', code=code)\n"
    assert codes(f"{makes}made('x')\nmade(code='y')") == ["x", "y"]
    assert codes("def f():\n raise Refusal('a', 'b')") == ["refused"]
    for text in ("def f():\n raise Refusal('a', 'b', code=g())", "def f(code):\n raise Refusal('a', 'b', code=code)\nf()"):
        with pytest.raises(ValueError, match="hands"):
            codes(text)


def test_a_generated_part_changes_nothing_outside_its_marks_and_needs_both() -> None:
    part = tables.Part("README.md", lambda: "new\n", "things")
    begin, end = "<!-- things: written by scripts/tables.py -->\n", "<!-- end of things -->\n"
    assert part.within(f"above\n{begin}old\n{end}below\n") == f"above\n{begin}new\n{end}below\n"
    for broken in ("", begin, f"{end}{begin}", f"{begin}{end}{begin}{end}"):
        with pytest.raises(ValueError, match=r"README\.md needs"):
            part.within(broken)


def test_no_document_installs_what_a_stranger_has_on_the_public_index() -> None:
    named = re.compile(r"pip3? +install[^\n`]*[ \"']countersign(?! @ )", re.IGNORECASE)
    assert named.search("- pip install countersign")
    for document in [README, *(one for one in (ROOT / "docs").rglob("*") if one.suffix in (".md", ".yml", ".yaml"))]:
        assert not named.search(document.read_text()), f"{document.name}: the name belongs to somebody else there"


def _wheel(folder: Path) -> Path:
    """The smallest that pip takes for one of this name."""
    made = folder / "countersign-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("countersign-9.9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: countersign\nVersion: 9.9.9\n")
        archive.writestr("countersign-9.9.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("countersign-9.9.9.dist-info/RECORD", "")
    return made


def test_the_pipelines_install_one_file_and_only_with_its_digest(tmp_path: Path) -> None:
    workflow = yaml.safe_load((ROOT / "docs/ci/github-actions.yml").read_text())
    step = workflow["jobs"]["release"]["steps"][0]
    assert {name: f"${{{{ vars.{name} }}}}" for name in ("COUNTERSIGN_WHEEL", "COUNTERSIGN_WHEEL_SHA256")} == step["env"]
    assert yaml.safe_load((ROOT / "docs/ci/gitlab-ci.yml").read_text())["release"]["before_script"] == [step["run"]]
    wheel = _wheel(tmp_path)
    (tmp_path / "pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    quiet = {"PIP_NO_INDEX": "1", "PIP_DRY_RUN": "1", "PIP_IGNORE_INSTALLED": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for digest, says in ((sha256(wheel.read_bytes()).hexdigest(), ""), ("0" * 64, "HASHES"), ("", "COUNTERSIGN_WHEEL_SHA256")):
        told = {"COUNTERSIGN_WHEEL": wheel.as_uri(), "COUNTERSIGN_WHEEL_SHA256": digest}
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], env=os.environ | quiet | told, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0, says in done.stderr) == (not says, True), done.stdout + done.stderr


def test_the_issuers_profile_takes_an_identity_for_as_long_as_the_gitlab_example_runs() -> None:
    job = yaml.safe_load((ROOT / "docs/ci/gitlab-ci.yml").read_text())["release"]
    written = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/machines.md").read_text(), re.DOTALL)
    profiles = tomllib.loads("".join(written))
    gitlab = profiles["gitlab"]
    assert {one.name for one in bearer_file.profiles(profiles)} == {"github", "gitlab", "corp", "entra", "okta"}
    assert job["timeout"] == f"{gitlab['max_age_minutes'] // 60} hours"
    assert f"max_age_minutes = {gitlab['max_age_minutes']}" in (ROOT / "docs/ci.md").read_text()
