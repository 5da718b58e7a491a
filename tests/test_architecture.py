"""The order of the house and what no file of the repository may hold, as failing checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CONTRACTS = {
    "house": "A room stands only on the rooms below it",
    "shell": "The backend knows nothing of the web shell",
    "web": "A room of the web shell stands only on the rooms below it",
    "rules": "Rules are pure",
    "drift": "Drift is computed without a database or network",
    "statistics": "Statistics of experiments know sums alone",
    "heavy": "Only the demo and what runs in a subprocess imports the heavy libraries",
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter as `make check` does, on the house that lies in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_the_house_keeps_its_order() -> None:
    lint = lint_imports(ROOT)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    for name in CONTRACTS.values():
        assert re.search(f"{re.escape(name)}.* KEPT", lint.stdout), f"the contract {name!r} was not checked"


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("core/ledger.py", "import backend.delivery.service", {"house"}),
        ("delivery/service.py", "from backend.changes import service", {"house"}),
        ("registry/service.py", "from backend.features import queries", {"house"}),
        ("cli.py", "import backend.worker", {"house"}),
        ("delivery/loans.py", "from backend.core import errors", set()),
        ("surprise/service.py", "from backend.core import errors", {"house"}),
        ("delivery/service.py", "import streamlit", {"shell"}),
        ("delivery/queries.py", "from app.wiring import backend", {"shell"}),
        ("../app/kit/lists.py", "from app.change_pages import changes", {"web"}),
        ("../app/change_pages/changes.py", "from app.model_pages import versions", {"web"}),
        ("../app/change_pages/changes.py", "from app.kit import charts", set()),
        ("delivery/rules.py", "from sqlmodel import Session", {"rules"}),
        ("delivery/rules.py", "from backend.delivery import rows", {"rules"}),
        ("evidence/gates/rules.py", "import httpx", {"rules"}),
        ("monitoring/drift.py", "import pandas", {"heavy"}),
        ("drift/scores.py", "from sqlmodel import Session", {"drift"}),
        ("drift/scores.py", "import backend.monitoring.service", {"house"}),
        ("experiments/statistics/moments.py", "import duckdb", {"statistics"}),
        ("registry/mlflow.py", "def f():\n    import mlflow", {"heavy"}),
        ("demo/training.py", "import pandas, sklearn, mlflow", set()),
    ],
)
def test_each_contract_catches_what_it_forbids(tmp_path: Path, file: str, line: str, broken: set[str]) -> None:
    """A small house under this repository's contracts, with one line added."""
    build_house(tmp_path)
    target = (tmp_path / "backend" / file).resolve()
    target.parent.mkdir(exist_ok=True, parents=True)
    for folder in target.relative_to(tmp_path).parents[:-1]:
        (tmp_path / folder / "__init__.py").touch()
    target.write_text(f"{line}\n")
    lint = lint_imports(tmp_path)
    seen = {key for key, name in CONTRACTS.items() if re.search(f"{re.escape(name)}.* BROKEN", lint.stdout)}
    assert seen == broken, lint.stdout + lint.stderr
    assert (lint.returncode == 0) == (not broken)


def build_house(folder: Path) -> None:
    """The smallest house with a room on each floor that the cases above touch."""
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    rooms = ("core", "embedded", "registry", "features", "delivery", "drift", "monitoring", "experiments", "changes", "demo")
    for room in rooms:
        (folder / "backend" / room).mkdir(parents=True)
        for file in ("__init__.py", "service.py", "queries.py"):
            (folder / "backend" / room / file).touch()
    (folder / "backend" / "__init__.py").touch()
    for room in ("kit", "model_pages", "change_pages"):
        (folder / "app" / room).mkdir(parents=True)
        (folder / "app" / room / "__init__.py").touch()
    (folder / "app" / "__init__.py").touch()
    for file in ("wiring", "kit/charts", "model_pages/versions", "change_pages/changes"):
        (folder / "app" / f"{file}.py").touch()
    (folder / "backend" / "worker.py").touch()
    (folder / "backend" / "experiments" / "statistics").mkdir()
    for file in ("rules", "statistics/__init__"):
        (folder / "backend" / "experiments" / f"{file}.py").touch()
    (folder / "backend" / "core" / "errors.py").touch()
    (folder / "backend" / "delivery" / "rows.py").write_text("import sqlmodel\n")


def test_no_two_modules_import_each_other() -> None:
    imports = {module: imported_modules(file) for module, file in modules().items()}
    mutual = [
        (one, other) for one, targets in imports.items() for other in targets if one < other and one in imports.get(other, ())
    ]
    assert mutual == []


OF_SOMEBODY_WHO_DOES_NOT_ACT = {
    "backend/delivery/moves.py": "what whoever asked for a move still holds when somebody else confirms it",
    "backend/notify/audience.py": "what a person to be written to holds: nobody acts, so that no token narrows it",
}
"""Files outside of the room that may ask for every grant of an identity, with the reason."""


def test_what_whoever_acts_may_do_is_asked_with_the_limits_of_the_token() -> None:
    """`access.queries.grants` leaves a token's limits out; `held` and `standing` intersect with them."""
    files = [one for one in tracked_files() if one.suffix == ".py" and one.parts[0] in ("backend", "app", "pages")]
    outside = [one for one in files if one.parts[:2] != ("backend", "access")]
    asking = {str(one) for one in outside if names_of_queries((ROOT / one).read_text()) & {"grants"}}
    assert asking == OF_SOMEBODY_WHO_DOES_NOT_ACT.keys(), "ask `access.queries.held`, or say here why nobody acts"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from backend.access import queries\nqueries.grants(session, actor.id)", {"grants"}),
        ("from backend.access import queries as access\nask = access.grants", {"grants"}),
        ("import backend.access.queries\nbackend.access.queries.grants(session, actor.id)", {"grants"}),
        ("import backend.access.queries as known\nknown.grants(session, actor.id)", {"grants"}),
        ("from backend.access.queries import grants as told\ntold(session, actor.id)", {"grants"}),
        ("from backend.access.queries import held\nheld(session, actor)", {"held"}),
        ("from backend.delivery import queries\nqueries.grants(session)", set()),
    ],
)
def test_however_the_grants_of_an_identity_are_asked_for_it_is_seen(source: str, found: set[str]) -> None:
    assert names_of_queries(source) == found


def names_of_queries(source: str) -> set[str]:
    """What a file takes from `backend.access.queries`, by whatever way it imports it."""
    tree, room = ast.parse(source), "backend.access.queries"
    found, known = set[str](), {room}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == room:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {one.asname or one.name for one in node.names if f"{node.module}.{one.name}" == room}
        elif isinstance(node, ast.Import):
            known |= {one.asname for one in node.names if one.name == room and one.asname}
    return found | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) in known
    }


def test_every_package_is_under_the_contracts_and_the_type_checker() -> None:
    """A package that neither import-linter nor mypy looks at could break every rule unseen."""
    present = {file.parts[0] for file in tracked_files() if file.parts[0] in ("backend", "app") and file.suffix == ".py"}
    assert present <= set(settings()["importlinter"]["root_packages"])
    assert present <= set(settings()["mypy"]["files"])


def test_importing_the_backend_loads_no_heavy_library() -> None:
    """Each costs seconds and hundreds of megabytes, so the process that serves the pages never holds one."""
    apart = re.compile("|".join(pattern_of(left) for left in excepted_modules()))
    names = [name for name in modules() if not apart.fullmatch(name)]
    program = (
        "import importlib, sys\n"
        f"for name in {sorted(names)!r}: importlib.import_module(name)\n"
        "print(sorted({'mlflow', 'evidently', 'feast', 'sklearn', 'onnxruntime', 'pandas'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (seen.returncode, seen.stdout.strip()) == (0, "[]"), seen.stderr


def settings() -> dict[str, Any]:
    """The `[tool]` part of pyproject.toml."""
    tools: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return tools


def excepted_modules() -> set[str]:
    """The modules that the contract on heavy libraries excepts, as import-linter writes them."""
    (heavy,) = (contract for contract in settings()["importlinter"]["contracts"] if contract["id"] == "heavy")
    return {line.split(" -> ")[0] for line in heavy["ignore_imports"]}


def pattern_of(expression: str) -> str:
    """import-linter's `*` is one name, `**` one or more."""
    return re.escape(expression).replace(r"\*\*", r".+").replace(r"\*", r"[^.]+")


def modules() -> dict[str, Path]:
    """Every tracked module of the backend by its dotted name."""
    files = [file for file in tracked_files() if file.parts[0] == "backend" and file.suffix == ".py"]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): ROOT / file for file in files}


def imported_modules(file: Path) -> set[str]:
    """The names that a file imports; `from package import name` counts as both, since `name` may be a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


# Written in pieces, so that this file does not hold what it looks for.
NEVER = {
    "a package index": re.compile(
        "|".join(("pypi" + r"\.org", "python" + "hosted", "npm" + "js", "--(extra-)?index" + "-url"))
    ),
    "a path of one machine": re.compile(r"(?<![\w.~$}*-])/(" + "work|root|opt" + r")/"),
}


@pytest.mark.parametrize("what", NEVER)
def test_no_file_names(what: str) -> None:
    found = [
        f"{file}:{number}: {line.strip()[:120]}"
        for file in tracked_files()
        for number, line in enumerate(text_of(file).splitlines(), start=1)
        if NEVER[what].search(line)
    ]
    assert found == []


def test_the_fault_tests_skip_nothing() -> None:
    skip = re.compile(r"\bskip(if|_module_level)?\b|\bimportorskip\b|\bxfail\b", re.IGNORECASE)
    faults = [file for file in tracked_files() if file.parts[:2] == ("tests", "faults") and file.suffix == ".py"]
    assert [str(file) for file in faults if skip.search(text_of(file))] == []


def tracked_files() -> list[Path]:
    """What git tracks or would track, relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(file: Path) -> str:
    """A file's text; a picture or a font has none."""
    content = (ROOT / file).read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")
