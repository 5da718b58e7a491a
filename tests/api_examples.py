"""Writes `backend/api/examples.json` from what the API really answers: `python -m tests.api_examples --write`.

What needs another system is written by hand below. Lists are cut to one item, and secrets to zeros.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend import migrate
from backend.api.document import EXAMPLES
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.experiments.designs.service import started
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, MODEL, World
from tests.services.test_api_operations import DESIGNED, profile_content
from tests.services.test_api_schema import known

WHY = {"reason": "Worse at night"}
PROPOSAL = {
    "endpoint": ENDPOINT, "version": 2, "title": "Build 1842", "reason": "All tests passed.",
    "ramp": [{"share_percent": 10, "hold_seconds": 3600}], "start_mode": "by_hand",
}  # fmt: skip
DECLARED = {
    "files": [{
        "name": "teams.yaml",
        "text": "apiVersion: countersign/v1\nkind: Team\nmetadata: {name: airport}\nspec: {title: Flight delays}\n",
    }],
}  # fmt: skip
SOURCE = {
    "name": "gateway", "kind": "text",
    "settings": {"url": "https://1.1.1.1/metrics", "figures": [
        {"metric": "requests", "name": "http_requests_total", "where": {"route": "/predict"}},
        {"metric": "errors", "name": "http_requests_total", "where": {"route": "/predict", "code": "5*"}},
        {"metric": "latency", "name": "http_request_duration_seconds", "where": {"route": "/predict"}},
    ]},
}  # fmt: skip
WATCHED = {"spec": {"kind": "drift", "window_hours": 24, "every_hours": 24}}
PROMISED = {"days": 30, "objectives": [
    {"kind": "availability", "target": 0.999}, {"kind": "latency", "target": 0.95, "seconds": 0.25},
]}  # fmt: skip
MEMORY = {"kind": "memory", "settings": {"path": "/tmp/countersign-example.json"}}
SHADOWS = {
    "endpoint": ENDPOINT, "start": "2026-03-01T06:00:00Z", "end": "2026-03-02T06:00:00Z",
    "shadows": [{
        "endpoint": ENDPOINT, "arm": "v2", "start": "2026-03-01T06:00:00Z", "end": "2026-03-02T05:59:00Z", "versions": [2],
        "asked": 1180, "answered": 1176, "failed": 3, "missing": 1, "failure_share": 0.00254, "missing_share": 0.00085,
        "failures": {"http-503": 3}, "mistaken": 2, "unread": 0, "untold": 1, "compared": 1175,
        "disagreement": {
            "share": {"mean": 0.072, "low": 0.0451, "high": 0.0989, "units": 890, "unsettled": ""},
            "tolerance": 0.0061, "told": False, "threshold": None,
        },
        "differences": {
            "pairs": 1175, "mean": -0.0021, "mean_absolute": 0.0034, "largest": 0.21,
            "quantiles": {"0.05": -0.008, "0.25": -0.003, "0.5": -0.001, "0.75": 0.0, "0.95": 0.004},
        },
        "latency": {
            "pairs": 1176, "mean_difference": 0.0009,
            "live": {"0.5": 0.0021, "0.9": 0.0038, "0.95": 0.0046, "0.99": 0.0081},
            "shadow": {"0.5": 0.0029, "0.9": 0.0051, "0.95": 0.006, "0.99": 0.0112},
        },
        "outcome": "late", "outcomes": ["late"],
        "losses": [{
            "name": "brier", "pairs": 640, "live": 0.142, "shadow": 0.139,
            "difference": {"mean": -0.003, "low": -0.0049, "high": -0.0011, "units": 511, "unsettled": ""},
        }],
    }],
}  # fmt: skip
Step = tuple[str, str, Any, str]


def steps(there: dict[str, list[Any]]) -> list[Step]:
    """(method, address, what is sent, by whom), in an order in which each comes through."""
    review, approved, checking = there["change"]
    team, freeze, mapping, binding = (there[name][0] for name in ("team", "freeze", "mapping", "binding"))
    at = f"/endpoints/{ENDPOINT}"
    return [
        *(("GET", path, None, "otto") for path in (
            "/health", "/models", f"/models/{MODEL}", f"/models/{MODEL}/card", f"/models/{MODEL}/card/history", "/versions",
            f"/models/{MODEL}/versions", f"/models/{MODEL}/versions/1", f"/models/{MODEL}/versions/1/lineage",
            f"/models/{MODEL}/compare?version=1&version=2", f"/models/{MODEL}/endpoints", "/intakes",
            f"/intakes/{there['intake'][0]}", "/registry", "/changes", f"/changes/{review}", f"/changes/{review}/timeline",
            "/endpoints", at, f"{at}/history", f"{at}/pushes", f"{at}/timeline", f"{at}/at?moment=2026-03-01T06:00:00Z",
            f"{at}/rollouts", "/fleet", "/fleet/endpoints", "/fleet/moves", "/fleet/at?moment=2126-03-01T06:00:00Z", "/servers",
            "/servers/s", "/outgoing", "/keys/ledger", "/grants/admins", "/sign-in",
            "/routers", "/routers/r", "/environments", "/policies/dev", "/policies/dev/versions", "/freezes",
            "/ramps", "/ramps/careful", "/config/export?kind=Ramp",
            f"/freezes/{freeze}", "/identities", "/identities/ana", "/tokens", "/sessions", "/group-mappings",
            "/bindings",
            "/bindings/issuers", f"/bindings/{binding}", "/teams",
            f"/teams/{team}", "/grants", "/rights", "/requests", f"/requests/{there['request'][0]}",
            "/data-sets/grants",
            "/audit/events", "/audit/events/1", "/audit/heads", "/me",
            "/notify/events", "/notify/routes", "/notify/routes/release-room", "/notify/subscriptions",
            f"/notify/subscriptions/{there['subscription'][0]}", "/notify/preferences", "/notify/messages",
            f"/notify/messages/{there['message'][0]}", "/findings", "/findings/counts", "/findings/1",
        )),
        ("GET", "/changes/waiting", None, "ben"), ("GET", "/changes/asked", None, "ben"),
        ("POST", "/outgoing/check", {"url": "http://10.2.0.7:8000"}, "olga"),
        ("POST", "/registry/refresh", {"model": MODEL}, "olga"),
        ("PUT", f"/models/{MODEL}/card", {"text": "# Flight delay\n\nFor planning.", "summary": "First words"}, "ana"),
        ("POST", "/changes/preview", {"endpoint": ENDPOINT, "version": 2, "share_percent": 25}, "ana"),
        ("POST", "/changes", PROPOSAL, "ana"),
        ("PATCH", f"/changes/{checking}", {"share_percent": 12.5}, "ana"),
        ("POST", f"/changes/{checking}/recheck", None, "ana"),
        ("POST", f"/changes/{review}/comments", {"text": "Tonight, please."}, "ben"),
        ("POST", f"/changes/{approved}/start", None, "olga"),
        ("POST", f"/changes/{checking}/withdraw", WHY, "ana"),
        ("POST", f"{at}/pause", WHY, "olga"), ("POST", f"{at}/resume", WHY, "olga"), ("POST", f"{at}/repair", WHY, "olga"),
        ("POST", f"{at}/look", None, "olga"), ("PATCH", at, {"repair": "report", **WHY}, "olga"),
        ("POST", "/servers", {"name": "t", **MEMORY, "upstream": "memory:t"}, "olga"),
        ("PATCH", "/servers/t", {"settings": {"path": "/tmp/countersign-moved.json"}}, "olga"),
        ("POST", "/routers", {"name": "u", **MEMORY, "public_url": "memory:u"}, "olga"),
        ("PATCH", "/routers/u", {"public_url": "memory:moved"}, "olga"),
        ("POST", "/endpoints", {"name": "next", "environment": "dev", "model": MODEL, "server": "t"}, "olga"),
        ("PUT", "/policies/dev", {"schema": 1, "approvals_needed": 1, "approver_roles": ["reviewer"]}, "otto"),
        ("PUT", "/ramps/careful", {"steps": [{"share_percent": 1, "hold_seconds": 600}, {"share_percent": 25, "person": True}]},
         "olga"),
        ("POST", f"{at}/metrics/sources", SOURCE, "olga"),
        *(("GET", path, None, "otto") for path in (
            f"{at}/metrics", f"{at}/slo", f"{at}/slo/standing", f"{at}/slo/rules", f"{at}/slo/dashboard", "/metrics/retention",
        )),
        ("PUT", f"{at}/slo", PROMISED, "olga"),
        ("POST", f"{at}/experiments", DESIGNED, "ana"),
        ("GET", "/experiments", None, "otto"), ("GET", f"{at}/experiments/sharper", None, "otto"),
        ("POST", f"{at}/experiments/plan", {"design": DESIGNED["design"]}, "ana"),
        ("PATCH", f"{at}/experiments/sharper", {"title": "Fewer failures"}, "ana"),
        ("POST", f"{at}/experiments", {**DESIGNED, "slug": "given-up"}, "ana"),
        ("POST", f"{at}/experiments/given-up/withdraw", {"reason": "The other one comes first."}, "ana"),
        ("PUT", f"{at}/monitors/drift", WATCHED, "olga"),
        *(("GET", path, None, "otto") for path in (
            "/monitors", f"{at}/monitors/drift", f"/models/{MODEL}/profiles", f"/models/{MODEL}/versions/1/profile",
            f"{at}/watched", f"{at}/drift", f"{at}/drift/feature?name=hour", f"{at}/drift/joint", f"{at}/missing-values",
            f"{at}/predictions",
            f"{at}/quality", f"{at}/reliability",
        )),
        ("POST", f"{at}/monitors/drift/run", None, "olga"), ("POST", f"{at}/monitors/drift/pause", WHY, "olga"),
        ("POST", f"{at}/monitors/drift/resume", None, "olga"),
        ("PUT", f"/models/{MODEL}/versions/1/profile", {"content": profile_content(), "source": "flights of 2013"}, "ana"),
        ("PUT", "/metrics/retention", {"raw_hours": 48, "fine_hours": 720, "coarse_hours": 9600}, "otto"),
        ("POST", "/config/plan", DECLARED, "otto"),
        ("POST", "/freezes", {"scope": "staging", "reason": "The airport is closed."}, "olga"),
        ("POST", f"/freezes/{freeze}/lift", {"reason": "It is open again."}, "otto"),
        ("POST", "/identities", {"name": "builds", "kind": "service", "owner": "ana"}, "otto"),
        ("POST", "/identities/builds/deactivate", {"reason": "It is not used any more."}, "otto"),
        ("POST", "/identities/builds/activate", {"reason": "It is needed again."}, "otto"),
        ("POST", "/identities/builds/owner", {"owner": "ben"}, "otto"),
        ("POST", "/bindings",
         {"service": "builds", "profile": "github", "claims": {"repository_id": "456789", "environment": "release"},
          "role": "contributor", "scope": "environment:dev"}, "otto"),
        ("DELETE", f"/bindings/{binding}?reason=The%20repository%20moved.", None, "otto"),
        ("POST", "/tokens", {"name": "ci", "lifetime_seconds": 7_776_000}, "ana"),
        ("DELETE", f"/tokens/{there['token'][0]}", None, "ana"),
        ("POST", "/sessions/end", {"identity": "ana", "reason": "A lost laptop."}, "otto"),
        ("POST", "/group-mappings", {"provider": "corp", "value": "ml-reviewers", "role": "reviewer"}, "otto"),
        ("DELETE", f"/group-mappings/{mapping}", None, "otto"),
        ("POST", "/teams", {"name": "delays", "title": "Delays"}, "otto"),
        ("POST", "/teams/owner", {"kind": "endpoint", "name": ENDPOINT, "team": team}, "otto"),
        ("PUT", f"/teams/{team}/members/ana", None, "otto"), ("DELETE", f"/teams/{team}/members/ana", None, "otto"),
        ("POST", "/teams/delays/rename", {"name": "late", "title": "Late"}, "otto"),
        ("POST", "/teams/late/retire", None, "otto"),
        ("POST", "/grants", {"identity": "carla", "role": "viewer", "scope": "environment:dev"}, "otto"),
        ("POST", "/grants/take-back",
         {"identity": "vera", "role": "viewer", "scope": "environment:dev", "reason": "She moved on."}, "otto"),
        ("POST", f"/requests/{there['request'][0]}/confirm", {"reason": "As agreed on Monday."}, "nora"),
        ("POST", "/audit/verify", None, "audra"),
        ("POST", "/notify/routes", {"name": "deploys", "address": "http://127.0.0.1:9/countersign", "team": team}, "otto"),
        *(("POST", f"/notify/routes/deploys/{verb}", sent, "otto") for verb, sent in (
            ("pause", {"reason": "It moves today."}), ("resume", None), ("rotate", None), ("test", None), ("replay", None),
        )),
        ("POST", "/notify/subscriptions",
         {"events": ["change.waiting"], "route": "deploys", "object_kind": "environment", "object_name": "production"}, "otto"),
        ("PUT", "/notify/preferences", {"zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "07:00"}, "ana"),
        ("POST", f"/notify/messages/{there['message'][0]}/replay", None, "otto"),
        ("DELETE", f"/notify/subscriptions/{there['subscription'][0]}", None, "otto"),
        ("DELETE", "/notify/routes/deploys", None, "otto"),
        ("GET", f"{at}/inference-log", None, "ana"),
        ("PUT", f"{at}/inference-log",
         {"sample_every": 10, "redactions": [{"column": "feature:zip", "how": "truncate", "length": 3}],
          "kept_days": {"requests": 90, "parts": 90}}, "olga"),
        ("POST", f"{at}/inference-log/erasures", {"unit": "u-1842", "reason": "Asked for on 2 March", "later": True}, "otto"),
        ("GET", f"{at}/inference-log/erasures", None, "otto"),
        ("POST", "/inference-log",
         {"endpoint": ENDPOINT,
          "requests": [{"request_id": "7f3c", "event_time": "2026-03-02T09:00:00Z", "features": {"hour": 9}, "status": 200},
                       {"request_id": "7f3d"}],
          "outcomes": [{"request_id": "71aa", "known_at": "2026-03-02T08:55:00Z", "values": {"late": True}}]}, "ana"),
        *(("GET", path, None, "ana") for path in (f"{at}/window-reports", f"{at}/window-reports/{there['report'][0]}")),
        ("POST", f"{at}/window-reports",
         {"current": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"},
          "parts": ["drift", "classification"], "outcome": "late"}, "ana"),
        ("DELETE", f"{at}/window-reports/{there['report'][0]}", None, "ana"),
        ("POST", "/findings/1/acknowledge", {"reason": "The feed lags; I look."}, "olga"),
        ("POST", "/findings/1/assign", {"person": "olga"}, "olga"),
        ("POST", "/findings/1/resolve", {"reason": "The feed was late.", "outcome": "false_alarm"}, "ben"),
        ("POST", "/findings/1/reopen", WHY, "ana"),
        ("POST", "/findings/test", {"endpoint": ENDPOINT}, "olga"),
        ("POST", "/data-sets/grants",
         {"data_set": f"requests/{ENDPOINT}", "identity": "carla", "until": "2026-12-31T00:00:00Z"}, "otto"),
    ]  # fmt: skip


def more(asked: Api, found: dict[str, dict[str, Any]]) -> None:
    """What follows from what was made: votes, rollouts, and what is asked for a second time."""
    world, at = asked.world, f"/endpoints/{ENDPOINT}/rollout"
    with asked.backend.database.unit(SYSTEM) as tx:
        started(tx, "end_1", "sharper", "chg_of_the_experiment")
    decided = {"outcome": "ship", "reason": "It fails less, and is as fast."}
    record(asked, found, ("POST", f"/endpoints/{ENDPOINT}/experiments/sharper/decide", decided, "ben"))
    plan = found["plan_config"]["response"]["digest"]
    record(asked, found, ("POST", "/config/apply", {**DECLARED, "plan": plan, "reason": "As agreed on Monday."}, "otto"))
    world.run()
    world.prove()
    world.run()
    record(asked, found, ("POST", f"/models/{MODEL}/champion", {"environment": "production", "version": 2}, "olga"))
    change = world.reviewed(3, ramp=({"share": 1000, "hold_seconds": 3600, "person": True},))
    seen = asked("GET", f"/changes/{change}", by="ben")
    vote = {"verdict": "approve", "plan_digest": seen["plan_digest"], "base_digest": seen["base_digest"], "comment": "Sound"}
    record(asked, found, ("POST", f"/changes/{change}/votes", vote, "ben"))
    for _ in range(2):
        world.run()
        world.prove()
    world.run()
    stands = asked("GET", at)
    on = {**WHY, "rollout": stands["id"], "step": stands["step"]}
    for step in (("GET", at, None, "ana"), ("GET", f"{at}s", None, "ana"), ("GET", "/fleet/rollouts", None, "ana"),
                 ("POST", f"{at}/pause", WHY, "olga"), ("POST", f"{at}/resume", WHY, "olga"),
                 ("POST", f"{at}/let-on", on, "olga"),
                 ("POST", f"{at}/abort", WHY, "olga")):  # fmt: skip
        record(asked, found, step)
    world.prove()
    world.run()
    done = world.done(4)
    record(asked, found, ("POST", f"/changes/{done}/roll-back", WHY, "olga"))
    record(asked, found, ("POST", f"{at}/roll-back", WHY, "olga"))
    record(asked, found, ("POST", f"/changes/{world.approved(2)}/revoke", WHY, "ben"))
    for path in ("/servers/t/test", "/servers/t/unmanaged", "/routers/u/test", "/endpoints/next/baseline"):
        record(asked, found, ("POST", path, None, "olga"))
    if "propose_baseline" in found:
        digest = asked("POST", "/endpoints/next/baseline", by="olga")["digest"]
        record(asked, found, ("POST", "/endpoints/next/sign-off", {"digest": digest, "versions": []}, "ben"))
    until = (asked.backend.database.now() + timedelta(hours=8)).replace(microsecond=0).isoformat()
    record(asked, found, ("POST", "/findings/1/snooze", {"until": until, "reason": "Until the feed is back."}, "olga"))
    weaker = asked.backend.identities.grant(asked.world.otto, "ben", "operator")
    record(asked, found, ("POST", f"/requests/{weaker.id}/refuse", {"reason": "Not needed"}, "nora"))
    erasure = asked("GET", f"/endpoints/{ENDPOINT}/inference-log/erasures", by="otto")["items"][0]["id"]
    record(asked, found, ("GET", f"/endpoints/{ENDPOINT}/inference-log/erasures/{erasure}", None, "otto"))
    grant = asked("GET", "/data-sets/grants", by="otto")["items"][0]["id"]
    record(asked, found, ("DELETE", f"/data-sets/grants/{grant}", None, "otto"))


def compared(found: dict[str, dict[str, Any]]) -> None:
    """What arms did beside each other: a worker looks at that, and none runs here."""
    whole = {
        "id": f"cmp_{'0' * 26}", "endpoint": ENDPOINT, "experiment": "sharper", "control": "v1",
        "versions": {"v1": 1, "v2": 2}, "treatments": ["v2"],
        "asked": {"counts": "once", "alpha": 0.05, "metrics": [{"name": "errors", "kind": "errors"}]},
        "state": "running", "why": "", "decision": "keep_running", "reasons": ["slow: not proved yet to be within 0.05."],
        "person": False, "changes": [f"chg_{'0' * 26}"], "began_at": "2026-03-01T06:00:00Z", "ended_at": None,
        "looked_at": "2026-03-02T06:00:00Z", "stale": False, "problem": "",
        "standing": {
            "action": "go", "reason": "slow: not proved yet to be within 0.05.", "passed": False, "not_failed": True,
            "units": 980, "looked_at": "2026-03-02T06:00:00Z", "warnings": [],
        },
        "figures": None,
    }  # fmt: skip
    figure = {
        "of": "effect",
        "metric": "errors",
        "treatment": "v2",
        "value": -0.002,
        "low": -0.008,
        "high": 0.004,
        "line": None,
    }
    look = {
        "at": "2026-03-02T06:00:00Z", "generation": 7, "decision": "keep_running", "reasons": whole["reasons"],
        "figures": [figure],
    }  # fmt: skip
    row = {
        "generation": 7, "arm": "v2", "version": 2, "buckets": 5_000, "metric": "errors", "part": 0, "segment": "",
        "centre": 0.01, "n": 980, "waiting": 20, "lost": 0, "value": -0.002, "denominator": 1.0,
    }  # fmt: skip
    counted = {"comparison": whole["id"], "endpoint": ENDPOINT, "experiment": "sharper", "at": look["at"], "rows": [row]}
    found["show_experiment_figures"] = {"response": whole}
    found["show_rollout_comparison"] = {"response": {**whole, "experiment": ""}}
    found["list_experiment_looks"] = {"response": {"items": [look], "next": None}}
    found["show_experiment_aggregates"] = {"response": counted}
    decided = {**found["show_experiment"]["response"], "state": "decided", "outcome": "ship", "change": 12}
    sent = {"outcome": "ship", "reason": "It fails less, and nothing got slower.", "version": 2}
    found["decide_experiment"] = {"request": sent, "response": decided}


def by_hand(found: dict[str, dict[str, Any]]) -> None:
    """What needs another system, a second state or a file: in the form of what was recorded."""
    compared(found)
    intake = {"response": found["show_intake"]["response"]}
    for name in ("add_route", "rotate_route_secret"):
        found[name]["response"] |= {"secret": f"whsec_{'0' * 43}=", "shown": "https://hooks.example.com"}
    found["add_route"]["request"]["address"] = "https://hooks.example.com/countersign"
    event = {"entity": "model_version", "action": "created", "timestamp": "2026-03-01T06:00:00Z"}
    registered = found["show_version"]["response"]["registered"]
    found |= {
        "skip_steps": found["let_rollout_on"],
        "feed_events": {
            "request": {"inputs": [{"name": "hour", "shape": [1], "datatype": "FP32", "data": [9]}]},
            "response": {
                "requests": 1,
                "outcomes": 0,
                "left_out": 0,
                "sampled_out": 0,
                "erased": 0,
                "rejected": 0,
                "rejections": [],
                "values_left_out": 0,
            },
        },
        "take_hook": {"request": {**event, "data": {"name": MODEL, "version": "2"}}, "response": {}},
        "start_intake": {"request": {"model": MODEL, "version": 2}, **intake},
        "retry_intake": intake,
        "upload_version": intake,
        "list_finding_messages": {
            "response": {
                "items": [
                    {
                        "id": f"msg_{'0' * 26}",
                        "whom": "mail to Olga",
                        "event": "finding.opened",
                        "state": "sent",
                        "created_at": "2026-03-01T06:00:00Z",
                        "settled_at": "2026-03-01T06:00:02Z",
                    }
                ],
                "next": None,
            },
        },
        "register_version": {"response": registered},
        "rebase_change": {"response": found["show_change"]["response"]},
        "ready": {"response": {"ready": True, "lacks": None}},
        "list_providers": {
            "response": {
                "items": [
                    {
                        "name": "corp",
                        "title": "Corp",
                        "client_id": "countersign",
                        "server_metadata_url": "https://login.example.com/.well-known/openid-configuration",
                        "issuers": [],
                        "scope": "openid email profile",
                        "prompt": "select_account",
                        "algorithms": ["RS256", "ES256"],
                        "require_verified_email": False,
                        "groups_claim": "groups",
                        "scim_claim": "oid",
                        "scim_identity": "directory",
                    }
                ],
                "next": None,
            }
        },
        **{
            name: {
                "response": {
                    "items": [
                        {"name": "rita", "shown": "Rita Reviewer", "active": True, "has": False, "told_by": "sign-in"},
                    ],
                    "next": None,
                }
            }
            for name in ("list_touched", "list_touched_by_request")
        },
        "show_known": {
            "response": {
                "email": "rita@example.com",
                "logins": [
                    {"issuer": "https://login.example.com", "subject": "00u1f8", "first_at": "2026-03-01T06:00:00Z"},
                ],
                "groups": [{"provider": "corp", "groups": ["ml-reviewers"], "told_at": "2026-03-01T06:00:00Z"}],
                "teams": ["flights"],
            }
        },
        "list_known_groups": {"response": {"items": [{"value": "ml-reviewers", "people": 3}], "next": None}},
        "list_served_arms": {"response": {"items": [{"arm": "v2", "version": 2, "requests": 1180}], "next": None}},
        "show_shadows": {"response": SHADOWS},
        "list_sealing_keys": {
            "response": {
                "items": [
                    {
                        "id": "9f3c2d1a0b4e5f67",
                        "state": "current",
                        "secrets": 2,
                        "used_by": ["route release-room", "server triton"],
                        "is_here": False,
                        "is_due": False,
                        "made_at": "2026-03-01T06:00:00Z",
                        "replaced_at": None,
                        "destroyed_at": None,
                    }
                ],
                "next": None,
                "behind": 0,
            }
        },
        "ask_provider": {
            "response": {
                "issuer": "https://login.example.com",
                "keys": 2,
                "ends_sessions": True,
                "tells_of_logout": True,
                "problems": [],
            }
        },
        "provider_logout": {"request": {"logout_token": "eyJ..."}, "response": {}},
        "list_recorded_probes": {"response": {"rows": [{"request": {"distance": [[120.0]]}, "answer": {"delay": [[4.2]]}}]}},
        "list_recorded_requests": {"response": {"rows": [{"request_id": "r-1", "arm": "champion", "distance": 120.0}]}},
        **{name: {"response": found["show_server"]["response"]} for name in ("confirm_server_move", "drop_server_move")},
        **{name: {"response": found["show_router"]["response"]} for name in ("confirm_router_move", "drop_router_move")},
    }


def record(asked: Api, found: dict[str, dict[str, Any]], step: Step) -> int:
    """Asks, and keeps what was sent and answered where it came through. Returns the status."""
    method, path, sent, by = step
    headers = {"authorization": f"Bearer {asked.token(by)}"}
    if method in ("PATCH", "PUT"):
        headers["if-match"] = "*"
    answer = asked.client.request(method, f"/v1{path}", json=sent, headers=headers)
    if answer.status_code >= 300:
        print(step[:2], answer.status_code, answer.text[:200])
        return answer.status_code
    told = {"request": sent} if sent is not None else {}
    if answer.content:
        told["response"] = shortened(answer.json())
    found[asked.operation(method, path)["operationId"]] = told
    return answer.status_code


def shortened(content: Any) -> Any:
    """Lists of one item, and no secret."""
    if isinstance(content, list):
        return [shortened(one) for one in (content[:1] if content and isinstance(content[0], dict) else content)]
    if not isinstance(content, dict):
        return f"cst_{'0' * 26}_{'0' * 52}" if str(content).startswith("cst_") else content
    return {name: "bmV4dA" if name == "next" and one else shortened(one) for name, one in content.items()}


def main() -> None:
    """Records, and writes where that is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/countersign.db")
        migrate.upgrade(database)
        asked = Api(World(database), Path(folder) / "data")
        found: dict[str, dict[str, Any]] = {}
        for step in steps(known(asked)):
            record(asked, found, step)
        more(asked, found)
        by_hand(found)
        names = [one["operationId"] for each in asked.document["paths"].values() for one in each.values()]
        print("without:", sorted(set(names) - found.keys()))
        asked.close()
    if "--write" in sys.argv:
        kept = json.loads(EXAMPLES.read_text())
        EXAMPLES.write_text(json.dumps({**kept, **found}, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
