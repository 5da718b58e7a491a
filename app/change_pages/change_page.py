"""What the page of one change shows, read in one look, and the cards that stand still while it is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, ways, wiring
from app.change_pages import change_plan
from app.change_pages.change_plan import Live
from app.change_pages.changes import approvals, reference, version_of
from app.kit import charts, components, states, times
from app.kit.palette import current
from app.kit.plain import escape
from app.kit.states import badge, tag
from backend.changes import course
from backend.changes import timeline as history
from backend.changes.timeline import Moment
from backend.changes.view import ChangeView, view
from backend.core.errors import NotFound
from backend.delivery import queries as delivery
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.queries import EndpointDetail
from backend.evidence.queries import EvidenceView
from backend.policy import service as policies
from backend.policy.rules import Policy, fewest_approvers
from backend.rollouts import queries as rollouts

UNDECIDED = ("draft", "checking", "review", "approved", "blocked", "suspended")
_FIRST = {"failed": 0, "error": 1, "stale": 2, "missing": 3, "running": 4, "passed": 5}


@dataclass(frozen=True)
class Seen:
    """One change with its endpoint, its policy and its history, as they were when this page was drawn.

    Args:
        live: whether the endpoint's newest generation is this change's.
    """

    view: ChangeView
    plan: Plan
    endpoint: EndpointDetail
    policy: Policy
    moments: Sequence[Moment]
    live: bool
    now: datetime

    @property
    def undecided(self) -> bool:
        """Whether it has not started and may still do so."""
        return self.view.line.state in UNDECIDED

    @property
    def arm(self) -> str:
        """The arm of the version that it is about."""
        return version_of(self.plan, self.view.line.version)

    @property
    def against(self) -> Live:
        """What its plan is held against: what is live while it has not started, else what it was drawn on."""
        detail = self.endpoint
        return Live(self.view.base, detail.salt, detail.unit_header, detail.shadow)


def find(look: wiring.Reading, text: str) -> Seen | None:
    """The change that an address names; None after the way back to the list was drawn, where it names none."""
    try:
        return read(look, text)
    except NotFound as missing:
        with components.header("Change", back=("Approvals", "approvals")), st.container():
            pass
        with st.container(border=True):
            why = f"{escape(missing.remedy)} A link may be older than what it leads to."
            step = {"step": "All changes", "page": ways.path("approvals")}
            components.empty(escape(missing.message), why, icon="search_off", **step)
        return None


def read(look: wiring.Reading, text: str) -> Seen:
    """The change that an address names. NotFound."""
    number = reference(text)
    seen = view(look.session, identity.current(), number, look.now)
    change = course.find(look.session, number)
    return Seen(
        view=seen,
        plan=parse_plan(seen.plan),
        endpoint=delivery.endpoint(look.session, seen.line.endpoint, now=look.now, interval=wiring.interval()),
        policy=policies.version(look.session, seen.policy).policy,
        moments=history.timeline(look.session, change),
        live=rollouts.live_change(look.session, change.endpoint_id) == change.id,
        now=look.now,
    )


def four_cards(seen: Seen) -> None:
    """Approvals, evidence, base and course: what stops it, each in one small card."""
    drawn = (_approvals_card, _evidence_card, _base_card, _course_card)
    for cell, draw in zip(components.four(), drawn, strict=True):
        with cell:
            draw(seen)


def _approvals_card(seen: Seen) -> None:
    had, needed = approvals(seen.view, seen.policy)
    rejected = [one for one in seen.view.votes if one.counts and one.verdict == "reject"]
    state = "reject" if rejected else "approve" if had >= needed else "waiting" if seen.undecided else "void"
    who = " or ".join(escape(role) for role in seen.policy.approver_roles)
    text = (
        f"Rejected by {escape(rejected[0].voter)}"
        if rejected
        else f"Asks for {needed} of {who}"
        if needed
        else "None is asked for"
    )
    components.fact("Approvals", f"{had} of {needed}" if needed else "None needed", badge("vote", state), text)


def _evidence_card(seen: Seen) -> None:
    found = [standing(seen, one) for one in seen.view.evidence]
    passed = sum(1 for one in found if one == "passed")
    worst = min(found, key=lambda one: _FIRST.get(one, 6), default="passed")
    first = next((one for one in ordered(seen) if standing(seen, one) == worst), None)
    text = escape(first.title) if first and worst != "passed" else "Every check passed" if found else "No check is asked for"
    components.fact("Evidence", f"{passed} of {len(found)} passed", badge("evidence", worst), text)


def _base_card(seen: Seen) -> None:
    generation, detail = seen.view.base.get("generation"), seen.endpoint
    age = f"read back {times.span(detail.line.seen_seconds)} ago" if detail.line.seen_seconds is not None else "never read back"
    value = f"Generation {generation}" if generation else "What is to come" if seen.view.drawn_on else "Nothing before it"
    if not seen.undecided:
        components.fact(
            "Drawn on",
            value,
            tag("Started", "flag", "gray"),
            f"{escape(detail.line.name)} runs generation {detail.line.generation}",
        )
    elif seen.view.drawn_on:
        components.fact("Base", value, tag("Under way", "sync", "blue"), escape(seen.view.drawn_on))
    elif detail.base_digest == seen.view.base_digest:
        components.fact("Base", value, badge("difference", "unchanged"), f"{age[:1].upper()}{age[1:]}")
    else:
        components.fact(
            "Base", value, tag("Moved", "sync_problem", "orange"), f"Live is generation {detail.line.generation}, {age}"
        )


def _course_card(seen: Seen) -> None:
    walk, plan = seen.view.rollout, seen.plan
    final = f"{plan.shares[seen.arm] / 100:g} %"
    if walk is None:
        back = (
            "Nothing ran before; no way back once it is proved" if plan.rollback is None else "The way back is approved with it"
        )
        steps = f"{len(plan.steps)} steps to {final}" if plan.ramp else f"{final} in one step"
        components.fact("Course", steps, tag("Planned", "route", "gray"), back)
        return
    share = walk.steps[walk.step].shares.get(seen.arm, 0)
    held = f"Held until {times.short(walk.hold_until)} UTC" if walk.hold_until else escape(walk.reason.rstrip("."))
    value = f"Step {walk.step + 1} of {len(walk.steps)}: {share / 100:g} %"
    components.fact("Rollout", value, badge("rollout", walk.state), held or f"Started {times.age(walk.started_at, seen.now)}")


def plan_card(seen: Seen) -> None:
    """The plan against live, unchanged fields behind a toggle, with who moves and the whole digests."""
    found = change_plan.fields(seen.plan, seen.against)
    kept = change_plan.unchanged(found)
    with components.card("Plan against live" if seen.undecided else "What it changed", _drawn_on(seen)) as head:
        with head:
            shown = st.toggle(f"{kept} unchanged field{'s' * (kept != 1)}", key="unchanged", bind="query-params")
            components.digests(change_plan.digests(seen.plan, seen.view.plan_digest, seen.view.base_digest))
        rows = change_plan.rows(found, unchanged=shown)
        components.table(rows, change_plan.HEAD, alt="Plan against live, field by field", tight=(1, 2))
        if said := change_plan.moves_say(seen.view.changes):
            st.markdown(f":small[:gray[:material/swap_horiz: {said}]]")


def _drawn_on(seen: Seen) -> str:
    generation, live = seen.view.base.get("generation"), seen.endpoint.line.generation
    if not seen.view.base.get("arms"):
        return "nothing ran before"
    if not generation:
        return "where the rollout under way leads"
    if seen.undecided and seen.view.base_digest == seen.endpoint.base_digest:
        return f"live is generation {generation}"
    return f"drawn on generation {generation}; live is {live}"


def since_card(seen: Seen) -> None:
    """What the latest edit or redrawing changed: reviewers who looked before see only that."""
    since = seen.view.since_earlier
    if since is None or not seen.undecided:
        return
    with components.card("Since the plan before", f"{len(since.lines)} fields; earlier votes are void"):
        if since.lines:
            components.table(change_plan.since_rows(since), ("Field", "Before", "Now"), alt="What the edit changed")
        else:
            st.markdown(":small[:gray[The plan is the same; what it was drawn on moved.]]")


def course_and_impact(seen: Seen) -> None:
    """The ramp, where there is one, beside what else it touches."""
    if not seen.plan.ramp:
        with st.container(border=True):
            _impact_card(seen)
        return
    grid = st.grid(columns=2, min_column_width=280, gap="small", border=True)
    with grid.cell():
        _ramp_card(seen)
    with grid.cell():
        _impact_card(seen)


def _ramp_card(seen: Seen) -> None:
    with components.card("Ramp", f"traffic to version {seen.view.line.version}, %", border=False):
        steps = change_plan.chart_steps(seen.plan, seen.arm)
        alt = "Ramp: " + ", then ".join(f"{one.share:g} %" for one in steps)
        charts.show(charts.ramp(current(), steps), key="ramp", alt=alt)


def _impact_card(seen: Seen) -> None:
    impact, line = seen.view.impact, seen.view.line
    with components.card("Impact", "what else it touches", border=False):
        told = [
            ("Same server", _names(impact.on_the_same_server)),
            (f"Also run version {line.version}", _names(impact.run_the_version)),
            (
                "Open changes here",
                ", ".join(
                    f"{number} ({escape(states.look('change', state).word.lower())})" for number, state in impact.open_changes
                )
                or "none",
            ),
            (
                "Policy",
                f"{escape(seen.view.policy)}: {fewest_approvers(seen.policy)} approvals, {len(seen.policy.gates)} checks",
            ),
            ("May take over a rollout", "yes, by its way back" if seen.view.supersede else "no"),
        ]
        components.table(told, None, alt="Impact", tight=(0,))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(escape(one) for one in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"


def ordered(seen: Seen) -> list[EvidenceView]:
    """What stops it first, stale before passed."""
    return sorted(seen.view.evidence, key=lambda one: _FIRST.get(standing(seen, one), 6))


def standing(seen: Seen, one: EvidenceView) -> str:
    """What a result is worth. Of a change that started, what was found then; a result does not go stale for what is over."""
    if seen.undecided or one.verdict not in ("passed", "failed", "error"):
        return one.standing
    return one.verdict
