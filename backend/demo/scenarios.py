"""Scenarios of the headless demo: one new version meets live traffic, and the figures decide what becomes of it.

Each begins with version 1 live and replays flights of June and July, as fast as it takes; what becomes of a flight is known as
much sooner. `good`: version 2 ramps to all of the traffic. `bad`: version 3, which is wrong on purpose, is taken back by a
guardrail. `shadow`: version 2 gets copies and answers nobody.

Nothing here decides anything: shares, verdicts and the decision are read from what the worker wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from backend.changes.rows import Change
from backend.core.errors import Refusal
from backend.demo.flights_setup import PRODUCTION, FlightsSetup, Prepared
from backend.demo.logging_replay import LoggedReplay
from backend.demo.stack import Say, Stack
from backend.demo.traffic import Traffic
from backend.demo.waiting import wait_for
from backend.demo.walked import WalkedStep, exposure, walked
from backend.experiments.comparing import showing
from backend.experiments.copies import Copies, all_compared

Name = Literal["good", "bad", "shadow"]
Decision = Literal["ship", "roll_back", "keep_running"]
NAMES: tuple[Name, ...] = ("good", "bad", "shadow")
RATE = 150.0
BEFORE_REQUESTS = 1_500
"""Requests to version 1 before anything is proposed: how much its figures vary is measured on them."""
HORIZON_SECONDS = 8
"""After which a flight's outcome is known if it ever is: a day and a half of summer."""
LONGEST_SECONDS = 300.0
GUARDRAILS: tuple[Mapping[str, Any], ...] = (
    {"name": "errors", "kind": "errors", "margin": 0.03},
    {"name": "slow-answers", "kind": "slow", "above_seconds": 1.0, "margin": 0.05},
    {"name": "log-loss", "kind": "log_loss", "outcome": "late", "horizon_seconds": HORIZON_SECONDS, "margin": 0.1},
    {"name": "brier", "kind": "brier", "outcome": "late", "horizon_seconds": HORIZON_SECONDS, "margin": 0.05},
)
RAMP: tuple[Mapping[str, Any], ...] = (
    {"share": 500, "hold_seconds": 5, "min_units": 20},
    {"share": 2_500, "hold_seconds": 5, "min_units": 100},
    {"share": 5_000, "hold_seconds": 5, "min_units": 100},
)
REASONS: Mapping[Name, str] = {
    "good": "Better calibrated in summer",
    "bad": "To see it stopped",
    "shadow": "To compare it first",
}
WANTED: Mapping[Name, Decision] = {"good": "ship", "bad": "roll_back", "shadow": "keep_running"}


@dataclass(frozen=True)
class ScenarioReport:
    """What came of a scenario.

    Args:
        steps: each state that was admitted, with its shares in percent and how long it was live.
        decision: the comparison's newest; of a shadow, which decides nothing, `keep_running`.
        exposure: requests that each arm was assigned, by the log, from the proposal on; of a shadow arm the copies.
        copies: what the shadow arm answered beside the live one; None of other scenarios.
        live: the version that answers afterwards.
    """

    scenario: Name
    steps: tuple[WalkedStep, ...]
    decision: Decision
    reasons: tuple[str, ...]
    exposure: Mapping[str, int]
    requests: int
    failed_requests: int
    live: int | None
    wanted: int | None
    ledger_intact: bool
    copies: Copies | None = None

    @property
    def holds(self) -> bool:
        """Whether the scenario ended as it should, with no failed request and an intact ledger."""
        decided = self.decision == WANTED[self.scenario]
        if self.scenario == "shadow" and (self.copies is None or not self.copies.answered):
            return False
        return decided and self.live == self.wanted and self.failed_requests == 0 and self.ledger_intact

    def to_json(self) -> dict[str, Any]:
        """The line that `countersign demo --headless --json --scenario ...` prints."""
        return {
            "scenario": self.scenario,
            "steps": [one.to_json() for one in self.steps],
            "decision": self.decision,
            "reasons": [*self.reasons],
            "exposure": dict(self.exposure),
            "requests": self.requests,
            "failed_requests": self.failed_requests,
            "live_version": self.live,
            "ledger_intact": self.ledger_intact,
            **({"shadow": self.copies.to_json()} if self.copies is not None else {}),
        }


class Scenario:
    """One scenario on a stack that is set up."""

    def __init__(self, name: Name, stack: Stack, setup: FlightsSetup, prepared: Prepared, say: Say) -> None:
        self.name, self.stack, self.setup, self.say = name, stack, setup, say
        self.backend, self.cast = stack.backend, setup.cast
        self.prepared = prepared

    def run(self) -> ScenarioReport:
        """Plays it, under traffic from the beginning to the end."""
        before = self.setup.live_version(PRODUCTION)
        if before != self.prepared.first:
            raise Refusal(
                f"Version {before} is live, and scenarios begin with version {self.prepared.first}.",
                "Take it back first, or use another data folder.",
                code="not-at-the-start",
            )
        version = self._version()
        if self.name == "shadow":
            self.stack.take_in()
        self.setup.promote_to_staging(version)
        self.say(f"Version {before} is live; flights of June and July flow at up to {RATE:.0f} a second.")
        recorder = LoggedReplay(self.backend.inference_log, PRODUCTION)
        cache = self.stack.folder / "cache"
        with Traffic(self.stack.envoy.url, PRODUCTION, recorder, cache, rate=RATE, hurried=True) as traffic:
            self._flowing(traffic, BEFORE_REQUESTS)
            began = self.backend.database.now()
            change = self._approved(version)
            self._played(change)
            more = BEFORE_REQUESTS if self.name == "shadow" else BEFORE_REQUESTS // 5
            self._flowing(traffic, traffic.stats().requests + more)
        stats = traffic.stats()
        if stats.failed:
            self.say(f"Failed requests by kind: {dict(stats.failures)}.")
        decision, reasons = self._decided(change)
        copies = self._copies(began) if self.name == "shadow" else None
        return ScenarioReport(
            scenario=self.name,
            steps=walked(self.backend.database, change.id),
            decision=decision,
            reasons=reasons,
            exposure=exposure(self.backend, PRODUCTION, began) | ({copies.arm: copies.asked} if copies is not None else {}),
            copies=copies,
            requests=stats.requests,
            failed_requests=stats.failed,
            live=self.setup.live_version(PRODUCTION),
            wanted=version if self.name == "good" else before,
            ledger_intact=self.backend.audit.verify().intact,
        )

    def _version(self) -> int:
        if self.name != "bad":
            return self.prepared.second
        if self.prepared.wrong is None:
            raise Refusal(
                "This data folder has no version that is wrong on purpose.", "Use a new data folder.", code="no-wrong-version"
            )
        return self.prepared.wrong

    def _approved(self, version: int) -> Change:
        self.say(f"Ana proposes version {version} for production; its checks run ...")
        ramp: dict[str, Any] = {"ramp": RAMP, "guardrails": GUARDRAILS, "bake_seconds": 600}
        shadow: dict[str, Any] = {"share": 0, "shadow": "this"}
        change = self.backend.changes.propose(
            self.cast.ana,
            endpoint=PRODUCTION,
            version=version,
            title=f"{'Shadow' if self.name == 'shadow' else 'Ramp'} version {version}",
            reason=REASONS[self.name],
            **(shadow if self.name == "shadow" else ramp),
        )
        ready = self.setup.wait_change(change.id, "review")
        self.say("Ben reads the evidence and approves ...")
        return self.backend.changes.approve(
            self.cast.ben, change.id, plan_digest=ready.plan_digest, base_digest=ready.base_digest, comment="Evidence is sound"
        )

    def _played(self, change: Change) -> None:
        """Until the figures have decided; what happens meanwhile is told."""
        ends = {"good": "done", "bad": "rolled_back", "shadow": "done"}[self.name]
        told: list[str] = []

        def over() -> bool | None:
            row = self.setup.change(change.id)
            for line in self._happened(change):
                if line not in told:
                    told.append(line)
                    self.say(line)
            return True if row.state == ends else None

        wait_for(f"the change to be {ends}", over, why_not=lambda: self._why(change), seconds=LONGEST_SECONDS)
        wait_for(
            "what is live to be proved",
            lambda: self.setup.live_version(PRODUCTION),
            why_not=lambda: self.setup.reason(PRODUCTION),
        )

    def _happened(self, change: Change) -> list[str]:
        """The steps that were admitted so far, in words."""
        return [one.words for one in walked(self.backend.database, change.id)]

    def _why(self, change: Change) -> str:
        row = self.setup.change(change.id)
        return f"it is {row.state}: {row.state_reason}; {self.setup.reason(PRODUCTION)}"

    def _decided(self, change: Change) -> tuple[Decision, tuple[str, ...]]:
        if self.name == "shadow":
            return "keep_running", ("A shadow arm answers nobody: what it is worth is compared, and decides nothing.",)
        with self.backend.database.read() as session:
            found = showing.of_change(session, change.id, now=self.backend.database.now(session))
        if found is None or found.figures is None:
            return "keep_running", ("Nothing was compared.",)
        return found.figures.decision, tuple(found.figures.reasons)

    def _copies(self, began: datetime) -> Copies | None:
        """What the shadow answered until now, once all of it is a minute old: so long an answer may be under way."""
        log, now = self.backend.inference_log, self.backend.database.now
        ended = now()
        self.say("Waiting for a minute, until every answer of the shadow arm is in ...")

        def whole() -> tuple[Copies, ...] | None:
            found = all_compared(log, PRODUCTION, began, ended, now(), outcome="late")
            return found if found and found[0].end >= ended else None

        found = wait_for(
            "what the shadow arm answered",
            whole,
            why_not=lambda: "the log has no copy that is a minute old",
            seconds=150.0,
        )
        return found[0]

    def _flowing(self, traffic: Traffic, requests: int) -> None:
        wait_for(
            f"{requests} requests",
            lambda: True if traffic.stats().requests >= requests else None,
            why_not=lambda: f"{traffic.stats().requests} were sent",
        )
