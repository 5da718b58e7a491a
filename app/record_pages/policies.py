"""Policies and freezes in words: what an environment asks for, what the report found, how a freeze is set and lifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, dialogs, times
from app.kit.plain import escape
from app.kit.states import badge, mark
from app.record_pages import people
from backend.policy import queries
from backend.policy.guardrails import says
from backend.policy.queries import EnvironmentView
from backend.policy.rows import Freeze, PolicyVersion
from backend.policy.rules import WHOLE, GateRule, Policy

_WEIGHTS = {"must_pass": "must pass", "must_not_fail": "must not fail", "inform": "is shown"}
HEAD = ("Environment", "Starts", "Approvals", "Checks", "Report")
_LIFTED = 5
SHORT_HEAD = ("Environment", "Starts", "Approvals", "Report")


def short_row(view: EnvironmentView) -> tuple[str, ...]:
    """The same where there is less room: without the checks."""
    return tuple(cell for name, cell in zip(HEAD, row(view), strict=True) if name in SHORT_HEAD)


def row(view: EnvironmentView) -> tuple[str, ...]:
    """One environment as a row of the table: how it stands, what it asks for, and what the report says."""
    return (
        f"**{escape(view.name)}**  \n:small[:gray[{escape(view.policy_id)}]]",
        badge("freeze", "in_force", "Frozen") if view.frozen else badge("freeze", "none"),
        approvals(view.policy),
        checks(view.policy),
        badge("policy", verdict(view)),
    )


def verdict(view: EnvironmentView) -> str:
    """The worst that the report found: unsatisfiable, alone, or sound."""
    kinds = {one.kind for one in view.problems}
    return next((kind for kind in ("unsatisfiable", "alone") if kind in kinds), "sound")


def approvals(policy: Policy) -> str:
    """How many must approve, and who counts."""
    of = " or ".join(escape(role) for role in policy.approver_roles)
    told = [f"{policy.approvals_needed} from {of}"] if policy.approvals_needed else []
    told += [f"{one.needed} of {escape(one.name)}" for one in policy.groups]
    return "  \n".join(told) or "None"


def checks(policy: Policy) -> str:
    """The gates with their weight, heaviest first."""
    told = [f"{escape(one.gate.replace('_', ' '))} :gray[{_WEIGHTS[one.weight]}]" for one in _ordered(policy.gates)]
    return "  \n".join(told) or "None"


def words(policy: Policy) -> list[tuple[str, str]]:
    """(what is ruled, how) for every rule of a policy."""
    excluded = {"requester": "the requester", "editor": "editors", "author": "the run's verified author"}
    return [
        ("Approvals", approvals(policy)),
        ("Cannot approve", ", ".join(excluded[one] for one in policy.excluded) or "nobody is left out"),
        ("Checks", checks(policy)),
        ("Decide within", times.span(policy.decide_within)),
        ("Start within", f"{times.span(policy.start_within)} of the approval"),
        ("May start", ", ".join(one.replace("_", " ") for one in policy.start_modes)),
        ("Ramp", _ramp(policy)),
        ("Old versions", _bake(policy)),
        ("Guardrails", _guardrails(policy)),
        ("Skips a rollout's steps", "an operator may, up to one that a person looks at" if policy.may_skip else "nobody may"),
        ("Takes over a rollout", "yes, through its approved way back" if policy.may_supersede else "no"),
        ("Hand-made changes", "repaired" if policy.repair == "repair" else "only reported"),
        ("Pickled models", "refused" if policy.pickled == "refuse" else "flagged, never loaded here"),
        ("Findings", _findings(policy)),
        ("Nobody answers one", _escalation(policy)),
    ]


def _findings(policy: Policy) -> str:
    asked = policy.findings
    told = [
        f"{asked.block_promotion_at} ones keep changes from starting" if asked.block_promotion_at else "",
        f"{asked.hold_rollout_at} ones hold rollouts" if asked.hold_rollout_at else "",
    ]
    goes_on = "go on by themselves" if asked.resume == "resolved" else "wait for a person"
    told += [f"which {goes_on} when those are over"] if asked.hold_rollout_at else []
    return ", ".join(one for one in told if one) or "hold nothing up"


def _escalation(policy: Policy) -> str:
    steps = [
        f"{one.tell if one.tell != 'owner' else 'whose it is'} after {times.span(one.after_seconds)}"
        f"{f', from {one.at} on' if one.at != 'warning' else ''}{f', and it becomes {one.raise_to}' if one.raise_to else ''}"
        for one in policy.findings.escalation
    ]
    return "; ".join(steps) or "nobody else is called"


def _guardrails(policy: Policy) -> str:
    return "  \n".join(escape(says(one), 300) for one in policy.guardrails) or "none asked for"


def _bake(policy: Policy) -> str:
    if not policy.usual_bake_seconds:
        return "may go at once"
    usual = f"stay warm {times.span(policy.usual_bake_seconds)} unless a change says otherwise"
    least = policy.min_bake_seconds
    return f"{usual}, {times.span(least)} at least" if least else usual


def part(environments: Sequence[EnvironmentView], in_force: Sequence[Frozen], mine: Rights) -> None:
    """Environments, their policies, and freezes."""
    names = [one.name for one in environments]
    chosen = st.session_state.get("environment") or st.query_params.get("environment", names[-1])
    with wiring.reading() as look:
        versions = queries.versions(look.session, chosen if chosen in names else names[-1])
        everybody = people.names(people.everybody(look))
        told = frozen(queries.freezes(look.session), everybody, look.now)
    main, side = components.main_and_side()
    with main:
        environments_card(environments)
        policy_card(names, versions, everybody, look.now)
    with side:
        freezes_card(told, in_force, lifts=mine.may("freeze.lift"))


def environments_card(views: Sequence[EnvironmentView]) -> None:
    """Every environment with what it asks for, and what the report on its policy found."""
    with components.card("Environments", "in promotion order"):
        components.table([row(one) for one in views], HEAD, alt="Environments with their policies", tight=(0, 1, 2, 4))
        for one in views:
            problems(one)


def policy_card(names: Sequence[str], versions: Sequence[PolicyVersion], people: dict[str, str], now: datetime) -> None:
    """One environment's policy in words; which one is chosen in the card."""
    with components.card("Policy") as head:
        with head:
            st.selectbox(
                "Environment", names[::-1], key="environment", bind="query-params", label_visibility="collapsed", width=180
            )
        detail(versions, people, now)


def freezes_card(freezes: Sequence[Frozen], in_force: Sequence[Frozen], *, lifts: bool) -> None:
    """Freezes in force and the latest that were lifted."""
    with components.card("Freezes", f"{len(in_force)} in force"):
        for freeze in freezes:
            if draw_freeze(freeze, lifts=lifts):
                ask_lift(freeze)
        if not freezes:
            components.empty(
                "Nothing is frozen",
                "A freeze stops every start in an environment, or everywhere. Going back stays possible.",
                icon="ac_unit",
            )


def problems(view: EnvironmentView) -> None:
    """What the report on a policy found, under the table."""
    with st.container(gap="xxsmall"):
        for one in view.problems:
            st.markdown(f":small[{mark('policy', one.kind)} **{escape(view.name)}** {escape(one.says)}]")


def detail(versions: Sequence[PolicyVersion], names: dict[str, str], now: datetime) -> None:
    """The newest version of a policy, rule by rule, and those before it."""
    newest = versions[0]
    components.table(words(Policy.model_validate(newest.rules)), ("Rule", "In force"), alt=f"Policy {newest.id}", tight=(0,))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        by = escape(names.get(newest.created_by, newest.created_by))
        more = f" · {len(versions) - 1} earlier" if len(versions) > 1 else ""
        saved = f"{escape(newest.id)} · saved by {by}, {times.both(newest.created_at, now)}{more}"
        st.markdown(f":small[:gray[{saved}]]", width="stretch")
        components.digests({one.id: one.digest for one in versions[:10]})


def draw_freeze(freeze: Frozen, *, lifts: bool) -> bool:
    """One freeze in the list; whether its button was clicked."""
    state = badge("freeze", "in_force" if freeze.in_force else "lifted")
    head = f":small[**{escape(freeze.where.capitalize())}** {state}]"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(f"{head}  \n:small[{escape(freeze.reason)}]  \n:small[:gray[{freeze.said}]]", width="stretch")
        return freeze.in_force and st.button("Lift", key=f"lift.{freeze.id}", disabled=not lifts)


@dataclass(frozen=True)
class Frozen:
    """A freeze as the page shows it."""

    id: str
    where: str
    reason: str
    said: str
    in_force: bool


def frozen(rows: Sequence[Freeze], names: dict[str, str], now: datetime) -> list[Frozen]:
    """Freezes in words, as they come: those in force first. Of those that were lifted the newest five; the ledger has all."""
    said = [Frozen(one.id, where(one.scope), one.reason, _said(one, names, now), one.lifted_at is None) for one in rows]
    return [*(one for one in said if one.in_force), *[one for one in said if not one.in_force][:_LIFTED]]


def where(scope: str) -> str:
    """A freeze's scope in words, as the subject of "is frozen"."""
    return "everything" if scope == "*" else scope


def frozen_badge(name: str) -> str:
    """What stands in a page's header while starts are frozen."""
    return badge("freeze", "in_force", f"{escape(name.capitalize())} frozen")


def ask_freeze(environments: Sequence[str]) -> None:
    """The dialog that stops all starts in a scope."""
    chosen = {"scope": "*"}

    def draw() -> dialogs.Ask:
        chosen["scope"] = st.selectbox(
            "Where", ["*", *environments], format_func=lambda one: where(one).capitalize(), key="freeze.where"
        )
        at = escape(where(chosen["scope"]))
        place = "anywhere" if chosen["scope"] == "*" else f"in **{at}**"
        return dialogs.Ask(
            says=(
                f"From now on **no change starts {place}**, until an admin lifts the freeze. "
                "Votes, checks and proposals go on. Going back to what was approved before stays possible at any time.",
            ),
            confirm="Freeze all starts" if chosen["scope"] == "*" else f"Freeze {at}",
            done=f"Frozen: no change starts {place}.",
            hint="What is going on, and when will you look again?",
            icon="ac_unit",
        )

    policies = wiring.backend().policies
    dialogs.ask("Freeze starts", draw, lambda reason: policies.freeze(identity.current(), chosen["scope"], reason))


def ask_lift(freeze: Frozen) -> None:
    """The dialog that ends a freeze."""
    at = escape(freeze.where)
    wanted = dialogs.Ask(
        says=(
            f"The freeze of **{at}** ends now: approved changes that waited for it may start at once.",
            f"It was set because: {escape(freeze.reason, dialogs.LONGEST_REASON)}",
        ),
        confirm="Lift the freeze",
        done=f"Lifted: {at} is no longer frozen.",
        hint="What has been settled?",
        icon="play_arrow",
    )
    policies = wiring.backend().policies
    dialogs.ask("Lift the freeze", lambda: wanted, lambda reason: policies.lift(identity.current(), freeze.id, reason))


def _ramp(policy: Policy) -> str:
    ramp = policy.ramp
    asked = [
        f"at least {ramp.min_steps} steps" if ramp.min_steps else "",
        f"the first at most {ramp.max_first_share * 100 / WHOLE:g} %" if ramp.max_first_share < WHOLE else "",
        f"each held {times.span(ramp.min_hold_seconds)}" if ramp.min_hold_seconds else "",
        f"by name: {' or '.join(ramp.named)}" if ramp.named else "",
    ]
    return ", ".join(one for one in asked if one) or "none asked for"


def _said(one: Freeze, names: dict[str, str], now: datetime) -> str:
    by = escape(names.get(one.set_by, one.set_by))
    if one.lifted_at is None:
        return f"set by {by}, {times.both(one.set_at, now)}"
    lifted_by = escape(names.get(one.lifted_by or "", one.lifted_by or ""))
    return f"{by}, {times.short(one.set_at)} UTC; lifted by {lifted_by} {times.age(one.lifted_at, now)}"


def _ordered(gates: Sequence[GateRule]) -> list[GateRule]:
    return sorted(gates, key=lambda one: list(_WEIGHTS).index(one.weight))
