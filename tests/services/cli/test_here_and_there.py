"""The same commands on a data folder of this machine and at a server: the same answer, exit code and effect."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from backend import bootstrap
from backend.cli import session
from backend.cli.here import Here
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Server
from tests.api_world import Api
from tests.command_line import CommandLine
from tests.designs import DESIGN
from tests.found import drifted
from tests.live_api import serving
from tests.services.blueprints.world import document
from tests.services.changes.world import ENDPOINT, MODEL, World
from tests.services.registry.worlds import archive

SOON = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S+0000")
WHY = ("--reason", "Have a look")
GATED = ("--share", "50", "--rest", "1=50", "--ramp", "shadow:10m:person,10:1h", "--same-age", "--guardrail", "errors:1%:warn")
SAID = ("--title", "Newer", "--reason", "It is better")
POLICY = json.dumps({"schema": 1, "approvals_needed": 0})
DIGEST = "sha256:" + "0" * 64
TEAM = document("Team", "taxis", "title: Taxis\nmembers: [carla]")
WEAKER = document("Environment", "production", "policy: {approvals_needed: 0}")
SERVES = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 5}]")
SERVER = ("--kind", "memory", "--upstream", "127.0.0.1:8001", "--setting", "path={folder}/world.json")
ROUTER = ("--kind", "memory", "--public-url", "http://127.0.0.1:9", "--setting", "path={folder}/door.json")

JOB = ("--issuer", "github", "--claim", "repository_id=456789", "--claim", "ref=refs/heads/main", "--role", "contributor",
       "--scope", "environment:dev")  # fmt: skip
TO_ANA = ("--to", "ana", "--until", SOON)
WINDOW = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-02T00:00:00Z")
NO_REPORT = f"wrp_{'0' * 26}"
ROWS = '{"request_id": "r1", "event_time": "2026-03-02T09:00:00Z", "features": {"hour": 9}}\n\n{"request_id": "r2"}\n'
HOOK = "http://127.0.0.1:12/hook\n"

Step = tuple[str, tuple[str, ...], str | None]
"""Who, which command, and what standard input holds."""


def by(name: str, *command: str, given: str | None = None) -> Step:
    return name, command, given


STEPS: tuple[Step, ...] = (
    by("ana", "whoami"),
    # models
    by("ana", "model", "list"), by("ana", "model", "list", "--words", "flight", "--by-name", "--limit", "1"),
    by("ana", "model", "show", MODEL), by("ana", "model", "show", MODEL, "--limit", "2"), by("ana", "model", "show", "absent"),
    by("ana", "model", "show", MODEL, "99"), by("ben", "model", "register", MODEL, "1"),
    by("ana", "model", "register", MODEL, "1"),
    by("olga", "model", "set-champion", MODEL, "3", "--environment", "production"),
    # changes
    by("ana", "change", "propose", ENDPOINT, "2", *SAID, "--ramp", "10:0s:person,50:1h", "--key", "build-1"),
    by("ana", "change", "propose", ENDPOINT, "2", *SAID, "--ramp", "10:0s:person,50:1h", "--key", "build-1"),
    by("ana", "change", "propose", ENDPOINT, "3", *SAID, "--key", "build-1"),
    by("ana", "change", "propose", ENDPOINT, "99", *SAID), by("audra", "change", "propose", ENDPOINT, "2", *SAID),
    by("ana", "change", "propose", ENDPOINT, "2", *SAID, "--share", "101"),
    by("ana", "change", "edit", "1"), by("ana", "change", "edit", "1", "--title", "Newest", "--start", "by-hand"),
    by("ana", "change", "list"), by("ana", "change", "list", "--state", "review", "--state", "checking", "--limit", "1"),
    by("ben", "change", "list", "--mine"), by("ben", "change", "asked"), by("ben", "change", "list", "--requester", "ana"),
    by("ana", "change", "show", "1"), by("ana", "change", "show", "77"),
    by("ana", "change", "show", "nonsense"), by("ben", "change", "comment", "1", "\x1b[31mred"),
    by("ana", "change", "approve", "1", "--yes"), by("ben", "change", "approve", "1"),
    by("ben", "change", "approve", "1", "--plan", DIGEST, "--base", DIGEST),
    by("", "check"),
    by("ana", "change", "recheck", "1"), by("", "check"),
    by("ben", "change", "approve", "1", "--yes", "--comment", "Sound"),
    by("ana", "change", "wait", "1", "--timeout", "1s"), by("ana", "change", "wait", "1", "--for", "live", "--timeout", "0s"),
    by("ana", "change", "recheck", "1"), by("audra", "change", "start", "1"), by("ana", "change", "start", "1"),
    by("", "run"),
    by("audra", "rollout", "show", ENDPOINT), by("audra", "rollout", "list"), by("ana", "rollout", "pause", ENDPOINT, *WHY),
    by("ana", "rollout", "resume", ENDPOINT, *WHY), by("olga", "rollout", "resume", ENDPOINT, *WHY),
    by("", "prove"), by("olga", "rollout", "let-on", ENDPOINT, "--step", "9", *WHY),
    by("olga", "rollout", "skip", ENDPOINT, "--step", "1", *WHY), by("olga", "rollout", "skip", "absent", "--step", "1", *WHY),
    by("olga", "rollout", "let-on", ENDPOINT, "--step", "1", *WHY), by("olga", "rollout", "abort", ENDPOINT, *WHY),
    by("olga", "rollout", "pause", ENDPOINT, *WHY), by("audra", "rollout", "show", "absent"),
    by("ana", "change", "wait", "1", "--for", "live", "--timeout", "0s"),
    by("ben", "change", "revoke", "1", *WHY), by("olga", "change", "roll-back", "1", *WHY), by("ana", "change", "rebase", "1"),
    by("", "prove"), by("ana", "change", "wait", "1", "--for", "live", "--timeout", "1s"),
    by("ana", "change", "propose", ENDPOINT, "3", *SAID), by("", "check"), by("ben", "change", "reject", "2", "--yes", *WHY),
    by("ana", "change", "wait", "2", "--timeout", "1s"), by("ana", "change", "propose", ENDPOINT, "4", *SAID, *GATED),
    by("ana", "change", "edit", "3", "--guardrail", "none", "--rest", "none", "--no-same-age"),
    by("ana", "change", "edit", "3", "--guardrail", "slow:1"),
    by("ana", "change", "withdraw", "3", *WHY), by("ana", "change", "wait", "3"), by("ana", "change", "list", "--limit", "1"),
    # endpoints
    by("ana", "endpoint", "list"), by("ana", "endpoint", "list", "--environment", "dev"),
    by("ana", "endpoint", "show", ENDPOINT), by("ana", "endpoint", "show", "absent"),
    by("ana", "endpoint", "served", ENDPOINT), by("ana", "endpoint", "shadow", ENDPOINT, "--tolerance", "0.1"),
    by("ana", "endpoint", "shadow", ENDPOINT, "--from", "2026-03-01T06:00Z", "--to", "2026-03-01T05:00Z"),
    by("ana", "endpoint", "show", ENDPOINT, "--at", "2020-01-01T00:00+0000"), by("ana", "endpoint", "history", ENDPOINT),
    by("ana", "endpoint", "history", ENDPOINT, "--pushes"), by("ana", "endpoint", "pause", ENDPOINT, *WHY),
    by("olga", "endpoint", "pause", ENDPOINT, *WHY), by("olga", "endpoint", "resume", ENDPOINT, *WHY),
    by("olga", "endpoint", "repair", ENDPOINT, *WHY), by("olga", "endpoint", "set-repair", ENDPOINT, "report", *WHY),
    by("ana", "endpoint", "look", ENDPOINT), by("olga", "endpoint", "remove", ENDPOINT, *WHY),
    by("olga", "endpoint", "adopt", ENDPOINT), by("ben", "endpoint", "sign-off", ENDPOINT, "--base", DIGEST),
    # servers and routers
    by("ana", "server", "register", "mine", *SERVER), by("olga", "server", "register", "mine", *SERVER),
    by("olga", "server", "register", "mine", *SERVER),
    by("olga", "server", "register", "keyed", *SERVER, "--credential-stdin", given="s3cret\n"),
    by("ana", "server", "list"), by("olga", "server", "test", "mine"), by("olga", "server", "test", "absent"),
    by("olga", "server", "edit", "mine", "--upstream", "127.0.0.1:9000"),
    by("olga", "endpoint", "create", "new", "--environment", "dev", "--model", MODEL, "--server", "mine"),
    by("olga", "endpoint", "adopt", "new"), by("ben", "endpoint", "sign-off", "new"),
    by("ben", "endpoint", "sign-off", "new", "--yes"),
    by("olga", "endpoint", "create", "other", "--environment", "dev", "--model", MODEL, "--server", "mine"),
    by("olga", "endpoint", "remove", "other", *WHY),
    by("olga", "server", "edit", "s", "--upstream", "127.0.0.1:9001"),
    by("otto", "server", "confirm-move", "s", "--revision", "77"), by("olga", "server", "confirm-move", "s", "--revision", "2"),
    by("otto", "server", "confirm-move", "s", "--revision", "2"), by("olga", "server", "drop-move", "s"),
    by("olga", "server", "edit", "s", "--upstream", "127.0.0.1:9002"), by("olga", "server", "drop-move", "s"),
    by("olga", "router", "register", "door", *ROUTER), by("ana", "router", "list"), by("olga", "router", "test", "door"),
    by("olga", "router", "edit", "door", "--public-url", "http://127.0.0.1:10"),
    by("olga", "router", "edit", "absent", "--public-url", "x"),
    by("otto", "router", "confirm-move", "door", "--revision", "2"), by("olga", "router", "drop-move", "door"),
    # where calls go, and keys
    by("ana", "outgoing", "show"), by("olga", "outgoing", "check", "http://127.0.0.1:8000"),
    by("olga", "outgoing", "check", "http://10.1.2.3"), by("olga", "outgoing", "check", "http://127.0.0.1:22"),
    by("olga", "outgoing", "check", "ftp://x"), by("ana", "outgoing", "check", "http://127.0.0.1:8000"),
    by("audra", "secrets", "status"), by("ana", "secrets", "status"),
    # policies, freezes
    by("ana", "policy", "show"), by("ana", "policy", "show", "nowhere"), by("ana", "policy", "set", "dev", "-", given=POLICY),
    by("otto", "policy", "set", "dev", "-", given=POLICY), by("otto", "policy", "set", "production", "-", given=POLICY),
    by("otto", "policy", "set", "dev", "-", given='{"odd": 1}'), by("olga", "freeze", "set", "production", *WHY),
    by("olga", "freeze", "set", "nowhere", *WHY), by("ana", "freeze", "list"),
    by("otto", "freeze", "lift", "frz_absent", *WHY), by("otto", "freeze", "lift", "{freeze}", *WHY),
    # what is promised of endpoints
    by("ana", "slo", "show", ENDPOINT), by("ana", "slo", "set", ENDPOINT, "--availability", "99.9"),
    by("olga", "slo", "set", ENDPOINT), by("olga", "slo", "set", ENDPOINT, "--availability", "all"),
    by("olga", "slo", "set", "absent", "--availability", "99"), by("olga", "slo", "set", ENDPOINT, "--latency", "soon:95"),
    by("olga", "slo", "set", ENDPOINT, "--availability", "99.9", "--latency", "250ms:95"),
    by("olga", "slo", "set", ENDPOINT, "--latency", "2s:99", "--latency", "250ms:95", "--days", "28"),
    by("ana", "slo", "show", ENDPOINT), by("ana", "slo", "sources", ENDPOINT), by("ana", "slo", "rules", ENDPOINT),
    by("ana", "slo", "dashboard", ENDPOINT), by("ana", "slo", "remove", ENDPOINT), by("olga", "slo", "remove", ENDPOINT),
    by("olga", "slo", "remove", ENDPOINT),
    # what is watched at endpoints
    by("ana", "monitor", "list"), by("ana", "monitor", "set", ENDPOINT, "drift", "--kind", "drift"),
    by("olga", "monitor", "set", ENDPOINT, "drift", "--kind", "drift", "--window", "90s"),
    by("olga", "monitor", "set", ENDPOINT, "drift"), by("olga", "monitor", "set", "absent", "drift", "--kind", "drift"),
    by("olga", "monitor", "set", ENDPOINT, "drift", "--kind", "drift", "--window", "24h", "--every", "1h"),
    by("olga", "monitor", "set", ENDPOINT, "drift", "--every", "2h"),
    by("olga", "monitor", "set", ENDPOINT, "beside", "--kind", "drift", "--against", "week", "--joint", "--report", "drift"),
    by("olga", "monitor", "set", ENDPOINT, "late", "--kind", "quality", "--outcome", "late", "--since", "2d"),
    by("olga", "monitor", "set", ENDPOINT, "data", "--from", "-", given='{"kind": "data", "min_rows": 10}'),
    by("ana", "monitor", "show", ENDPOINT, "drift"), by("ana", "monitor", "show", ENDPOINT, "absent"),
    by("ana", "monitor", "run", ENDPOINT, "drift"), by("ana", "monitor", "pause", ENDPOINT, "drift", *WHY),
    by("olga", "monitor", "pause", ENDPOINT, "drift", *WHY), by("olga", "monitor", "run", ENDPOINT, "drift"),
    by("olga", "monitor", "resume", ENDPOINT, "drift"), by("olga", "monitor", "remove", ENDPOINT, "data"),
    by("olga", "monitor", "remove", ENDPOINT, "data"), by("ana", "monitor", "list", "--endpoint", ENDPOINT),
    by("ana", "monitor", "profile", MODEL, "1"), by("ana", "monitor", "profile", "absent", "1"),
    # experiments
    by("ana", "experiment", "list"), by("ana", "experiment", "create", ENDPOINT, "bigger", "--title", "Bigger", "--from", "-",
                                        given=json.dumps(DESIGN)),
    by("otto", "experiment", "create", ENDPOINT, "other", "--title", "Other", "--from", "-", given=json.dumps(DESIGN)),
    by("ana", "experiment", "create", ENDPOINT, "bigger", "--title", "Again", "--from", "-", given=json.dumps(DESIGN)),
    by("ana", "experiment", "create", "absent", "bigger", "--title", "Again", "--from", "-", given=json.dumps(DESIGN)),
    by("ana", "experiment", "create", ENDPOINT, "empty", "--title", "Empty", "--from", "-", given="{}"),
    by("ana", "experiment", "show", ENDPOINT, "bigger"), by("ana", "experiment", "show", ENDPOINT, "absent"),
    by("ana", "experiment", "plan", ENDPOINT, "--from", "-", given=json.dumps(DESIGN)),
    by("ana", "experiment", "edit", ENDPOINT, "bigger", "--title", "Bigger and better"),
    by("ben", "experiment", "decide", ENDPOINT, "bigger", "ship", *WHY),
    by("ana", "experiment", "withdraw", ENDPOINT, "bigger", *WHY), by("ana", "experiment", "list", "--state", "withdrawn"),
    # configuration as code, ramps by name
    by("olga", "ramp", "set", "careful", "1:10m,25:1h:person"), by("olga", "ramp", "set", "careful", "1:10m,50:1h"),
    by("olga", "ramp", "set", "careful", "50:1h,1:10m"), by("olga", "ramp", "set", "Careful", "1:10m"),
    by("ana", "ramp", "set", "careful", "1:10m"), by("ana", "ramp", "list"),
    by("ana", "change", "propose", ENDPOINT, "5", *SAID, "--ramp", "careful"),
    by("ana", "change", "propose", ENDPOINT, "5", *SAID, "--ramp", "absent"),
    by("olga", "ramp", "remove", "careful"), by("olga", "ramp", "remove", "careful"),
    by("otto", "apply", "-f", "-", "--dry-run", given=TEAM), by("otto", "apply", "-f", "-", given=TEAM),
    by("ana", "apply", "-f", "-", "--plan", "{plan}", given=TEAM), by("otto", "apply", "-f", "-", "--plan", DIGEST, given=TEAM),
    by("otto", "apply", "-f", "-", "--plan", "{plan}", given=TEAM), by("otto", "apply", "-f", "-", "--dry-run", given=TEAM),
    by("otto", "apply", "-f", "-", "--plan", "{before}", given=TEAM), by("ana", "apply", "-f", "-", "--dry-run", given=WEAKER),
    by("otto", "apply", "-f", "-", "--yes", given=WEAKER), by("otto", "apply", "-f", "-", "--dry-run", given=WEAKER),
    by("otto", "apply", "-f", "-", "--dry-run", given="a: &a 1"), by("otto", "apply", "-f", "absent.yaml", "--dry-run"),
    by("otto", "apply", "-f", "-", "--dry-run", given=TEAM.replace("Team", "Monitor")),
    by("otto", "apply", "-f", "-", "--dry-run", given=TEAM.replace("title", "titel").replace("members", "member")),
    by("ana", "apply", "-f", "-", "--yes", "--title", "As declared", given=SERVES),
    by("otto", "apply", "-f", "-", "--yes", given=document("Team", "taxis", absent="true")),
    by("otto", "apply", "-f", "-", "--yes", "--prune", given=document("Team", "taxis", absent="true")),
    by("otto", "export"), by("otto", "export", "--kind", "Environment", "--name", "dev"),
    by("otto", "export", "--kind", "Grant"), by("otto", "export", "--name", "absent"),
    # people, teams, what takes two
    by("ana", "identity", "create", "builds"), by("otto", "identity", "create", "builds", "--owner", "ana"),
    by("otto", "identity", "hand-over", "builds", "otto"), by("ana", "identity", "hand-over", "builds", "ben"),
    by("otto", "identity", "hand-over", "builds", "ben"), by("otto", "identity", "hand-over", "builds", "ana"),
    by("audra", "identity", "issuers"), by("ana", "identity", "issuers"), by("ana", "identity", "bind", "builds", *JOB),
    by("otto", "identity", "bind", "builds", *JOB), by("otto", "identity", "bind", "builds", *JOB),
    by("audra", "identity", "bindings"), by("audra", "identity", "binding", "bnd_absent"),
    by("audra", "identity", "binding", "{binding}"), by("ana", "identity", "unbind", "{binding}"),
    by("otto", "identity", "unbind", "{binding}", "--reason", "The repository moved."),
    by("otto", "identity", "bind", "builds", "--issuer", "github", "--claim", "repository_id=1", "--claim", "ref=x"),
    by("audra", "identity", "bindings", "--all"), by("audra", "identity", "bindings"),
    by("ana", "identity", "list"), by("ana", "identity", "list", "--role", "reviewer", "--active", "--demo", "--text", "ben"),
    by("otto", "identity", "list", "--group", "ml", "--provider", "corp"), by("ana", "identity", "list", "--group", "ml"),
    by("ana", "identity", "show", "builds"), by("ana", "identity", "show", "ben", "--known"),
    by("otto", "identity", "show", "ben", "--known"), by("ana", "identity", "admins"),
    by("otto", "identity", "grant", "builds", "contributor", "--scope", f"model:{MODEL}"),
    by("otto", "identity", "grant", "builds", "viewer", "--scope", "environment:dev", "--until", SOON),
    by("ben", "identity", "grants"),
    by("ben", "identity", "grants", "--of", "builds", "--scope", "environment", "--ends", "soon"),
    by("otto", "identity", "take-back", "builds", "viewer", "--scope", "environment:dev"),
    by("otto", "identity", "deactivate", "carla"), by("ana", "identity", "activate", "carla"),
    by("otto", "identity", "activate", "carla"), by("ana", "request", "list"), by("nora", "request", "list"),
    by("nora", "request", "list", "--all"), by("nora", "request", "show", "ask_absent"),
    by("nora", "request", "confirm", "ask_absent"), by("nora", "request", "show", "{request}"),
    by("otto", "request", "confirm", "{request}"), by("nora", "request", "confirm", "{request}"),
    by("otto", "identity", "grant", "builds", "operator"), by("nora", "request", "refuse", "{request}", *WHY),
    by("nora", "request", "refuse", "ask_absent", *WHY),
    by("otto", "team", "create", "flights", "--title", "Flight delays"), by("otto", "team", "add", "flights", "ana"),
    by("otto", "team", "add", "flights", "otto"), by("otto", "team", "own", "flights", "--model", "nothing"),
    by("otto", "team", "own", "flights", "--model", MODEL), by("otto", "team", "disown", "--model", MODEL),
    by("otto", "team", "rename", "flights", "delays"), by("ben", "team", "list"), by("ben", "team", "show", "delays"),
    by("otto", "team", "remove", "delays", "ana"), by("otto", "team", "retire", "delays"),
    by("otto", "team", "retire", "delays"),
    # who is signed in, and where people sign in
    by("ana", "session", "list"), by("ana", "session", "list", "--all"), by("otto", "session", "list", "--all"),
    by("ana", "session", "end", "ses_absent"), by("ana", "session", "end-all"), by("ana", "session", "end-all", "ben"),
    by("otto", "session", "end-all", "carla", "--reason", "A lost laptop."), by("ben", "sign-in", "providers"),
    by("otto", "sign-in", "providers"), by("otto", "sign-in", "ask", "corp"), by("ben", "sign-in", "mappings"),
    by("otto", "sign-in", "mappings"), by("otto", "sign-in", "touched", "corp", "ml", "viewer"),
    by("otto", "sign-in", "map", "corp", "ml", "viewer"), by("otto", "sign-in", "unmap", "map_absent"),
    by("otto", "sign-in", "settings"), by("ana", "sign-in", "settings"), by("otto", "sign-in", "groups", "corp"),
    by("otto", "session", "list", "--of", "ana"),
    # messages
    by("ana", "notify", "events"), by("ana", "notify", "add", "Room", given=HOOK),
    by("ana", "notify", "add", "room", given=HOOK), by("ana", "notify", "add", "room", given=HOOK),
    by("ana", "notify", "add", "all", "--everybody", given=HOOK),
    by("otto", "notify", "add", "all", "--everybody", given=HOOK), by("ana", "notify", "add", "bad", given="json://127.0.0.1/x\n"),
    by("ana", "notify", "routes"), by("audra", "notify", "routes", "--all"), by("ana", "notify", "show", "room"),
    by("ben", "notify", "show", "room"), by("ana", "notify", "test", "room", "--wait", "0"),
    by("ana", "notify", "message", "{message}"), by("ben", "notify", "message", "{message}"),
    by("ana", "notify", "message", "nonsense"), by("ana", "notify", "log", "--route", "room", "--limit", "1"),
    by("ana", "notify", "replay", "{message}"), by("ana", "notify", "replay", "room", "--whole-route"),
    by("ana", "notify", "subscribe", "change.waiting", "--route", "room", "--of", f"model/{MODEL}"),
    by("ana", "notify", "subscribe", "nothing.of-that-name"), by("ana", "notify", "subscriptions"),
    by("ben", "notify", "unsubscribe", "{subscription}"), by("ana", "notify", "unsubscribe", "{subscription}"),
    by("ana", "notify", "preferences", "--zone", "Europe/Berlin", "--quiet", "22:00-07:00", "--mute", "change.approved"),
    by("ana", "notify", "preferences", "--zone", "Mars"), by("ana", "notify", "preferences", "--quiet", "none"),
    by("ana", "notify", "rotate", "room"), by("ana", "notify", "rotate", "room"),
    by("ana", "notify", "pause", "room", *WHY), by("ana", "notify", "resume", "room"), by("ana", "notify", "remove", "room"),
    by("ana", "notify", "remove", "room"),
    # findings
    by("ana", "finding", "list"), by("ana", "finding", "list", "--severity", "critical", "--kind", "drift", "--state", "open"),
    by("ana", "finding", "show", "1"), by("ana", "finding", "show", "77"), by("ana", "finding", "show", "nonsense"),
    by("audra", "finding", "acknowledge", "1"), by("ana", "finding", "acknowledge", "1", *WHY),
    by("ana", "finding", "assign", "1", "--person", "absent"), by("ana", "finding", "assign", "1", "--person", "olga"),
    by("ana", "finding", "snooze", "1", "--for", "8h", *WHY), by("olga", "finding", "snooze", "1", "--for", "60d", *WHY),
    by("olga", "finding", "snooze", "1", "--for", "8h", *WHY), by("ana", "finding", "resolve", "1", *WHY),
    by("ben", "finding", "resolve", "1", "--outcome", "false_alarm", *WHY), by("ana", "finding", "reopen", "1", *WHY),
    by("ana", "finding", "test", ENDPOINT, "--wait", "0"), by("olga", "finding", "test", ENDPOINT, "--wait", "0"),
    by("ana", "finding", "list", "--tests", "--limit", "1"),
    # reports of windows
    by("ana", "window-report", "list", ENDPOINT), by("ana", "window-report", "list", "absent"),
    by("ana", "window-report", "show", ENDPOINT, NO_REPORT), by("ana", "window-report", "show", ENDPOINT, "nonsense"),
    by("ana", "window-report", "save", ENDPOINT, NO_REPORT, "page.html"),
    by("ana", "window-report", "remove", ENDPOINT, NO_REPORT),
    by("ben", "window-report", "ask", ENDPOINT, *WINDOW), by("otto", "data-set", "grant", f"requests/{ENDPOINT}", *TO_ANA),
    by("ana", "window-report", "ask", ENDPOINT, "--from", WINDOW[3], "--to", WINDOW[1]),
    by("ana", "window-report", "ask", ENDPOINT, *WINDOW), by("ana", "window-report", "show", ENDPOINT, "{report}"),
    by("ana", "window-report", "remove", ENDPOINT, "{report}"),
    # tokens, data sets, the ledger
    by("ana", "token", "create", "ci", "--for", "builds", "--lifetime", "7d"),
    by("ben", "token", "create", "ci", "--for", "builds"),
    by("ana", "token", "list"), by("ana", "token", "list", "--all"), by("ana", "token", "revoke", "tok_absent"),
    by("ana", "token", "revoke", "{token}"),
    by("otto", "data-set", "grant", f"probes/{MODEL}", "--to", "ana", "--until", SOON), by("audra", "data-set", "list"),
    by("ana", "data-set", "list"), by("ben", "data-set", "probes", MODEL, "1"),
    by("ana", "data-set", "take-back", "dsg_absent"), by("otto", "data-set", "take-back", "{granted}"),
    by("ana", "data-set", "requests", "nothing", "--from", "2026-01-01T00:00:00+0000", "--to", "2026-01-02T00:00:00+0000"),
    by("ana", "inference-log", "feed", ENDPOINT, "-", given=ROWS),
    by("ben", "inference-log", "feed", ENDPOINT, "-", given=ROWS),
    by("ana", "inference-log", "feed", ENDPOINT, "-", "--outcomes", given=ROWS),
    by("ana", "inference-log", "feed", ENDPOINT, "-", given="no json\n"),
    by("ana", "inference-log", "rules", ENDPOINT),
    by("olga", "inference-log", "set-rules", ENDPOINT, "--sample-every", "10", "--redact", "feature:zip=truncate:3",
       "--keep", "parts=9"),
    by("olga", "inference-log", "set-rules", ENDPOINT, "--redact", "status=drop"),
    by("olga", "inference-log", "set-rules", ENDPOINT, "--keep", "parts=soon"),
    by("ana", "inference-log", "set-rules", ENDPOINT, "--no-redaction"),
    by("otto", "inference-log", "erase", ENDPOINT, *WHY, "--later", given="u-1842\n"),
    by("ana", "inference-log", "erase", ENDPOINT, *WHY, given="u-1842\n"), by("ben", "inference-log", "erasures", ENDPOINT),
    by("ana", "inference-log", "read", ENDPOINT, "--from", "2026-01-01T00:00:00+0000", "--to", "2026-01-02T00:00:00+0000"),
    by("audra", "audit", "verify"), by("ana", "audit", "verify"), by("audra", "audit", "log", "--limit", "3"),
    by("audra", "audit", "log", "--action", "change.propose"), by("audra", "audit", "log", "--limit", "210"),
    by("audra", "audit", "log", "--subject", "environment/dev"),
)  # fmt: skip


ALONE = {"apply", "export"}
"""Commands that are no group: what follows their names are options."""


def _named(command: tuple[str, ...]) -> tuple[str, ...]:
    return command[:1] if command[0] in ALONE else command[:2]


ONLY_REFUSED = {
    ("change", "rebase"), ("data-set", "probes"), ("data-set", "requests"), ("experiment", "decide"),
    ("model", "register"), ("model", "set-champion"),
    ("rollout", "skip"), ("router", "confirm-move"), ("router", "drop-move"), ("slo", "rules"), ("slo", "dashboard"),
    ("session", "end"), ("sign-in", "ask"), ("sign-in", "unmap"), ("window-report", "save"),
}  # fmt: skip
"""Commands that have nothing to succeed on in this world; what they answer otherwise is held by other tests."""


@dataclass
class Place:
    """A world, and the commands that act on it."""

    world: World
    countersign: CommandLine
    folder: Path
    last: dict[str, str]

    def take(self, step: Step) -> tuple[int, Any]:
        """The exit code and the answer of a command; what the world does by itself answers nothing."""
        name, command, given = step
        if not name:
            self.world.run()
            if command != ("run",):
                getattr(self.world, command[0])()
                self.world.run()
            return 0, None
        written = [one.format(folder=self.folder, **self.last) if one[:1] == "{" or "={" in one else one for one in command]
        answer = self.countersign(*written, by=name, given=given)
        self._keep(answer.content)
        return answer.code, like(answer.content)

    def _keep(self, told: dict[str, Any]) -> None:
        """Ids that later commands name, as people copy them."""
        for noun in ("freeze", "token", "granted", "message", "subscription", "report"):
            if isinstance(told.get(noun), dict) and "id" in told[noun]:
                self.last[noun] = told[noun]["id"]
        self.last |= {noun: told[noun] for noun in ("request", "binding") if isinstance(told.get(noun), str)}
        if isinstance(told.get("plan"), str):
            self.last |= {"plan": told["plan"], "before": self.last.get("plan", "")}

    def ledger(self) -> list[tuple[str, str]]:
        with self.world.database.read() as look:
            rows = look.exec(select(LedgerRow).order_by(col(LedgerRow.seq))).all()
            return [(row.action, row.subject_kind) for row in rows if row.action != "token.use"]


UNLIKE = re.compile(
    r"(?P<pseudonym>\bhmac:[0-9a-f]{32}\b)|(?P<secret>\bwhsec_[0-9A-Za-z+/=]+)|(?P<id>\b[a-z]{3}_[0-9a-z]{26}(?:_[0-9A-Za-z_-]+)?)"
    r"|(?P<digest>\b[0-9a-f]{64}\b)"
    r"|(?P<key>\b[0-9a-f]{16}\b)"
    r"|(?P<at>\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\+00:00)?)|(?P<host>\bthis machine\b|http://127\.0\.0\.1:\d{5}\b)"
)
AGES = {"age_seconds", "seen_seconds", "next"}
UNTOLD = {"request_id", "last_used_at", "token_used_at"}


def like(told: Any) -> Any:
    """What was told, without what is another one in each world: ids, times and what is made of them."""
    if isinstance(told, dict):
        return {name: one is not None if name in AGES else like(one) for name, one in told.items() if name not in UNTOLD}
    if isinstance(told, list):
        return [like(one) for one in told]
    return UNLIKE.sub(lambda found: f"<{found.lastgroup}>", told) if isinstance(told, str) else told


@pytest.fixture
def places(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Place, Place]]:
    """Two worlds alike: one whose commands act in this process, and one that is asked over HTTP."""
    made = []
    for name in ("here", "there"):
        shutil.copy(sqlite_template, tmp_path / f"{name}.db")
        made.append(Api(World(Database(f"sqlite:///{tmp_path / name}.db")), tmp_path / name))
    here, there = made
    for each in made:
        drifted(each.world.database, ENDPOINT)
    for name in ("ana", "ben", "olga", "otto", "nora", "audra"):
        for each in made:
            each.token(name)
    settings = {
        "data_dir": str(tmp_path / "here"), "database_url": f"sqlite:///{tmp_path / 'here'}.db", "demo_identities": "true",
        "allowed_networks": "127.0.0.0/8", "observe_seconds": "3600", "config_dir": str(tmp_path / "config"),
    }  # fmt: skip
    monkeypatch.setattr(bootstrap, "build", lambda _settings: here.backend)  # the world's thin stands-in, as at the server
    monkeypatch.setattr(Here, "close", lambda _here: None)
    with serving(there.application) as url:
        far = CommandLine(url=url, tokens=there.token, config_dir=str(tmp_path / "config"))
        yield Place(here.world, CommandLine(**settings), tmp_path, {}), Place(there.world, far, tmp_path, {})
    for each in made:
        each.close()
        each.world.database.close()


def test_commands_do_and_say_the_same_here_and_at_a_server(places: tuple[Place, Place]) -> None:
    here, there = places
    codes, succeeded = set(), set()
    for step in STEPS:
        near, far = here.take(step), there.take(step)
        assert near == far, step
        assert here.ledger()[-3:] == there.ledger()[-3:], step
        codes.add(near[0])
        succeeded |= {_named(step[1])} if near[0] == 0 and step[0] else set()
    assert here.ledger() == there.ledger()
    assert codes == {0, 2, 3, 4, 5, 7, 8}
    assert {_named(command) for name, command, _ in STEPS if name} - succeeded == ONLY_REFUSED


ONLY_HERE: tuple[tuple[str, ...], ...] = (
    ("migrate",), ("doctor",), ("demo", "--headless"), ("up",), ("identity", "bootstrap", "ana"),
    ("secrets", "rotate"), ("secrets", "rotate-ledger-key"),
)  # fmt: skip
"""What concerns the machine itself: it acts here, and is refused at a server's address."""


def test_the_table_has_every_command_that_acts_at_a_server() -> None:
    from tests.services.cli.test_every_command import _leaves, main

    taken = {_named(command) for name, command, _ in STEPS if name} | {("whoami",)}
    acting = {path for path, command in _leaves(main) if any(one.name == "url" for one in command.params)}
    elsewhere = {("login",), ("logout",), ("model", "upload")}  # tests of their own
    assert acting - elsewhere - set(ONLY_HERE) == {one[:1] if one[0] == "whoami" else one for one in taken}


def test_text_is_the_same_too(places: tuple[Place, Place]) -> None:
    for place in places:
        place.take(by("ana", "change", "propose", ENDPOINT, "2", *SAID))
    for command in (
        ("change", "list"),
        ("change", "show", "1"),
        ("endpoint", "show", ENDPOINT),
        ("policy", "show"),
        ("server", "list"),
    ):
        near, far = (like(place.countersign.text(*command, by="ana")) for place in places)
        assert re.sub(r"\d+ s ago", "<age>", near) == re.sub(r"\d+ s ago", "<age>", far)


# -- where a command acts


@pytest.mark.parametrize(
    ("given", "told", "place"),
    [
        (("https://x.test", None, None), {"COUNTERSIGN_URL": "https://y.test"}, session.Place("https://x.test")),
        ((None, None, None), {"COUNTERSIGN_URL": "https://y.test", "COUNTERSIGN_AS": "ana"}, session.Place("https://y.test")),
        ((None, Path("d"), None), {"COUNTERSIGN_URL": "https://y.test"}, session.Place(None, Path("d"), None)),
        ((None, None, "ana"), {"COUNTERSIGN_URL": "https://y.test"}, session.Place(None, None, "ana")),
        ((None, None, None), {"COUNTERSIGN_AS": "ben"}, session.Place(None, None, "ben")),
        ((None, Path("d"), None), {"COUNTERSIGN_AS": "ben"}, session.Place(None, Path("d"), "ben")),
        ((None, None, None), {}, session.Place("https://kept.test")),
        ((None, None, None), {"COUNTERSIGN_DATA_DIR": "data"}, session.Place()),
        ((None, None, None), {"COUNTERSIGN_DATABASE_URL": "sqlite://"}, session.Place()),
    ],
)
def test_what_is_said_nearest_counts(
    given: tuple[str | None, Path | None, str | None],
    told: dict[str, str],
    place: session.Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session.saved, "current", lambda _environment: "https://kept.test")
    assert session.place(*given, told) == place


def test_a_command_acts_in_one_place() -> None:
    with pytest.raises(Refusal) as refused:
        session.place("https://x.test", Path("data"), None, {})
    assert refused.value.code == "two-places"


@pytest.mark.parametrize("command", ONLY_HERE)
def test_what_is_of_the_machine_itself_says_so(command: tuple[str, ...], tmp_path: Path) -> None:
    answer = CommandLine(url="https://x.test", config_dir=str(tmp_path))(*command)
    assert (answer.code, answer.error) == (2, "only-here")
    assert "--data" in answer.content["error"]["remedy"]


def test_nobody_there_is_another_system_s_failure(tmp_path: Path) -> None:
    far = CommandLine(url="http://127.0.0.1:9", tokens=lambda _name: "some-token", config_dir=str(tmp_path))
    answer = far("token", "create", "ci", by="ana")
    assert (answer.code, answer.error) == (3, "unreachable")
    assert CommandLine(url="http://10.0.0.1", tokens=lambda _name: "some-token")("whoami", by="ana").error == "bad-address"
    assert CommandLine(url="http://127.0.0.1:9", config_dir=str(tmp_path))("whoami").error == "no-identity"


def test_a_credential_is_read_where_apply_runs_and_sent_to_be_sealed_alone(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from-a-file-7f3a\n")
    monkeypatch.setenv("SERVER_KEY", "from-a-variable-7f3a")
    spec = f"kind: memory\nupstream: '127.0.0.1:8001'\nsettings: {{path: '{tmp_path}/own.json'}}\ncredential: "
    for place in places:
        for refers in (f"{{fromFile: '{tmp_path}/key'}}", "{fromEnv: SERVER_KEY}", "{fromEnv: NOT_SET}"):
            text = document("Server", "keyed", spec + refers)
            assert place.countersign("apply", "-f", "-", "--dry-run", "--renew-credentials", by="olga", given=text).code == 8
            done = place.countersign("apply", "-f", "-", "--yes", "--renew-credentials", by="olga", given=text)
            assert done.content.get("error", {}).get("code") == ("credential-missing" if "NOT_SET" in refers else None)
            assert "7f3a" not in str(done)
        with place.world.database.read() as look:
            row = look.exec(select(Server).where(Server.name == "keyed")).one()
        assert row.sealed_credential is not None
        assert row.revision == 2
        assert "7f3a" not in row.sealed_credential


def test_every_place_of_a_file_that_is_wrong_is_told_and_an_export_is_what_apply_reads(places: tuple[Place, Place]) -> None:
    wrong = TEAM.replace("title", "titel").replace("members", "member")
    for place in places:
        told = place.countersign("apply", "-f", "-", "--dry-run", by="otto", given=wrong)
        assert [one["field"] for one in told.content["error"]["errors"]] == ["-:5:3", "-:6:3"]
        assert told.content["error"]["errors"][1]["remedy"] == "Did you mean `members`?"
        text = place.countersign.text("export", "--kind", "Environment", "--kind", "Endpoint", by="otto")
        again = place.countersign("apply", "-f", "-", "--dry-run", by="otto", given=text)
        assert (again.code, again.content["differs"], len(again.content["objects"])) == (0, False, 4)


def test_an_archive_is_uploaded_to_a_server(places: tuple[Place, Place], tmp_path: Path) -> None:
    path, broken = archive(tmp_path / "model.zip"), tmp_path / "broken.zip"
    broken.write_bytes(b"PK no archive")
    for place in places:
        answer = place.countersign("model", "upload", "fresh", str(path), "--description", "Retrained", by="ana")
        assert (answer.code, answer.content["version"]["number"]) == (0, 1), answer
        assert answer.content["version"]["artifact_digest"].startswith("sha256:")
        assert "100%" in answer.said
        refused = place.countersign("model", "upload", "fresh", str(broken), by="ana")
        assert (refused.code, refused.error) == (2, "intake-refused")
        assert place.countersign("model", "upload", "fresh", str(path), by="audra").error == "not-allowed"
