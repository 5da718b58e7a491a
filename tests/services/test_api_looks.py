"""That the API tells what the pages show: every look of a page is one of an operation too, or an operation tells the same.

Read from the code, so that it holds calls and not columns: a page that shows one more field of a look is not found by this.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import app
import backend.api
from backend.api import app as api
from backend.api.document import operations

API = Path(backend.api.__file__).parent
APP = Path(app.__file__).parent
PAGES = APP.parent / "pages"

TOLD_BY = {
    "access.queries.held": ("show_me",),
    "access.queries.people": ("list_identities",),
    "access.queries.some_people": ("list_identities",),
    "access.rosters.ending_soon": ("list_grants",),
    "access.rosters.grants": ("list_grants",),
    "access.rosters.names": ("list_identities",),
    "access.rosters.person_by_id": ("show_identity", "show_me"),
    "access.rosters.services_of": ("list_identities",),
    "access.rosters.shown": ("list_identities",),
    "changes.briefly.named": ("show_change",),
    "delivery.fleet.models": ("list_fleet",),
    "delivery.fleet.names": ("list_endpoints",),
    "delivery.hands.beside": ("list_endpoints",),
    "delivery.lines.of_models": ("list_placements", "list_endpoints"),
    "delivery.past.moves": ("list_endpoint_timeline",),
    "delivery.past.spans": ("list_generations",),
    "experiments.comparing.showing.decisions": ("list_experiments", "show_experiment_figures"),
    "experiments.comparing.showing.of_change": ("show_rollout_comparison",),
    "experiments.comparing.showing.series": ("list_experiment_looks",),
    "experiments.designs.service.find": ("show_experiment",),
    "delivery.queries.managed": ("list_endpoints",),
    "findings.queries.kinds": ("list_findings",),
    "findings.queries.owners": ("list_findings",),
    "monitoring.queries.budgets": ("show_slo_standing",),
    "monitoring.queries.traffic": ("show_metrics", "show_slo", "list_generations"),
    "notify.queries.email": ("show_known",),
    "policy.queries.names": ("list_environments",),
    "policy.service.version": ("list_policy_versions",),
    "registry.catalog.alias_names": ("list_models",),
    "registry.catalog.models": ("list_models",),
    "registry.catalog.owners": ("list_models",),
    "registry.freshness.is_read_now": ("show_registry",),
    "rollouts.queries.live": ("show_endpoint", "show_rollout"),
    "rollouts.queries.live_change": ("show_endpoint", "list_generations"),
    "rollouts.queries.newest_generation": ("show_endpoint", "list_generations"),
    "rollouts.queries.stand": ("show_rollout",),
    "rollouts.running.count": ("list_running_rollouts",),
}
"""Looks that pages take and no operation does, with the operations that tell the same."""

OF_THE_PAGE = {
    "access.checks.see_as": "what narrows every look",
    "access.queries.owner_among": "which buttons are left out; an operation refuses",
    "delivery.hands.environments_asking": "who has to sign, said before somebody asks; an operation refuses with it",
    "delivery.hands.lacking": "the same",
    "delivery.hands.signable": "the same, for the overview",
    "delivery.hands.needs_another": "which buttons are left out; an operation refuses",
    "policy.service.protected": "what a dialog says before it is asked for; an operation answers with the request",
}
"""Looks that show nothing, with what they are for."""

OF_A_BROWSER = {
    "database.now": "the time, which stands in every answer's `Date`",
    "changes.begin_experiment": "propose_change that names it does the same",
    "database.read": "what every look begins with",
    "identities.act_as": "a demo identity is chosen in a browser; programs bring a token",
    "links.open": "a link of a message is opened in a browser",
    "providers.ask": "before a browser leaves for the provider",
    "sessions.end": "signing out: a browser's cookie",
    "sessions.end_of": "end_sessions names whom by the short name",
    "sessions.open": "signing in: a browser's cookie",
    "sessions.resume": "the same",
}
"""What pages call of services for the browser itself."""


def _used(files: Iterable[Path]) -> set[str]:
    """What files name of the backend by its imports, as `room.module.name`."""
    found: set[str] = set()
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        known = {
            one.asname or one.name: f"{node.module}.{one.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("backend.")
            for one in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                found.add(f"{known[node.value.id]}.{node.attr}")
            elif isinstance(node, ast.Name) and node.id in known:
                found.add(known[node.id])
    return found


def _looks(named: Iterable[str]) -> set[str]:
    """Of these the functions that read the database: their first parameter is the session. By where they are defined."""
    found: set[str] = set()
    for full in named:
        module, _, name = full.rpartition(".")
        try:
            made = getattr(importlib.import_module(module), name, None)
        except ImportError:  # a name of a class, and an attribute of it
            continue
        if inspect.isfunction(made) and next(iter(inspect.signature(made).parameters), "") == "session":
            found.add(f"{made.__module__.removeprefix('backend.')}.{made.__name__}")
    return found


def _files(*folders: Path) -> list[Path]:
    return [file for folder in folders for file in sorted(folder.rglob("*.py"))]


def _services(files: Iterable[Path]) -> set[str]:
    """What files call of the services: `backend().servers.test(`, `asks.backend.servers.test(`, or `backend.servers.test(`."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"\bbackend(?:\(\))?\.([a-z_]+\.[a-z_]+)\(", text))


def test_every_look_of_a_page_is_one_of_an_operation_or_an_operation_tells_the_same() -> None:
    shown, told = _looks(_used(_files(APP, PAGES))), _looks(_used(_files(API)))
    assert len(shown) > 60, "the code is read as it is written"
    lacking = shown - told - TOLD_BY.keys() - OF_THE_PAGE.keys()
    assert not lacking, f"write an operation, or say here which one tells the same: {sorted(lacking)}"
    assert TOLD_BY.keys() | OF_THE_PAGE.keys() <= shown - told, "a reason for a look that needs none any more"
    document = api.build(lambda: None).openapi()  # type: ignore[arg-type, return-value]
    known = {one["operationId"] for _, _, one in operations(document)}
    assert {one for names in TOLD_BY.values() for one in names} <= known


def test_what_pages_call_of_services_operations_call_too() -> None:
    """Commands are held by `test_api_commands`, whoever calls them; this holds what takes no actor, too."""
    called = _services(_files(APP, PAGES))
    assert len(called) > 30
    lacking = called - _services(_files(API)) - OF_A_BROWSER.keys()
    assert not lacking, f"write an operation, or say here what it is for: {sorted(lacking)}"
