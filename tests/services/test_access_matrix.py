"""The matrix, exhaustively: every command of every service, as every role, everywhere, in its own and in foreign scopes.

Each command is stopped right after its check by an exception of the test's own, so that nothing is changed or called.
"""

from __future__ import annotations

import inspect
import io
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlmodel import select

from backend import bootstrap
from backend.access import bindings, checks, directory, scim
from backend.access.rows import Identity, Ownership, Request, RoleGrant, Team
from backend.access.rules import ACTIONS, MATRIX, ROLES, SCOPES, Line, may
from backend.access.rules import Grant as RuleGrant
from backend.bootstrap import Backend
from backend.changes import desk
from backend.changes.rows import Change
from backend.changes.wanted import parse_wanted
from backend.core.context import SYSTEM, Actor
from backend.core.errors import Refusal
from backend.delivery.rows import Endpoint
from backend.drift.stored import profile_bytes
from backend.metrics.slo import Objective
from backend.monitoring.rules import MonitorSpec
from backend.policy.rules import BUILT_IN
from backend.registry import intake
from backend.registry.memory import MemoryRegistry
from backend.registry.rows import IntakeRow
from backend.rollouts.service import At as Looked
from backend.settings import Settings
from backend.window_reports.rules import Asked, Side
from tests.databases import Clock
from tests.designs import DESIGN
from tests.drift_data import profile_of
from tests.found import drifted
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET
from tests.installations import CHURN, EU, FLIGHTS, ROUTER, SERVERS, copied

NOW = datetime(2026, 3, 2, tzinfo=UTC)
TEAM, OTHERS = "tem_europe", "tem_others"
OWN = ("*", "environment:production", f"model:{FLIGHTS}", f"team:{TEAM}")
FOREIGN = ("environment:dev", f"model:{CHURN}", f"team:{OTHERS}")

SECOND = parse_wanted({"version": 2})


@dataclass(frozen=True)
class At:
    """What the commands are done to."""

    endpoint: str
    model: str
    change: int
    intake: str
    grant_request: str = ""
    policy_request: str = ""
    freeze: str = ""
    finding: str = "fnd_nothing"


NOTHING = At("nothing-there", "nothing-there", 999_999_999, "int_nothing")
Command = Callable[[Backend, Actor, At], object]
_DIGESTS = {"plan_digest": "sha256:" + "0" * 64, "base_digest": "sha256:" + "0" * 64}
_PLACE = {"kind": "memory", "settings": {"path": "/tmp/nowhere.json"}}
_PROFILE = profile_bytes(profile_of({"x": [1.0, 2.0, 3.0]}))
_TEXT = {"url": "https://192.0.2.1/metrics", "preset": "mlserver", "model": "m"}
_SOON = datetime.now(UTC) + timedelta(days=1)
_STEP = Looked("rol_x", 0)
_REPORT = Asked(Side(_SOON - timedelta(days=3), _SOON - timedelta(days=2)))
_USER, _GROUP = scim.User("ada@corp.test"), scim.Group("ml")

COMMANDS: dict[str, tuple[str, Command]] = {
    "identities.create": ("identity.create", lambda b, a, at: b.identities.create(a, "x")),
    "identities.grant": ("role.grant", lambda b, a, at: b.identities.grant(a, "ana", "viewer")),
    "identities.confirm_grant": ("role.grant", lambda b, a, at: b.identities.confirm_grant(a, at.grant_request)),
    "identities.refuse_grant": ("role.grant", lambda b, a, at: b.identities.refuse_grant(a, at.grant_request, "x")),
    "identities.take_back": ("role.take_back", lambda b, a, at: b.identities.take_back(a, "ana", "contributor")),
    "identities.deactivate": ("identity.deactivate", lambda b, a, at: b.identities.deactivate(a, "ana")),
    "identities.activate": ("identity.activate", lambda b, a, at: b.identities.activate(a, "ana")),
    "service_owners.hand_over": ("identity.hand_over", lambda b, a, at: b.service_owners.hand_over(a, "x", "ana")),
    "service_owners.confirm": ("identity.hand_over", lambda b, a, at: b.service_owners.confirm(a, "ask_x")),
    "service_owners.refuse": ("identity.hand_over", lambda b, a, at: b.service_owners.refuse(a, "ask_x", "x")),
    "group_mappings.map": ("group_mapping.make", lambda b, a, at: b.group_mappings.map(a, "corp", "ml", "viewer")),
    "group_mappings.confirm": ("group_mapping.make", lambda b, a, at: b.group_mappings.confirm(a, "ask_x")),
    "group_mappings.refuse": ("group_mapping.make", lambda b, a, at: b.group_mappings.refuse(a, "ask_x", "x")),
    "group_mappings.unmap": ("group_mapping.take_back", lambda b, a, at: b.group_mappings.unmap(a, "map_x")),
    "directory_people.users": ("identity.provision", lambda b, a, at: b.directory_people.users(a, "corp", None, 1, 1)),
    "directory_people.user": ("identity.provision", lambda b, a, at: b.directory_people.user(a, "corp", "scu_x")),
    "directory_people.create_user": ("identity.provision", lambda b, a, at: b.directory_people.create_user(a, "corp", _USER)),
    "directory_people.replace_user": (
        "identity.provision", lambda b, a, at: b.directory_people.replace_user(a, "corp", "scu_x", _USER),
    ),
    "directory_people.patch_user": (
        "identity.provision", lambda b, a, at: b.directory_people.patch_user(a, "corp", "scu_x", {}),
    ),
    "directory_people.delete_user": ("identity.provision", lambda b, a, at: b.directory_people.delete_user(a, "corp", "scu_x")),
    "directory_groups.groups": ("identity.provision", lambda b, a, at: b.directory_groups.groups(a, "corp", None, 1, 1)),
    "directory_groups.group": ("identity.provision", lambda b, a, at: b.directory_groups.group(a, "corp", "scg_x")),
    "directory_groups.create_group": (
        "identity.provision", lambda b, a, at: b.directory_groups.create_group(a, "corp", _GROUP),
    ),
    "directory_groups.replace_group": (
        "identity.provision", lambda b, a, at: b.directory_groups.replace_group(a, "corp", "scg_x", _GROUP),
    ),
    "directory_groups.patch_group": (
        "identity.provision", lambda b, a, at: b.directory_groups.patch_group(a, "corp", "scg_x", {}),
    ),
    "directory_groups.delete_group": (
        "identity.provision", lambda b, a, at: b.directory_groups.delete_group(a, "corp", "scg_x"),
    ),
    "bindings.bind": ("binding.make", lambda b, a, at: b.bindings.bind(a, "x", "github", {})),
    "bindings.confirm": ("binding.make", lambda b, a, at: b.bindings.confirm(a, "ask_x")),
    "bindings.refuse": ("binding.make", lambda b, a, at: b.bindings.refuse(a, "ask_x", "x")),
    "bindings.unbind": ("binding.end", lambda b, a, at: b.bindings.unbind(a, "bnd_x")),
    "bindings.lines": ("binding.list", lambda b, a, at: b.bindings.lines(a)),
    "bindings.line": ("binding.list", lambda b, a, at: b.bindings.line(a, "bnd_x")),
    "bindings.profiles": ("binding.list", lambda b, a, at: b.bindings.profiles(a)),
    "teams.create": ("team.create", lambda b, a, at: b.teams.create(a, "x")),
    "teams.rename": ("team.rename", lambda b, a, at: b.teams.rename(a, "europe", "x")),
    "teams.retire": ("team.retire", lambda b, a, at: b.teams.retire(a, "europe")),
    "teams.add_member": ("team.add_member", lambda b, a, at: b.teams.add_member(a, "europe", "ana")),
    "teams.remove_member": ("team.remove_member", lambda b, a, at: b.teams.remove_member(a, "europe", "ana")),
    "teams.set_owner": ("owner.set", lambda b, a, at: b.teams.set_owner(a, "model", at.model, None)),
    "teams.confirm_owner": ("owner.set", lambda b, a, at: b.teams.confirm_owner(a, "ask_x")),
    "teams.refuse_owner": ("owner.set", lambda b, a, at: b.teams.refuse_owner(a, "ask_x", "x")),
    "data_sets.grant": ("data_set.grant", lambda b, a, at: b.data_sets.grant(a, "probes/x", until=_SOON, identity="ana")),
    "data_sets.take_back": ("data_set.take_back", lambda b, a, at: b.data_sets.take_back(a, "dsg_x")),
    "recorded.probes": ("recorded.read", lambda b, a, at: b.recorded.probes(a, at.model, 1)),
    "recorded.requests": ("recorded.read", lambda b, a, at: b.recorded.requests(a, at.endpoint, NOW, _SOON)),
    "feed.take": ("inference_log.write", lambda b, a, at: b.feed.take(a, at.endpoint)),
    "feed.take_events": ("inference_log.write", lambda b, a, at: b.feed.take_events(a, at.endpoint, {}, b"")),
    "log_keeping.set_rules": ("inference_log.set_rules", lambda b, a, at: b.log_keeping.set_rules(a, at.endpoint)),
    "log_keeping.erase": ("inference_log.erase", lambda b, a, at: b.log_keeping.erase(a, at.endpoint, "u", reason="x")),
    "window_reports.ask": ("recorded.read", lambda b, a, at: b.window_reports.ask(a, at.endpoint, _REPORT)),
    "window_reports.open": ("recorded.read", lambda b, a, at: b.window_reports.open(a, at.endpoint, "wrp_x")),
    "window_reports.remove": ("recorded.read", lambda b, a, at: b.window_reports.remove(a, at.endpoint, "wrp_x")),
    "policies.set_policy": ("policy.set", lambda b, a, at: b.policies.set_policy(a, "production", BUILT_IN["production"])),
    "policies.confirm_policy": ("policy.set", lambda b, a, at: b.policies.confirm_policy(a, at.policy_request)),
    "policies.refuse_policy": ("policy.set", lambda b, a, at: b.policies.refuse_policy(a, at.policy_request, "x")),
    "policies.freeze": ("freeze.set", lambda b, a, at: b.policies.freeze(a, "production", "x")),
    "policies.lift": ("freeze.lift", lambda b, a, at: b.policies.lift(a, at.freeze, "x")),
    "ramps.set": ("ramp.set", lambda b, a, at: b.ramps.set(a, "careful", [{"share": 100}])),
    "ramps.remove": ("ramp.remove", lambda b, a, at: b.ramps.remove(a, "careful")),
    "versions.register": ("version.register", lambda b, a, at: b.versions.register(a, at.model, 1)),
    "versions.upload": ("version.register", lambda b, a, at: b.versions.upload(a, at.model, Path("/nowhere.zip"))),
    "intake.register": ("version.register", lambda b, a, at: b.intake.register(a, at.model, 1)),
    "intake.upload": ("version.register", lambda b, a, at: b.intake.upload(a, at.model, io.BytesIO(), "x.zip")),
    "intake.again": ("version.register", lambda b, a, at: b.intake.again(a, at.intake)),
    "cards.write": ("card.write", lambda b, a, at: b.cards.write(a, at.model, "x", revision=0)),
    "mirror.ask": ("registry.refresh", lambda b, a, at: b.mirror.ask(a, at.model)),
    "servers.register": ("server.register", lambda b, a, at: b.servers.register(a, name="x", upstream="memory:x", **_PLACE)),
    "servers.register_router": (
        "server.register", lambda b, a, at: b.servers.register_router(a, name="x", public_url="memory:x", **_PLACE),
    ),
    "servers.edit": ("server.edit", lambda b, a, at: b.servers.edit(a, SERVERS[0], revision=1)),
    "servers.edit_router": ("server.edit", lambda b, a, at: b.servers.edit_router(a, ROUTER, revision=1)),
    "servers.confirm_move": ("server.edit", lambda b, a, at: b.servers.confirm_move(a, SERVERS[0], revision=1)),
    "servers.confirm_router_move": ("server.edit", lambda b, a, at: b.servers.confirm_router_move(a, ROUTER, revision=1)),
    "servers.drop_move": ("server.edit", lambda b, a, at: b.servers.drop_move(a, SERVERS[0], revision=1)),
    "servers.drop_router_move": ("server.edit", lambda b, a, at: b.servers.drop_router_move(a, ROUTER, revision=1)),
    "servers.remove": ("server.remove", lambda b, a, at: b.servers.remove(a, SERVERS[0])),
    "servers.remove_router": ("server.remove", lambda b, a, at: b.servers.remove_router(a, ROUTER)),
    "servers.test": ("server.test", lambda b, a, at: b.servers.test(a, SERVERS[0])),
    "servers.test_router": ("server.test", lambda b, a, at: b.servers.test_router(a, ROUTER)),
    "servers.check_address": ("server.test", lambda b, a, at: b.servers.check_address(a, "https://192.0.2.1")),
    "servers.unmanaged": ("server.test", lambda b, a, at: b.servers.unmanaged(a, SERVERS[0])),
    "sealing_keys.rotate": ("sealing_key.rotate", lambda b, a, at: b.sealing_keys.rotate(a)),
    "audit.rotate_key": ("ledger_key.rotate", lambda b, a, at: b.audit.rotate_key(a)),
    "endpoints.create": (
        "endpoint.create",
        lambda b, a, at: b.endpoints.create(a, name="x", environment="production", model=at.model, server=SERVERS[0]),
    ),
    "endpoints.remove": ("endpoint.remove", lambda b, a, at: b.endpoints.remove(a, at.endpoint, "x")),
    "endpoints.look_now": ("endpoint.look", lambda b, a, at: b.endpoints.look_now(a, at.endpoint)),
    "endpoints.proposal": ("endpoint.look", lambda b, a, at: b.endpoints.proposal(a, at.endpoint)),
    "endpoints.sign_off": (
        "endpoint.sign_off", lambda b, a, at: b.endpoints.sign_off(a, at.endpoint, base_digest="x", versions={}),
    ),
    "endpoints.pause": ("endpoint.pause", lambda b, a, at: b.endpoints.pause(a, at.endpoint, reason="x")),
    "endpoints.resume": ("endpoint.resume", lambda b, a, at: b.endpoints.resume(a, at.endpoint, reason="x")),
    "endpoints.repair_now": ("endpoint.repair", lambda b, a, at: b.endpoints.repair_now(a, at.endpoint, reason="x")),
    "endpoints.set_repair": (
        "endpoint.set_repair", lambda b, a, at: b.endpoints.set_repair(a, at.endpoint, "report", reason="x"),
    ),
    "slos.set": ("slo.set", lambda b, a, at: b.slos.set(a, at.endpoint, [Objective("availability", 0.99)])),
    "slos.remove": ("slo.set", lambda b, a, at: b.slos.remove(a, at.endpoint)),
    "experiments.create": ("experiment.create", lambda b, a, at: b.experiments.create(a, at.endpoint, "x", "x", DESIGN)),
    "experiments.edit": ("experiment.edit", lambda b, a, at: b.experiments.edit(a, at.endpoint, "x", title="y")),
    "experiments.withdraw": ("experiment.edit", lambda b, a, at: b.experiments.withdraw(a, at.endpoint, "x", "x")),
    "experiments.decide": ("experiment.decide", lambda b, a, at: b.experiments.decide(a, at.endpoint, "x", "ship", "x")),
    "experiments.plan": ("experiment.create", lambda b, a, at: b.experiments.plan(a, at.endpoint, DESIGN)),
    "monitors.set": ("monitor.set", lambda b, a, at: b.monitors.set(a, at.endpoint, "watch", MonitorSpec(kind="drift"))),
    "monitors.pause": ("monitor.set", lambda b, a, at: b.monitors.pause(a, at.endpoint, "watch", "x")),
    "monitors.resume": ("monitor.set", lambda b, a, at: b.monitors.resume(a, at.endpoint, "watch")),
    "monitors.run": ("monitor.run", lambda b, a, at: b.monitors.run(a, at.endpoint, "watch")),
    "monitors.remove": ("monitor.set", lambda b, a, at: b.monitors.remove(a, at.endpoint, "watch")),
    "reference_profiles.set": ("profile.add", lambda b, a, at: b.reference_profiles.set(a, at.model, 1, _PROFILE)),
    "metric_sources.add": (
        "metric_source.set", lambda b, a, at: b.metric_sources.add(a, at.endpoint, name="x", kind="text", settings=_TEXT),
    ),
    "metric_sources.remove": ("metric_source.set", lambda b, a, at: b.metric_sources.remove(a, at.endpoint, "x")),
    "retentions.set": (
        "metric_retention.set", lambda b, a, at: b.retentions.set(a, raw_hours=24, fine_hours=200, coarse_hours=9_000),
    ),
    "rollouts.pause": ("rollout.pause", lambda b, a, at: b.rollouts.pause(a, at.endpoint, "x")),
    "rollouts.resume": ("rollout.resume", lambda b, a, at: b.rollouts.resume(a, at.endpoint, "x")),
    "rollouts.let_on": ("rollout.let_on", lambda b, a, at: b.rollouts.let_on(a, at.endpoint, "x", at=_STEP)),
    "rollouts.skip": ("rollout.skip", lambda b, a, at: b.rollouts.skip(a, at.endpoint, "x", at=_STEP)),
    "rollouts.abort": ("rollout.abort", lambda b, a, at: b.rollouts.abort(a, at.endpoint, "x")),
    "rollouts.roll_back": ("change.roll_back", lambda b, a, at: b.rollouts.roll_back(a, at.endpoint, "x")),
    "findings.acknowledge": ("finding.acknowledge", lambda b, a, at: b.findings.acknowledge(a, at.finding)),
    "findings.reopen": ("finding.acknowledge", lambda b, a, at: b.findings.reopen(a, at.finding, "x")),
    "findings.assign": ("finding.assign", lambda b, a, at: b.findings.assign(a, at.finding)),
    "findings.snooze": ("finding.snooze", lambda b, a, at: b.findings.snooze(a, at.finding, NOW, "x")),
    "findings.resolve": ("finding.resolve", lambda b, a, at: b.findings.resolve(a, at.finding, "x")),
    "findings.test": ("finding.test", lambda b, a, at: b.findings.test(a, at.endpoint)),
    "changes.material": ("change.propose", lambda b, a, at: b.changes.material(a, at.endpoint, SECOND, "change.propose")),
    "changes.preview": ("change.propose", lambda b, a, at: b.changes.preview(a, endpoint=at.endpoint, version=2)),
    "changes.propose": (
        "change.propose", lambda b, a, at: b.changes.propose(a, endpoint=at.endpoint, version=2, title="x", reason="x"),
    ),
    "changes.begin_experiment": ("change.propose", lambda b, a, at: b.changes.begin_experiment(a, at.endpoint, "x", "x")),
    "changes.decide": ("experiment.decide", lambda b, a, at: b.changes.decide(a, at.endpoint, "x", "no_decision", "x")),
    "changes.edit": ("change.edit", lambda b, a, at: b.changes.edit(a, at.change, title="x")),
    "changes.rebase": ("change.edit", lambda b, a, at: b.changes.rebase(a, at.change)),
    "changes.recheck": ("change.comment", lambda b, a, at: b.changes.recheck(a, at.change)),
    "changes.withdraw": ("change.withdraw", lambda b, a, at: b.changes.withdraw(a, at.change, "x")),
    "changes.comment": ("change.comment", lambda b, a, at: b.changes.comment(a, at.change, "x")),
    "changes.approve": ("change.vote", lambda b, a, at: b.changes.approve(a, at.change, **_DIGESTS)),
    "changes.reject": ("change.vote", lambda b, a, at: b.changes.reject(a, at.change, **_DIGESTS, comment="x")),
    "changes.start": ("change.start", lambda b, a, at: b.changes.start(a, at.change)),
    "changes.revoke": ("change.revoke", lambda b, a, at: b.changes.revoke(a, at.change, "x")),
    "changes.roll_back": ("change.roll_back", lambda b, a, at: b.changes.roll_back(a, at.change, "x")),
    "changes.set_champion": (
        "alias.set_champion", lambda b, a, at: b.changes.set_champion(a, at.model, "production", 1),
    ),
    "routes.add": ("route.manage", lambda b, a, at: b.routes.add(a, "x", "https://hooks.test/x", team="europe")),
}  # fmt: skip
"""Every command of every service -> the action that it needs, and a call of it."""

WITHOUT_ROLE = {
    "aggregating.of": "a look: what it reads is narrowed to what its actor sees, as test_foreign_ids holds",
    "tokens.create": "one's own, or of a service that one owns (test_api_tokens)",
    "tokens.list": "one's own; those of everybody by token.list (test_api_tokens)",
    "tokens.revoke": "one's own; others' by token.revoke (test_api_tokens)",
    "sessions.lines": "one's own; those of everybody by session.list (test_sign_in)",
    "sessions.revoke": "one's own; others' by session.revoke (test_sign_in)",
    "sessions.end_everywhere": "one's own; others' by session.revoke (test_sign_in)",
    "sessions.end_of": "one's own; others' by session.revoke (test_sign_in)",
    **dict.fromkeys(
        (
            "routes.rotate", "routes.pause", "routes.resume", "routes.remove", "routes.test", "routes.replay",
            "routes.replay_dead", "routes.subscribe", "routes.unsubscribe",
        ),
        "one's own; a team's or everybody's by route.manage (notify/test_delivery)",
    ),
    "preferences.set": "one's own",
    "links.open": "one's own (notify/test_delivery)",
    "blueprints.plan": "a look in any role; what it tries asks for its own action (blueprints/test_applying)",
    "blueprints.apply": "the same: each command that it calls asks for its own action",
    "blueprints.export": "a look in any role, narrowed to what is seen (blueprints/test_exporting)",
    "packaging.build": "no door leads to it: commands call it that have checked",
    "packaging.keep": "no door leads to it: commands call it that have checked",
}  # fmt: skip
"""Commands that take an actor and ask for no role, with the reason."""


class Passed(BaseException):
    """The check let the command on."""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, week: Path) -> Iterator[Backend]:
    folder = copied(week, tmp_path_factory.mktemp("matrix") / "data")
    with mock.patch.object(bootstrap, "_registry", return_value=MemoryRegistry(Clock())):
        made = bootstrap.build(Settings(data_dir=folder, demo_identities=True, sign_in_file=_sign_in_file(folder.parent)))
    with made.database.unit(SYSTEM) as tx:
        for identifier, name in ((TEAM, "europe"), (OTHERS, "others")):
            row = tx.add(Team(id=identifier, name=name, created_by=SYSTEM.id, created_at=tx.now))
            tx.record("team.create", row)
        tx.session.flush()
        for kind, name in (("endpoint", EU), ("model", FLIGHTS)):
            row = Ownership(id=f"{kind}/{name}", kind=kind, name=name, team_id=TEAM, set_by=SYSTEM.id, set_at=tx.now)
            tx.record("owner.set", tx.add(row))
        for role in ROLES:
            for scope in (*OWN, *FOREIGN):
                person = tx.add(Identity(id=f"idn_{role}_{scope}", name=f"{role} {scope}", created_at=tx.now))
                tx.record("identity.create", person)
                tx.session.flush()
                held = RoleGrant(
                    id=f"grt_{role}_{scope}", identity_id=person.id, role=role, scope=scope, granted_by=SYSTEM.id,
                    granted_at=tx.now,
                )  # fmt: skip
                tx.record("role.grant", tx.add(held))
        tx.add(
            IntakeRow(
                id="int_failed", kind="registry", model=FLIGHTS, number=1, started_by=f"idn_admin_{OWN[0]}", started_at=tx.now,
                beat_at=tx.now, state="failed",
            )
        )  # fmt: skip
    yield made
    made.close()


def _sign_in_file(folder: Path) -> Path:
    """With one provider, whom nobody calls."""
    file = folder / "sign-in.toml"
    file.write_text(
        f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
        f'[auth.corp]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
        'server_metadata_url = "https://id.example.com/.well-known/openid-configuration"\n'
    )
    return file


@pytest.fixture(scope="module")
def at(backend: Backend) -> At:
    otto, olga = backend.identities.act_as("otto"), backend.identities.act_as("olga")
    asked = backend.identities.grant(otto, "ben", "operator")
    assert isinstance(asked, Request)
    weaker = backend.policies.set_policy(otto, "production", BUILT_IN["dev"])
    freeze = backend.policies.freeze(olga, "production", "tests")
    with backend.database.read() as session:
        number = session.exec(select(Change.number).join(Endpoint).where(Endpoint.name == EU)).first()
    assert number is not None
    (finding,) = drifted(backend.database, EU)
    return At(EU, FLIGHTS, number, "int_failed", asked.id, str(weaker.request_id), freeze.id, finding.id)


def _services() -> set[str]:
    """Every public method of a service that takes an actor, but for the database's unit of work itself."""
    found, hints = set(), typing.get_type_hints(Backend)
    for field in fields(Backend):
        for name, method in inspect.getmembers(hints[field.name], inspect.isfunction):
            if not name.startswith("_") and "actor" in inspect.signature(method).parameters:
                found.add(f"{field.name}.{name}")
    return found - {"database.unit"}


def test_every_command_of_every_service_stands_in_the_table() -> None:
    assert _services() == COMMANDS.keys() | WITHOUT_ROLE.keys()
    assert not COMMANDS.keys() & WITHOUT_ROLE.keys()


def test_every_action_of_the_matrix_is_asked_for_by_a_command_or_is_a_look() -> None:
    looks = {line.action for line in MATRIX if line.action.endswith((".read", ".list"))} | {"audit.verify", "audit.export"}
    others = {"token.revoke", "session.revoke", "profile.replace"}  # asked for by what is there already
    assert {action for action, _ in COMMANDS.values()} | looks | others == ACTIONS.keys()


def _allowed(line: Line, role: str, scope: str) -> bool:
    """As the table says it, in its own words."""
    return role in line.roles and (scope == "*" or (scope in OWN and scope.partition(":")[0] in SCOPES[line.place]))


@pytest.mark.parametrize("line", MATRIX, ids=lambda line: line.action)
def test_the_rule_says_what_the_table_says(line: Line) -> None:
    """A look is narrowed and not refused, which is for `test_visible`."""
    where: dict[str, dict[str, Any]] = {
        "endpoint": {"environment": "production", "model": FLIGHTS, "team": TEAM},
        "model": {"model": FLIGHTS, "team": TEAM},
        "environment": {"environment": "production"},
        "team": {"team": TEAM},
    }
    for role in ROLES:
        for scope in (*OWN, *FOREIGN) if line.place != "look" else ("*",):
            held = [RuleGrant(role, scope)]
            assert may(held, line.action, now=NOW, **where.get(line.place, {})) == _allowed(line, role, scope), (role, scope)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command stops right after its first check; the actions that were asked for."""
    asked: list[str] = []
    real = checks.require_now

    def require_now(session: Any, actor: Actor, action: str, **where: Any) -> Identity:
        asked.append(action)
        real(session, actor, action, **where)
        raise Passed

    def require_to_read(session: Any, actor: Actor, action: str, *, now: datetime) -> None:
        asked.append(action)
        checks.require_to_read(session, actor, action, now=now)
        raise Passed

    for module in (checks, desk, intake):
        monkeypatch.setattr(module, "require_now", require_now)
    for one in (bindings, directory):
        monkeypatch.setattr(one, "require_to_read", require_to_read)
    return asked


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_role_in_every_scope_may_exactly_what_the_table_says(
    backend: Backend, at: At, stopped: list[str], name: str
) -> None:
    action, call = COMMANDS[name]
    line = next(one for one in MATRIX if one.action == action)
    for role in ROLES:
        for scope in (*OWN, *FOREIGN):
            actor = Actor(f"idn_{role}_{scope}", f"{role} {scope}")
            allowed = _allowed(_line_of(name, line), role, scope)
            stopped.clear()
            said = _said(call, backend, actor, at)
            assert stopped[:1] in ([action], []), (role, scope)
            assert (said is None) == allowed, (role, scope, said)
            assert said is None or said.code in ("not-allowed", "not-found"), (role, scope, said)
            if said is not None and scope in FOREIGN:
                missing = _said(call, backend, actor, replace(NOTHING, **_others(at)))
                assert type(said) is type(missing), (role, scope, said, missing)
                assert _blotted(said, at) == _blotted(missing, NOTHING), (role, scope)


def _line_of(name: str, line: Line) -> Line:
    """A version's probes are a model's; an alias and a new endpoint lie in an environment and have a model."""
    return replace(line, place="model") if name == "recorded.probes" else line


def _others(at: At) -> dict[str, str]:
    return {"grant_request": at.grant_request, "policy_request": at.policy_request, "freeze": at.freeze}


def _said(call: Command, backend: Backend, actor: Actor, at: At) -> Refusal | None:
    """Why not; None where the check let it on. A command that asks for nothing fails the test."""
    try:
        call(backend, actor, at)
    except Passed:
        return None
    except Refusal as refusal:
        return refusal
    raise AssertionError("it was done without a check")


def _blotted(refusal: Refusal, at: At) -> str:
    said = str(refusal)
    for name in sorted({at.endpoint, at.model, str(at.change), at.intake, at.finding}, key=len, reverse=True):
        said = said.replace(name, "*")
    return said
