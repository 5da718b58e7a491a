"""Every operation of the API: what it answers, that the document says so, and who may do it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from backend.access.rows import Identity
from backend.access.rules import ACTIONS, ROLES
from backend.access.service import actor_of
from backend.api import app as api
from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.drift.stored import profile_bytes
from backend.registry.rows import IntakeRow, MirroredVersion, Model
from tests.api_world import Api
from tests.designs import DESIGN
from tests.drift_data import profile_of
from tests.found import drifted
from tests.services.changes.world import ENDPOINT, MODEL, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def untouchable() -> Backend:
    raise AssertionError("the backend was touched")


WHY = {"reason": "Because of the tests"}
PROPOSAL = {"endpoint": ENDPOINT, "version": 2, "title": "Newer", "reason": "It is better."}
DECLARED = {"files": [{"name": "a.yaml", "text": "apiVersion: countersign/v1\nkind: Ramp\n"}]}
RAMP = {"steps": [{"share_percent": 1, "hold_seconds": 600}, {"share_percent": 25, "hold_seconds": 3600, "person": True}]}
UNSEEN = {"plan_digest": "sha256:" + "0" * 64, "base_digest": "sha256:" + "0" * 64}

SOURCE = {"name": "gateway", "kind": "text", "settings": {"url": "https://1.1.1.1/x", "preset": "mlserver", "model": "m"}}
PROMISED = {"days": 30, "objectives": [{"kind": "availability", "target": 0.999}]}
DESIGNED = {"slug": "sharper", "title": "Sharper", "design": DESIGN}
WATCHED = {"spec": {"kind": "drift", "window_hours": 24}}
MEMORY = {"name": "other", "kind": "memory", "settings": {"path": "/tmp/countersign-nowhere.json"}}


def profile_content() -> str:
    """A small profile, as it is sent."""
    return base64.b64encode(profile_bytes(profile_of({"x": [1.0, 2.0, 3.0]}))).decode()


OPERATIONS: dict[tuple[str, str], tuple[str, str, Any]] = {
    ("GET", "/v1/models"): ("model.read", "/models", None),
    ("GET", "/v1/models/{model}"): ("model.read", f"/models/{MODEL}", None),
    ("POST", "/v1/models/{model}/champion"): (
        "alias.set_champion", f"/models/{MODEL}/champion", {"environment": "production", "version": 1},
    ),
    ("GET", "/v1/versions"): ("model.read", "/versions", None),
    ("GET", "/v1/models/{model}/versions"): ("model.read", f"/models/{MODEL}/versions", None),
    ("GET", "/v1/models/{model}/compare"): ("model.read", f"/models/{MODEL}/compare?version=1&version=2", None),
    ("GET", "/v1/models/{model}/versions/{number}"): ("model.read", f"/models/{MODEL}/versions/1", None),
    ("POST", "/v1/models/{model}/versions/{number}/register"): (
        "version.register", f"/models/{MODEL}/versions/1/register", None,
    ),
    ("GET", "/v1/changes"): ("change.read", "/changes", None),
    ("POST", "/v1/changes"): ("change.propose", "/changes", PROPOSAL),
    ("POST", "/v1/changes/preview"): ("change.propose", "/changes/preview", {"endpoint": ENDPOINT, "version": 2}),
    ("GET", "/v1/changes/waiting"): ("change.read", "/changes/waiting", None),
    ("GET", "/v1/changes/asked"): ("change.read", "/changes/asked", None),
    ("GET", "/v1/changes/{change}"): ("change.read", "/changes/1", None),
    ("PATCH", "/v1/changes/{change}"): ("change.edit", "/changes/1", {"title": "Another"}),
    ("GET", "/v1/changes/{change}/timeline"): ("change.read", "/changes/1/timeline", None),
    ("POST", "/v1/changes/{change}/withdraw"): ("change.withdraw", "/changes/1/withdraw", WHY),
    ("POST", "/v1/changes/{change}/recheck"): ("change.comment", "/changes/1/recheck", None),
    ("POST", "/v1/changes/{change}/rebase"): ("change.edit", "/changes/1/rebase", None),
    ("POST", "/v1/changes/{change}/comments"): ("change.comment", "/changes/1/comments", {"text": "Look here"}),
    ("POST", "/v1/changes/{change}/votes"): ("change.vote", "/changes/1/votes", {"verdict": "approve", **UNSEEN}),
    ("POST", "/v1/changes/{change}/start"): ("change.start", "/changes/1/start", None),
    ("POST", "/v1/changes/{change}/revoke"): ("change.revoke", "/changes/1/revoke", WHY),
    ("POST", "/v1/changes/{change}/roll-back"): ("change.roll_back", "/changes/1/roll-back", WHY),
    ("GET", "/v1/endpoints"): ("endpoint.read", "/endpoints", None),
    ("GET", "/v1/endpoints/{endpoint}"): ("endpoint.read", f"/endpoints/{ENDPOINT}", None),
    ("GET", "/v1/endpoints/{endpoint}/history"): ("endpoint.read", f"/endpoints/{ENDPOINT}/history", None),
    ("GET", "/v1/endpoints/{endpoint}/pushes"): ("endpoint.read", f"/endpoints/{ENDPOINT}/pushes", None),
    ("GET", "/v1/endpoints/{endpoint}/at"): (
        "endpoint.read", f"/endpoints/{ENDPOINT}/at?moment=2026-03-01T06:00:00Z", None,
    ),
    ("POST", "/v1/endpoints/{endpoint}/pause"): ("endpoint.pause", f"/endpoints/{ENDPOINT}/pause", WHY),
    ("POST", "/v1/endpoints/{endpoint}/resume"): ("endpoint.resume", f"/endpoints/{ENDPOINT}/resume", WHY),
    ("POST", "/v1/endpoints/{endpoint}/repair"): ("endpoint.repair", f"/endpoints/{ENDPOINT}/repair", WHY),
    ("POST", "/v1/endpoints/{endpoint}/look"): ("endpoint.look", f"/endpoints/{ENDPOINT}/look", None),
    ("GET", "/v1/findings"): ("finding.read", "/findings", None),
    ("GET", "/v1/findings/counts"): ("finding.read", "/findings/counts", None),
    ("GET", "/v1/findings/{finding}"): ("finding.read", "/findings/1", None),
    ("GET", "/v1/findings/{finding}/messages"): ("finding.read", "/findings/1/messages", None),
    ("POST", "/v1/findings/{finding}/acknowledge"): ("finding.acknowledge", "/findings/1/acknowledge", WHY),
    ("POST", "/v1/findings/{finding}/assign"): ("finding.assign", "/findings/1/assign", {"person": "olga"}),
    ("POST", "/v1/findings/{finding}/snooze"): (
        "finding.snooze", "/findings/1/snooze", {"until": "2126-03-01T06:00:00Z", **WHY},
    ),
    ("POST", "/v1/findings/{finding}/resolve"): ("finding.resolve", "/findings/1/resolve", WHY),
    ("POST", "/v1/findings/{finding}/reopen"): ("finding.acknowledge", "/findings/1/reopen", WHY),
    ("POST", "/v1/findings/test"): ("finding.test", "/findings/test", {"endpoint": ENDPOINT}),
    ("GET", "/v1/servers"): ("endpoint.read", "/servers", None),
    ("GET", "/v1/servers/{server}"): ("endpoint.read", "/servers/s", None),
    ("POST", "/v1/servers/{server}/test"): ("server.test", "/servers/s/test", None),
    ("GET", "/v1/teams"): ("team.read", "/teams", None),
    ("POST", "/v1/teams"): ("team.create", "/teams", {"name": "flights"}),
    ("POST", "/v1/teams/owner"): ("owner.set", "/teams/owner", {"kind": "endpoint", "name": ENDPOINT, "team": None}),
    ("GET", "/v1/teams/{team}"): ("team.read", "/teams/flights", None),
    ("POST", "/v1/teams/{team}/rename"): ("team.rename", "/teams/flights/rename", {"name": "flights"}),
    ("PUT", "/v1/teams/{team}/members/{identity}"): ("team.add_member", "/teams/flights/members/ana", None),
    ("DELETE", "/v1/teams/{team}/members/{identity}"): ("team.remove_member", "/teams/flights/members/ana", None),
    ("POST", "/v1/teams/{team}/retire"): ("team.retire", "/teams/flights/retire", None),
    ("GET", "/v1/grants"): ("policy.read", "/grants", None),
    ("POST", "/v1/grants"): ("role.grant", "/grants", {"identity": "carla", "role": "viewer", "scope": "environment:dev"}),
    ("POST", "/v1/grants/take-back"): (
        "role.take_back", "/grants/take-back", {"identity": "carla", "role": "viewer", "scope": "environment:dev"},
    ),
    ("GET", "/v1/grants/admins"): ("policy.read", "/grants/admins", None),
    ("GET", "/v1/identities/{identity}/known"): ("session.list", "/identities/nora/known", None),
    ("GET", "/v1/keys/sealing"): ("sealing_key.list", "/keys/sealing", None),
    ("GET", "/v1/keys/ledger"): ("sealing_key.list", "/keys/ledger", None),
    ("GET", "/v1/outgoing"): ("policy.read", "/outgoing", None),
    ("POST", "/v1/outgoing/check"): ("server.test", "/outgoing/check", {"url": "http://127.0.0.1:8000"}),
    ("GET", "/v1/bindings"): ("binding.list", "/bindings", None),
    ("GET", "/v1/bindings/issuers"): ("binding.list", "/bindings/issuers", None),
    ("GET", "/v1/bindings/{binding}"): ("binding.list", f"/bindings/bnd_{'0' * 26}", None),
    ("POST", "/v1/bindings"): ("binding.make", "/bindings", {"service": "ci", "profile": "github", "claims": {"ref": "x"}}),
    ("DELETE", "/v1/bindings/{binding}"): ("binding.end", f"/bindings/bnd_{'0' * 26}", None),
    ("PUT", "/v1/policies/{environment}"): ("policy.set", "/policies/dev", {"schema": 1, "approvals_needed": 0}),
    ("GET", "/v1/data-sets/grants"): ("data_set.list", "/data-sets/grants", None),
    ("POST", "/v1/data-sets/grants"): (
        "data_set.grant", "/data-sets/grants",
        {"data_set": f"requests/{ENDPOINT}", "identity": "carla", "until": "2026-12-31T00:00:00Z"},
    ),
    ("DELETE", "/v1/data-sets/grants/{grant}"): ("data_set.take_back", f"/data-sets/grants/dsg_{'0' * 26}", None),
    ("GET", "/v1/models/{model}/versions/{number}/recorded"): (
        "recorded.read", f"/models/{MODEL}/versions/1/recorded", None,
    ),
    ("GET", "/v1/endpoints/{endpoint}/requests"): (
        "recorded.read", f"/endpoints/{ENDPOINT}/requests?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z", None,
    ),
    ("POST", "/v1/inference-log"): ("inference_log.write", "/inference-log", {"endpoint": ENDPOINT, "requests": [{}]}),
    ("POST", "/v1/inference-log/{endpoint}/events"): (
        "inference_log.write", f"/inference-log/{ENDPOINT}/events", {"specversion": "1.0"},
    ),
    ("GET", "/v1/endpoints/{endpoint}/inference-log"): ("endpoint.read", f"/endpoints/{ENDPOINT}/inference-log", None),
    ("PUT", "/v1/endpoints/{endpoint}/inference-log"): (
        "inference_log.set_rules", f"/endpoints/{ENDPOINT}/inference-log", {"sample_every": 10},
    ),
    ("GET", "/v1/endpoints/{endpoint}/inference-log/erasures"): (
        "endpoint.read", f"/endpoints/{ENDPOINT}/inference-log/erasures", None,
    ),
    ("POST", "/v1/endpoints/{endpoint}/inference-log/erasures"): (
        "inference_log.erase", f"/endpoints/{ENDPOINT}/inference-log/erasures", {"unit": "u1", **WHY},
    ),
    ("GET", "/v1/endpoints/{endpoint}/inference-log/erasures/{erasure}"): (
        "endpoint.read", f"/endpoints/{ENDPOINT}/inference-log/erasures/ers_{'0' * 26}", None,
    ),
    ("GET", "/v1/endpoints/{endpoint}/window-reports"): ("endpoint.read", f"/endpoints/{ENDPOINT}/window-reports", None),
    ("POST", "/v1/endpoints/{endpoint}/window-reports"): (
        "recorded.read", f"/endpoints/{ENDPOINT}/window-reports",
        {"current": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}},
    ),
    ("GET", "/v1/endpoints/{endpoint}/window-reports/{report}"): (
        "endpoint.read", f"/endpoints/{ENDPOINT}/window-reports/wrp_{'0' * 26}", None,
    ),
    ("DELETE", "/v1/endpoints/{endpoint}/window-reports/{report}"): (
        "recorded.read", f"/endpoints/{ENDPOINT}/window-reports/wrp_{'0' * 26}", None,
    ),
    ("GET", "/v1/endpoints/{endpoint}/window-reports/{report}/page"): (
        "recorded.read", f"/endpoints/{ENDPOINT}/window-reports/wrp_{'0' * 26}/page", None,
    ),
    ("GET", "/v1/requests"): ("request.list", "/requests", None),
    ("GET", "/v1/requests/{request}"): ("request.list", f"/requests/ask_{'0' * 26}", None),
    ("GET", "/v1/requests/{request}/touched"): ("group_mapping.make", f"/requests/ask_{'0' * 26}/touched", None),
    ("POST", "/v1/requests/{request}/confirm"): ("request.list", f"/requests/ask_{'0' * 26}/confirm", None),
    ("POST", "/v1/requests/{request}/refuse"): ("request.list", f"/requests/ask_{'0' * 26}/refuse", WHY),
    ("GET", "/v1/audit/events"): ("audit.read", "/audit/events", None),
    ("GET", "/v1/audit/events/{row}"): ("audit.read", "/audit/events/1", None),
    ("POST", "/v1/audit/verify"): ("audit.verify", "/audit/verify", None),
    ("GET", "/v1/notify/events"): ("", "/notify/events", None),
    ("GET", "/v1/notify/routes"): ("", "/notify/routes", None),
    ("POST", "/v1/notify/routes"): ("", "/notify/routes", {"name": "hook", "address": "http://127.0.0.1:9/x"}),
    ("GET", "/v1/notify/routes/{route}"): ("", "/notify/routes/hook", None),
    ("POST", "/v1/notify/routes/{route}/pause"): ("", "/notify/routes/hook/pause", WHY),
    ("POST", "/v1/notify/routes/{route}/resume"): ("", "/notify/routes/hook/resume", None),
    ("POST", "/v1/notify/routes/{route}/rotate"): ("", "/notify/routes/hook/rotate", None),
    ("POST", "/v1/notify/routes/{route}/test"): ("", "/notify/routes/hook/test", None),
    ("POST", "/v1/notify/routes/{route}/replay"): ("", "/notify/routes/hook/replay", None),
    ("DELETE", "/v1/notify/routes/{route}"): ("", "/notify/routes/hook", None),
    ("GET", "/v1/notify/subscriptions"): ("", "/notify/subscriptions", None),
    ("POST", "/v1/notify/subscriptions"): ("", "/notify/subscriptions", {"events": ["*"]}),
    ("GET", "/v1/notify/subscriptions/{subscription}"): ("", f"/notify/subscriptions/sub_{'0' * 26}", None),
    ("DELETE", "/v1/notify/subscriptions/{subscription}"): ("", f"/notify/subscriptions/sub_{'0' * 26}", None),
    ("GET", "/v1/notify/preferences"): ("", "/notify/preferences", None),
    ("PUT", "/v1/notify/preferences"): ("", "/notify/preferences", {"zone": "Europe/Berlin"}),
    ("GET", "/v1/notify/messages"): ("", "/notify/messages", None),
    ("GET", "/v1/notify/messages/{message}"): ("", f"/notify/messages/msg_{'0' * 26}", None),
    ("POST", "/v1/notify/messages/{message}/replay"): ("", f"/notify/messages/msg_{'0' * 26}/replay", None),
    ("POST", "/v1/config/plan"): ("policy.read", "/config/plan", DECLARED),
    ("POST", "/v1/config/apply"): ("policy.read", "/config/apply", {**DECLARED, "plan": "sha256:" + "0" * 64}),
    ("GET", "/v1/config/export"): ("policy.read", "/config/export?kind=Team", None),
    ("GET", "/v1/me"): ("", "/me", None),
    ("GET", "/v1/models/{model}/card"): ("model.read", f"/models/{MODEL}/card", None),
    ("PUT", "/v1/models/{model}/card"): ("card.write", f"/models/{MODEL}/card", {"text": "# Delays"}),
    ("GET", "/v1/models/{model}/card/history"): ("model.read", f"/models/{MODEL}/card/history", None),
    ("GET", "/v1/models/{model}/versions/{number}/lineage"): ("model.read", f"/models/{MODEL}/versions/1/lineage", None),
    ("GET", "/v1/models/{model}/endpoints"): ("model.read", f"/models/{MODEL}/endpoints", None),
    ("GET", "/v1/intakes"): ("model.read", "/intakes", None),
    ("POST", "/v1/intakes"): ("version.register", "/intakes", {"model": MODEL, "version": 1}),
    ("GET", "/v1/intakes/{intake}"): ("model.read", "/intakes/{intake}", None),
    ("POST", "/v1/intakes/{intake}/again"): ("version.register", "/intakes/{intake}/again", None),
    ("POST", "/v1/models/{model}/uploads"): ("version.register", f"/models/{MODEL}/uploads?file=model.zip", None),
    ("GET", "/v1/registry"): ("model.read", "/registry", None),
    ("POST", "/v1/registry/refresh"): ("registry.refresh", "/registry/refresh", {"model": MODEL}),
    ("POST", "/v1/endpoints"): (
        "endpoint.create", "/endpoints", {"name": "other", "environment": "dev", "model": MODEL, "server": "s"},
    ),
    ("PATCH", "/v1/endpoints/{endpoint}"): ("endpoint.set_repair", f"/endpoints/{ENDPOINT}", {"repair": "report", **WHY}),
    ("DELETE", "/v1/endpoints/{endpoint}"): ("endpoint.remove", f"/endpoints/{ENDPOINT}?reason=Gone", None),
    ("POST", "/v1/endpoints/{endpoint}/baseline"): ("endpoint.look", f"/endpoints/{ENDPOINT}/baseline", None),
    ("POST", "/v1/endpoints/{endpoint}/sign-off"): (
        "endpoint.sign_off", f"/endpoints/{ENDPOINT}/sign-off", {"digest": "sha256:" + "0" * 64, "versions": []},
    ),
    ("GET", "/v1/endpoints/{endpoint}/timeline"): ("endpoint.read", f"/endpoints/{ENDPOINT}/timeline", None),
    ("GET", "/v1/endpoints/{endpoint}/rollouts"): ("endpoint.read", f"/endpoints/{ENDPOINT}/rollouts", None),
    ("GET", "/v1/endpoints/{endpoint}/rollout"): ("endpoint.read", f"/endpoints/{ENDPOINT}/rollout", None),
    ("POST", "/v1/endpoints/{endpoint}/rollout/pause"): ("rollout.pause", f"/endpoints/{ENDPOINT}/rollout/pause", WHY),
    ("POST", "/v1/endpoints/{endpoint}/rollout/resume"): ("rollout.resume", f"/endpoints/{ENDPOINT}/rollout/resume", WHY),
    ("POST", "/v1/endpoints/{endpoint}/rollout/let-on"): (
        "rollout.let_on", f"/endpoints/{ENDPOINT}/rollout/let-on", {**WHY, "rollout": f"rol_{'0' * 26}", "step": 0},
    ),
    ("POST", "/v1/endpoints/{endpoint}/rollout/skip"): (
        "rollout.skip", f"/endpoints/{ENDPOINT}/rollout/skip", {**WHY, "rollout": f"rol_{'0' * 26}", "step": 0},
    ),
    ("POST", "/v1/endpoints/{endpoint}/rollout/abort"): ("rollout.abort", f"/endpoints/{ENDPOINT}/rollout/abort", WHY),
    ("POST", "/v1/endpoints/{endpoint}/rollout/roll-back"): (
        "change.roll_back", f"/endpoints/{ENDPOINT}/rollout/roll-back", WHY,
    ),
    ("GET", "/v1/endpoints/{endpoint}/metrics"): ("endpoint.read", f"/endpoints/{ENDPOINT}/metrics?step=300", None),
    ("POST", "/v1/endpoints/{endpoint}/metrics/sources"): (
        "metric_source.set", f"/endpoints/{ENDPOINT}/metrics/sources", SOURCE,
    ),
    ("DELETE", "/v1/endpoints/{endpoint}/metrics/sources/{source}"): (
        "metric_source.set", f"/endpoints/{ENDPOINT}/metrics/sources/gateway", None,
    ),
    ("GET", "/v1/endpoints/{endpoint}/slo"): ("endpoint.read", f"/endpoints/{ENDPOINT}/slo", None),
    ("PUT", "/v1/endpoints/{endpoint}/slo"): ("slo.set", f"/endpoints/{ENDPOINT}/slo", PROMISED),
    ("DELETE", "/v1/endpoints/{endpoint}/slo"): ("slo.set", f"/endpoints/{ENDPOINT}/slo", None),
    ("GET", "/v1/endpoints/{endpoint}/slo/standing"): ("endpoint.read", f"/endpoints/{ENDPOINT}/slo/standing", None),
    ("GET", "/v1/endpoints/{endpoint}/slo/rules"): ("endpoint.read", f"/endpoints/{ENDPOINT}/slo/rules", None),
    ("GET", "/v1/endpoints/{endpoint}/slo/dashboard"): ("endpoint.read", f"/endpoints/{ENDPOINT}/slo/dashboard", None),
    ("GET", "/v1/endpoints/{endpoint}/watched"): ("endpoint.read", f"/endpoints/{ENDPOINT}/watched", None),
    ("GET", "/v1/endpoints/{endpoint}/drift"): ("endpoint.read", f"/endpoints/{ENDPOINT}/drift", None),
    ("GET", "/v1/endpoints/{endpoint}/drift/feature"): (
        "endpoint.read", f"/endpoints/{ENDPOINT}/drift/feature?name=hour", None,
    ),
    ("GET", "/v1/endpoints/{endpoint}/drift/joint"): ("endpoint.read", f"/endpoints/{ENDPOINT}/drift/joint", None),
    ("GET", "/v1/endpoints/{endpoint}/missing-values"): ("endpoint.read", f"/endpoints/{ENDPOINT}/missing-values", None),
    ("GET", "/v1/endpoints/{endpoint}/predictions"): ("endpoint.read", f"/endpoints/{ENDPOINT}/predictions", None),
    ("GET", "/v1/endpoints/{endpoint}/quality"): ("endpoint.read", f"/endpoints/{ENDPOINT}/quality", None),
    ("GET", "/v1/endpoints/{endpoint}/reliability"): ("endpoint.read", f"/endpoints/{ENDPOINT}/reliability", None),
    ("GET", "/v1/experiments"): ("experiment.read", "/experiments", None),
    ("POST", "/v1/endpoints/{endpoint}/experiments"): ("experiment.create", f"/endpoints/{ENDPOINT}/experiments", DESIGNED),
    ("POST", "/v1/endpoints/{endpoint}/experiments/plan"): (
        "experiment.create", f"/endpoints/{ENDPOINT}/experiments/plan", {"design": DESIGN},
    ),
    ("GET", "/v1/endpoints/{endpoint}/experiments/{experiment}"): (
        "experiment.read", f"/endpoints/{ENDPOINT}/experiments/sharper", None,
    ),
    ("PATCH", "/v1/endpoints/{endpoint}/experiments/{experiment}"): (
        "experiment.edit", f"/endpoints/{ENDPOINT}/experiments/sharper", {"title": "Another"},
    ),
    ("POST", "/v1/endpoints/{endpoint}/experiments/{experiment}/withdraw"): (
        "experiment.edit", f"/endpoints/{ENDPOINT}/experiments/sharper/withdraw", WHY,
    ),
    ("POST", "/v1/endpoints/{endpoint}/experiments/{experiment}/decide"): (
        "experiment.decide", f"/endpoints/{ENDPOINT}/experiments/sharper/decide", {"outcome": "ship", **WHY},
    ),
    **{("GET", f"/v1/endpoints/{{endpoint}}/experiments/{{experiment}}/{what}"): (
        "experiment.read", f"/endpoints/{ENDPOINT}/experiments/sharper/{what}", None,
    ) for what in ("figures", "looks", "aggregates")},
    ("GET", "/v1/endpoints/{endpoint}/rollout/comparison"): (
        "experiment.read", f"/endpoints/{ENDPOINT}/rollout/comparison", None,
    ),
    ("GET", "/v1/monitors"): ("endpoint.read", "/monitors", None),
    ("GET", "/v1/endpoints/{endpoint}/monitors/{monitor}"): ("endpoint.read", f"/endpoints/{ENDPOINT}/monitors/drift", None),
    ("PUT", "/v1/endpoints/{endpoint}/monitors/{monitor}"): ("monitor.set", f"/endpoints/{ENDPOINT}/monitors/drift", WATCHED),
    ("DELETE", "/v1/endpoints/{endpoint}/monitors/{monitor}"): ("monitor.set", f"/endpoints/{ENDPOINT}/monitors/drift", None),
    ("POST", "/v1/endpoints/{endpoint}/monitors/{monitor}/pause"): (
        "monitor.set", f"/endpoints/{ENDPOINT}/monitors/drift/pause", WHY,
    ),
    ("POST", "/v1/endpoints/{endpoint}/monitors/{monitor}/resume"): (
        "monitor.set", f"/endpoints/{ENDPOINT}/monitors/drift/resume", None,
    ),
    ("POST", "/v1/endpoints/{endpoint}/monitors/{monitor}/run"): (
        "monitor.run", f"/endpoints/{ENDPOINT}/monitors/drift/run", None,
    ),
    ("GET", "/v1/models/{model}/profiles"): ("model.read", f"/models/{MODEL}/profiles", None),
    ("GET", "/v1/models/{model}/versions/{number}/profile"): ("model.read", f"/models/{MODEL}/versions/1/profile", None),
    ("PUT", "/v1/models/{model}/versions/{number}/profile"): (
        "profile.add", f"/models/{MODEL}/versions/1/profile", {"content": profile_content()},
    ),
    ("GET", "/v1/metrics/retention"): ("endpoint.read", "/metrics/retention", None),
    ("PUT", "/v1/metrics/retention"): (
        "metric_retention.set", "/metrics/retention", {"raw_hours": 24, "fine_hours": 200, "coarse_hours": 9000},
    ),
    ("GET", "/v1/fleet"): ("endpoint.read", "/fleet", None),
    ("GET", "/v1/fleet/endpoints"): ("endpoint.read", "/fleet/endpoints", None),
    ("GET", "/v1/fleet/rollouts"): ("endpoint.read", "/fleet/rollouts", None),
    ("GET", "/v1/fleet/moves"): ("endpoint.read", "/fleet/moves", None),
    ("GET", "/v1/endpoints/{endpoint}/shadow"): ("endpoint.read", f"/endpoints/{ENDPOINT}/shadow?tolerance=0.1", None),
    ("GET", "/v1/endpoints/{endpoint}/served"): ("endpoint.read", f"/endpoints/{ENDPOINT}/served", None),
    ("GET", "/v1/fleet/at"): ("endpoint.read", "/fleet/at?moment=2026-03-01T06:00:00Z", None),
    ("POST", "/v1/servers"): ("server.register", "/servers", {**MEMORY, "upstream": "memory:other"}),
    ("PATCH", "/v1/servers/{server}"): ("server.edit", "/servers/s", {"upstream": "memory:s"}),
    ("DELETE", "/v1/servers/{server}"): ("server.remove", "/servers/s", None),
    ("POST", "/v1/servers/{server}/move/confirm"): ("server.edit", "/servers/s/move/confirm", None),
    ("POST", "/v1/servers/{server}/move/drop"): ("server.edit", "/servers/s/move/drop", None),
    ("POST", "/v1/servers/{server}/unmanaged"): ("server.test", "/servers/s/unmanaged", None),
    ("GET", "/v1/routers"): ("endpoint.read", "/routers", None),
    ("POST", "/v1/routers"): ("server.register", "/routers", {**MEMORY, "public_url": "memory:other"}),
    ("GET", "/v1/routers/{router_name}"): ("endpoint.read", "/routers/r", None),
    ("PATCH", "/v1/routers/{router_name}"): ("server.edit", "/routers/r", {"public_url": "memory:r"}),
    ("DELETE", "/v1/routers/{router_name}"): ("server.remove", "/routers/r", None),
    ("POST", "/v1/routers/{router_name}/move/confirm"): ("server.edit", "/routers/r/move/confirm", None),
    ("POST", "/v1/routers/{router_name}/move/drop"): ("server.edit", "/routers/r/move/drop", None),
    ("POST", "/v1/routers/{router_name}/test"): ("server.test", "/routers/r/test", None),
    ("GET", "/v1/environments"): ("policy.read", "/environments", None),
    ("GET", "/v1/policies/{environment}"): ("policy.read", "/policies/dev", None),
    ("GET", "/v1/policies/{environment}/versions"): ("policy.read", "/policies/dev/versions", None),
    ("GET", "/v1/ramps"): ("policy.read", "/ramps", None),
    ("GET", "/v1/ramps/{ramp}"): ("policy.read", "/ramps/careful", None),
    ("PUT", "/v1/ramps/{ramp}"): ("ramp.set", "/ramps/careful", RAMP),
    ("DELETE", "/v1/ramps/{ramp}"): ("ramp.remove", "/ramps/careful", None),
    ("GET", "/v1/freezes"): ("policy.read", "/freezes", None),
    ("POST", "/v1/freezes"): ("freeze.set", "/freezes", {"scope": "dev", **WHY}),
    ("GET", "/v1/freezes/{freeze}"): ("policy.read", f"/freezes/frz_{'0' * 26}", None),
    ("POST", "/v1/freezes/{freeze}/lift"): ("freeze.lift", "/freezes/{freeze}/lift", WHY),
    ("GET", "/v1/identities"): ("policy.read", "/identities", None),
    ("POST", "/v1/identities"): ("identity.create", "/identities", {"name": "builds", "kind": "service", "owner": "ana"}),
    ("GET", "/v1/identities/{identity}"): ("policy.read", "/identities/ana", None),
    ("POST", "/v1/identities/{identity}/deactivate"): ("identity.deactivate", "/identities/nora/deactivate", None),
    ("POST", "/v1/identities/{identity}/activate"): ("identity.activate", "/identities/nora/activate", None),
    ("POST", "/v1/identities/{identity}/owner"): ("identity.hand_over", "/identities/nora/owner", {"owner": "ana"}),
    ("GET", "/v1/tokens"): ("", "/tokens", None),
    ("POST", "/v1/tokens"): ("", "/tokens", {"name": "ci"}),
    ("DELETE", "/v1/tokens/{token}"): ("", f"/tokens/tok_{'0' * 26}", None),
    ("GET", "/v1/sessions"): ("", "/sessions", None),
    ("DELETE", "/v1/sessions/{session}"): ("", f"/sessions/ses_{'0' * 26}", None),
    ("POST", "/v1/sessions/end"): ("", "/sessions/end", {}),
    ("GET", "/v1/group-mappings"): ("policy.read", "/group-mappings", None),
    ("POST", "/v1/group-mappings"): (
        "group_mapping.make", "/group-mappings", {"provider": "corp", "value": "ml", "role": "viewer"},
    ),
    ("DELETE", "/v1/group-mappings/{mapping}"): ("group_mapping.take_back", f"/group-mappings/map_{'0' * 26}", None),
    ("GET", "/v1/group-mappings/touched"): (
        "group_mapping.make", "/group-mappings/touched?provider=corp&value=ml&role=viewer", None,
    ),
    ("GET", "/v1/group-mappings/groups"): ("group_mapping.make", "/group-mappings/groups?provider=corp", None),
    ("GET", "/v1/sign-in"): ("session.list", "/sign-in", None),
    ("GET", "/v1/sign-in/providers"): ("session.list", "/sign-in/providers", None),
    ("POST", "/v1/sign-in/providers/{provider}/ask"): ("session.list", "/sign-in/providers/nowhere/ask", None),
    ("GET", "/v1/rights"): ("policy.read", "/rights", None),
    ("GET", "/v1/audit/events.jsonl"): ("audit.export", "/audit/events.jsonl", None),
    ("GET", "/v1/audit/heads"): ("audit.verify", "/audit/heads", None),
}  # fmt: skip
"""Every operation of the document but the public ones -> the action that it needs, an address, and what is sent."""


PUBLIC = {("GET", "/v1/health"), ("GET", "/v1/ready"), ("POST", "/v1/sign-in/backchannel-logout"),
          ("POST", "/v1/hooks/mlflow")}  # fmt: skip
"""What is answered without a token of ours; the last two are judged by what signed them."""


@SQLITE
def test_the_table_names_every_operation_of_the_document(asked: Api) -> None:
    told = {(method.upper(), path) for path, each in asked.document["paths"].items() for method in each}
    assert told == OPERATIONS.keys() | PUBLIC


def test_without_a_token_every_operation_is_401_and_no_database_is_opened() -> None:
    application = api.build(untouchable)
    client = TestClient(application)
    walked = 0
    for path, each in application.openapi()["paths"].items():
        for method in each:
            if (method.upper(), path) in PUBLIC:
                continue
            filled = path.replace("{number}", "1").replace("{row}", "1").replace("{change}", "1")
            for headers in ({}, {"authorization": "Bearer cst_1_2"}, {"authorization": "Basic eDp4"}):
                answer = client.request(method, filled, headers=headers, content=b"{" * 100)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["remedy"]
            walked += 1
    assert walked == len(OPERATIONS)


@SQLITE
def test_the_document_describes_every_operation_parameter_and_error(asked: Api) -> None:
    document = asked.document
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    names = set()
    for path, each in document["paths"].items():
        for method, operation in each.items():
            public = (method.upper(), path) in PUBLIC
            assert operation["summary"], (method, path)
            assert len(operation["description"]) > 10, (method, path)
            names.add(operation["operationId"])
            assert ("security" in operation) is not public
            if not public:
                for status in ("400", "401", "403", "404", "422", "429", "500", "503"):
                    found = operation["responses"][status]["content"]["application/problem+json"]["schema"]
                    assert found == {"$ref": "#/components/schemas/Problem"}, (method, path, status)
    assert len(names) == len(OPERATIONS) + len(PUBLIC)
    assert document["components"]["schemas"]["Proposal"]["properties"]["endpoint"]["examples"] == ["flight-delay"]


HOLDERS = {"ana": "contributor", "ben": "reviewer", "olga": "operator", "otto": "admin", "audra": "auditor", "vera": "viewer"}


@SQLITE
def test_each_role_may_exactly_what_the_table_of_actions_says(asked: Api) -> None:
    """Whoever may is not refused for who it is; whoever may not is, whatever it sends."""
    assert set(HOLDERS.values()) == set(ROLES)
    world = asked.world
    world.reviewed(start_mode="by_hand")
    world.identities.create(world.otto, "vera")
    world.identities.grant(world.otto, "vera", "viewer")
    vera = next(one for one in _people(asked) if one.name == "vera")
    asked.tokens["vera"] = asked.backend.tokens.create(vera, "tests").text
    there = _what_there_is(asked)
    for (method, path), (action, template, sent) in OPERATIONS.items():
        address = template.format(**there)
        for name, role in HOLDERS.items():
            headers = {"authorization": f"Bearer {asked.token(name)}"}
            answer = asked.client.request(method, f"/v1{address}", json=sent, headers=headers)
            may = not action or role in ACTIONS[action]
            assert answer.status_code < 500, (method, path, answer.text)
            refused = answer.status_code == 403 and answer.json()["code"] == "not-allowed"
            assert refused is not may, (method, path, name, answer.text)


def _what_there_is(asked: Api) -> dict[str, str]:
    """A freeze and an intake, whose place says who may do something about them."""
    freeze = asked.backend.policies.freeze(asked.world.olga, "staging", "tests")
    drifted(asked.backend.database, ENDPOINT)
    with asked.backend.database.unit(SYSTEM) as tx:
        beginning = {"started_by": SYSTEM.id, "started_at": tx.now, "beat_at": tx.now, "state": "failed"}
        row = tx.add(IntakeRow(id=f"int_{'1' * 26}", kind="registry", model=MODEL, number=1, **beginning))
    return {"freeze": freeze.id, "intake": row.id}


def _people(asked: Api) -> list[Any]:
    with asked.backend.database.read() as session:
        return [actor_of(row) for row in session.exec(select(Identity))]


# -- what they answer


def test_models_and_versions_are_told_as_the_registry_was_seen(asked: Api) -> None:
    _mirror(asked)
    page = asked("GET", "/models?words=delay&limit=1")
    assert [one["name"] for one in page["items"]] == [MODEL]
    assert page["next"] is None
    assert asked("GET", "/models?words=nothing-of-that-name")["items"] == []
    shown = asked("GET", f"/models/{MODEL}")
    assert shown["name"] == MODEL
    first = asked("GET", f"/models/{MODEL}/versions?limit=2")
    assert [one["number"] for one in first["items"]] == [5, 4]
    assert [one["number"] for one in asked("GET", f"/models/{MODEL}/versions?limit=2&after={first['next']}")["items"]] == [3, 2]
    whole = asked("GET", f"/models/{MODEL}/versions/2")
    assert whole["metrics"] == {"auc": 0.72}
    assert whole["registered"]["artifact_digest"].startswith("sha256:")
    compared = asked("GET", f"/models/{MODEL}/compare?version=2&version=3")
    assert compared["versions"] == [2, 3]
    assert compared["metrics"] == [{"name": "auc", "values": [0.72, 0.73], "differs": True}]
    assert len(asked("GET", "/versions?registered=true")["items"]) == 5
    asked.refused("not-found", "GET", "/models/nobody/versions", status=404)
    asked.refused("bad-comparison", "GET", f"/models/{MODEL}/compare?version=2&version=2", status=422)


def _mirror(asked: Api) -> None:
    with asked.backend.database.unit(SYSTEM) as tx:
        model = tx.session.get_one(Model, "mod_1")
        model.search, model.latest_version = MODEL, 5
        tx.record("model.mirror", model)
        for number in range(1, 6):
            tx.add(
                MirroredVersion(
                    id=f"ver_{number}", model_id="mod_1", number=number, created_at=tx.now, updated_at=tx.now,
                    mirrored_at=tx.now, metrics={"auc": 0.7 + number / 100},
                )
            )  # fmt: skip


def test_a_change_is_proposed_reviewed_voted_on_started_and_taken_back(asked: Api) -> None:
    world = asked.world
    made = asked("POST", "/changes", {**PROPOSAL, "start_mode": "by_hand"}, status=201)
    number = made["line"]["number"]
    assert (made["line"]["state"], made["line"]["requester"]) == ("checking", "Ana (data scientist)")
    assert made["changes"]["summary"]
    world.run()
    world.check()
    assert [one["number"] for one in asked("GET", "/changes/waiting", by="ben")["items"]] == [number]
    seen = asked("GET", f"/changes/{number}", by="ben")
    digests = {name: seen[name] for name in ("plan_digest", "base_digest")}
    asked.refused("stale-vote", "POST", f"/changes/{number}/votes", {"verdict": "approve", **UNSEEN}, by="ben", status=409)
    for _ in range(2):
        voted = asked("POST", f"/changes/{number}/votes", {"verdict": "approve", **digests, "comment": "Sound"}, by="ben")
        assert voted["line"]["state"] == "approved"
    assert len(world.votes(number)) == 1
    asked("POST", f"/changes/{number}/comments", {"text": "Tonight"}, by="ben", status=201)
    for _ in range(2):
        asked("POST", f"/changes/{number}/start", by="olga")
    world.run()
    assert asked("GET", f"/changes/{number}")["line"]["state"] == "applying"
    world.prove()
    world.run()
    assert asked("GET", f"/changes/{number}")["line"]["state"] == "done"
    for _ in range(2):
        asked("POST", f"/changes/{number}/roll-back", WHY, by="olga")
    world.prove()
    world.run()
    shown = asked("GET", f"/changes/{number}")
    assert shown["line"]["state"] == "rolled_back"
    actions = [one["action"] for one in asked("GET", f"/changes/{number}/timeline")["items"]]
    assert actions.index("change.propose") < actions.index("change.approve") < actions.index("change.roll_back")
    assert asked("GET", f"/changes?state=rolled_back&endpoint={ENDPOINT}&text=newer")["items"][0]["number"] == number
    assert asked("GET", "/changes?state=review&state=applying")["items"] == []


def test_a_change_is_edited_rejected_withdrawn_and_revoked(asked: Api) -> None:
    world = asked.world
    number = world.reviewed()
    before = asked("GET", f"/changes/{number}")
    tag = asked.tag(f"/changes/{number}")
    edited = asked("PATCH", f"/changes/{number}", {"share_percent": 12.5, "title": "An eighth"}, if_match=tag)
    assert edited["plan_digest"] != before["plan_digest"]
    assert edited["since_earlier"]["lines"]
    assert world.change(number).wanted["share"] == 1_250
    world.run()
    world.check()
    seen = asked("GET", f"/changes/{number}")
    digests = {name: seen[name] for name in ("plan_digest", "base_digest")}
    vote = {"verdict": "reject", **digests}
    asked.refused("no-reason", "POST", f"/changes/{number}/votes", vote, by="ben", status=422)
    rejected = asked("POST", f"/changes/{number}/votes", {**vote, "comment": "Too early"}, by="ben")
    assert (rejected["line"]["state"], rejected["line"]["state_reason"]) == ("rejected", "Too early")
    another = world.propose()
    assert asked("POST", f"/changes/{another}/withdraw", WHY)["line"]["state"] == "withdrawn"
    approved = world.approved()
    assert asked("POST", f"/changes/{approved}/revoke", WHY, by="ben")["line"]["state"] == "revoked"
    asked.refused("wrong-state", "POST", f"/changes/{another}/start", by="olga", status=409)
    asked.refused("not-found", "GET", "/changes/999", status=404)


def test_a_ramp_is_sent_in_percent_and_proposed_in_buckets(asked: Api) -> None:
    steps = [{"share_percent": 0.5, "hold_seconds": 600}, {"share_percent": 50, "person": True}]
    made = asked("POST", "/changes", {**PROPOSAL, "ramp": steps, "bake_seconds": 3600}, status=201)
    wanted = asked.world.change(made["line"]["number"]).wanted
    assert [(one["share"], one["hold_seconds"], one["person"]) for one in wanted["ramp"]] == [
        (50, 600, False), (5_000, 0, True),
    ]  # fmt: skip
    assert (wanted["share"], wanted["bake_seconds"]) == (10_000, 3600)
    asked.refused("bad-share", "POST", "/changes", {**PROPOSAL, "share_percent": 0.001}, status=422)


def test_a_preview_tells_what_a_proposal_would_come_to_and_makes_none(asked: Api) -> None:
    draft = {"endpoint": ENDPOINT, "version": 2, "share_percent": 25}
    found = asked("POST", "/changes/preview", draft)
    assert "v2 (version 2) is new and gets 25 % of units." in found["changes"]["summary"]
    assert found["lacks"]
    assert asked.world.ledger() == []
    made = asked("POST", "/changes", {**PROPOSAL, "share_percent": 25}, status=201)
    assert made["changes"]["summary"] == found["changes"]["summary"]
    asked.refused("not-found", "POST", "/changes/preview", {**draft, "version": 99}, status=404)


def test_the_same_key_proposes_once_and_another_request_under_it_is_refused(asked: Api) -> None:
    first = asked("POST", "/changes", PROPOSAL, idempotency_key="build-7", status=201)
    again = asked("POST", "/changes", PROPOSAL, idempotency_key="build-7", status=201)
    assert again["line"]["number"] == first["line"]["number"]
    asked.refused("key-used", "POST", "/changes", {**PROPOSAL, "title": "Other"}, idempotency_key="build-7", status=409)
    asked.refused("bad-key", "POST", "/changes", PROPOSAL, idempotency_key="build 7", status=422)
    other = asked("POST", "/changes", PROPOSAL, by="olga", idempotency_key="build-7", status=201)
    assert other["line"]["number"] != first["line"]["number"], "a key is one identity's own"
    asked.world.versions.down = True
    kept = asked("POST", "/changes", PROPOSAL, idempotency_key="build-7", status=201)
    assert kept["line"]["number"] == first["line"]["number"], "what was made is told without asking anybody"
    assert asked.world.ledger().count("change.propose") == 2


def test_two_requests_at_once_under_one_key_propose_once(asked: Api) -> None:
    asked.world.propose()  # the package is there from now on
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(asked, "POST", "/changes", PROPOSAL, idempotency_key="k", status=201) for _ in range(4)]
        numbers = {call.result()["line"]["number"] for call in calls}
    assert len(numbers) == 1
    assert asked.world.ledger().count("change.propose") == 2


def test_endpoints_are_listed_shown_at_any_moment_and_paused(asked: Api) -> None:
    page = asked("GET", "/endpoints?text=flight&mode=managed")
    assert [one["name"] for one in page["items"]] == [ENDPOINT]
    shown = asked("GET", f"/endpoints/{ENDPOINT}")
    assert shown["base_digest"].startswith("sha256:")
    history = asked("GET", f"/endpoints/{ENDPOINT}/history?limit=1")
    assert [one["reason"] for one in history["items"]] == ["baseline"]
    then = asked("GET", f"/endpoints/{ENDPOINT}/at?moment=2020-01-01T00:00:00%2B01:00")
    assert then["exists"] is False
    assert asked("GET", f"/endpoints/{ENDPOINT}/pushes")["items"] == []
    paused = asked("POST", f"/endpoints/{ENDPOINT}/pause", WHY, by="olga")
    assert paused["line"]["paused"] is True
    assert asked("POST", f"/endpoints/{ENDPOINT}/resume", WHY, by="olga")["line"]["paused"] is False
    asked("POST", f"/endpoints/{ENDPOINT}/repair", WHY, by="olga")
    asked("POST", f"/endpoints/{ENDPOINT}/look", by="ben")
    asked.refused("not-found", "GET", "/endpoints/nobody", status=404)


def test_pages_follow_one_another_until_the_end(asked: Api) -> None:
    world = asked.world
    for _ in range(3):
        world.done(2)
        world.done(3)
    seen, before = [], ""
    while before is not None:
        page = asked("GET", f"/endpoints/{ENDPOINT}/history?limit=3" + (f"&after={before}" if before else ""))
        seen += [one["number"] for one in page["items"]]
        before = page["next"]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == seen[0]
    first = asked("GET", "/audit/events?limit=5", by="audra")
    second = asked("GET", f"/audit/events?limit=5&after={first['next']}", by="audra")
    assert first["items"][-1]["seq"] == second["items"][0]["seq"] + 1


def test_servers_are_told_without_their_credentials(asked: Api) -> None:
    asked.backend.servers.register(
        asked.world.olga, name="t", kind="triton", settings={"url": "http://127.0.0.1:1", "model_repository": "/models"},
        upstream="127.0.0.1:1", credential="hunter2-hunter2",
    )  # fmt: skip
    listed = asked("GET", "/servers")
    assert {one["name"]: one["has_credential"] for one in listed["items"]} == {"s": False, "t": True}
    assert "hunter2" not in str(listed)
    assert asked("GET", "/servers/t")["server"]["kind"] == "triton"
    asked.refused("external-failure", "POST", "/servers/t/test", by="olga", status=503)
    asked.refused("not-found", "GET", "/servers/nobody", status=404)


def test_the_ledger_is_listed_row_by_row_and_verified(asked: Api) -> None:
    asked.world.reviewed()
    rows = asked("GET", "/audit/events?action=change.propose", by="audra")["items"]
    assert len(rows) == 1
    row = asked("GET", f"/audit/events/{rows[0]['seq']}", by="audra")
    assert row["subject_id"].startswith("chg_")
    assert asked("GET", f"/audit/events?subject=change/{row['subject_id']}", by="audra")["items"]
    asked.refused("not-found", "GET", "/audit/events/999999", by="audra", status=404)
    found = asked("POST", "/audit/verify", by="audra")
    assert found["intact"] is True
    assert found["rows"] > 5


@SQLITE
def test_whoever_asks_is_told_whom_its_token_acts_as(asked: Api) -> None:
    me = asked("GET", "/me", by="ben")
    assert (me["name"], me["roles"]) == ("Ben (reviewer)", ["reviewer"])
    assert "change.vote" in me["may"]
    assert "change.propose" not in me["may"]
