"""The cards of one change that people argue over: its evidence, its reason, its votes."""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.change_pages.change_page import Seen, ordered, standing
from app.change_pages.changes import approvals
from app.kit import components, feedback, plain, states, times
from app.kit.components import short
from app.kit.plain import escape
from app.kit.states import badge
from backend.changes.view import VoteView
from backend.evidence.queries import EvidenceView

_EVIDENCE_HEAD = ("Check", "State", "Result", "Age")
_WEIGHTS = {"must_pass": "must pass", "must_not_fail": "must not fail", "inform": "is shown"}


def evidence_card(seen: Seen) -> None:
    """Each check with its standing and its age, what stops it first, and its remedy in the same card."""
    with components.card("Evidence", f"bound to plan {short(seen.view.plan_digest)}") as head:
        if seen.undecided and not seen.view.may["recheck"]:
            with head:
                clicked = st.button("Check again", icon=":material/refresh:", type="tertiary", key="recheck")
            if clicked:
                number = seen.view.line.number
                feedback.act(lambda: wiring.backend().changes.recheck(identity.current(), number), "The checks run again.")
        _evidence_table(seen)


def reason_card(seen: Seen) -> None:
    """Why it is wanted, in the requester's own words."""
    with components.card("Why", f"asked by {escape(seen.view.line.requester)}"):
        st.markdown(f":small[{plain.lines(seen.view.reason)}]")


def _evidence_table(seen: Seen) -> None:
    rows = [_evidence_row(seen, one) for one in ordered(seen)]
    if not rows:
        components.empty("No check is asked for", f"The policy {escape(seen.view.policy)} asks for none.", icon="rule")
        return
    components.table(rows, _EVIDENCE_HEAD, alt="Evidence with state and age", tight=(1, 3))
    with_findings = [one for one in ordered(seen) if one.findings]
    if with_findings:
        with st.expander("What each check found", icon=":material/fact_check:"):
            for one in with_findings:
                st.markdown(f":small[**{escape(one.title)}**]")
                components.table(
                    [_finding(each) for each in one.findings[:12]], None, alt=f"Findings of {one.gate}", tight=(0,)
                )


def _evidence_row(seen: Seen, one: EvidenceView) -> tuple[str, ...]:
    stands = standing(seen, one)
    result = escape(one.summary or one.doing) or "It has not run for this plan."
    if stands == "stale":
        result = f"{result} **Out of date: check again.**"
    if stands == "running":
        result = f"{result} :gray[{one.fraction:.0%}]"
    weight = f"  \n:small[:gray[{_WEIGHTS.get(one.weight, escape(one.weight))}]]"
    age = times.span(one.age_seconds) if one.age_seconds is not None and stands != "missing" else "none"
    return f"{escape(one.title)}{weight}", badge("evidence", stands), result, age


def _finding(found: object) -> tuple[str, str]:
    one = dict(found) if isinstance(found, dict) else {}
    return badge("evidence", "passed" if one.get("ok") else "failed"), f":small[{escape(one.get('says', ''), 400)}]"


def votes_card(seen: Seen) -> None:
    """Who voted what on which digests, and whose votes would not count."""
    had, needed = approvals(seen.view, seen.policy)
    with components.card("Votes", f"{had} of {needed} approve" if needed else "none needed"):
        rows = [_vote_row(seen, one) for one in reversed(seen.view.votes)]
        open_seats = max(0, needed - had) if seen.undecided else 0
        who = " or ".join(escape(role) for role in seen.policy.approver_roles)
        if open_seats:
            rows.append(
                (f"**{open_seats} more**  \n:small[:gray[any {who} without an interest in it]]", badge("vote", "waiting"))
            )
        if rows:
            components.table(rows, None, alt="Votes")
        else:
            st.markdown(":small[:gray[Nobody has voted.]]")
        left_out = {"requester": "the requester", "editor": "whoever edited it", "author": "the run's verified author"}
        excluded = ", ".join(left_out[one] for one in seen.policy.excluded)
        if excluded and needed:
            st.markdown(f":small[:gray[Cannot vote: {excluded}.]]")


def _vote_row(seen: Seen, one: VoteView) -> tuple[str, str]:
    bound = f"plan {short(one.plan_digest)} on base {short(one.base_digest)}"
    void = "" if one.counts else f"  \n:small[:gray[{escape(one.void_reason or 'It does not count any more.')}]]"
    said = f"  \n:small[{escape(one.comment, 600)}]" if one.comment else ""
    state = one.verdict if one.counts or (not seen.undecided and not one.void_reason) else "void"
    label = "" if state != "void" else f"{states.look('vote', one.verdict).word}, void"
    when = f"  \n:small[:gray[{times.age(one.at, seen.now)} · {bound}]]"
    return f"**{escape(one.voter)}**{said}{when}{void}", badge("vote", state, label)


def open_endpoint(seen: Seen) -> None:
    """The way to the endpoint's own page."""
    st.page_link(
        ways.path("endpoint"), label="Endpoint", icon=":material/lan:", query_params={"endpoint": seen.view.line.endpoint}
    )
