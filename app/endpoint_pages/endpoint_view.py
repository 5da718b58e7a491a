"""One endpoint as it stands now, in a part that refreshes itself: answer, proofs, desired against observed and served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, reach, wiring
from app.endpoint_pages import endpoint_compare, endpoint_words, fleet
from app.identity import Rights
from app.kit import components, links, pictures, times
from app.kit.live import moved_on
from app.kit.palette import current
from app.kit.plain import escape
from app.kit.states import badge, mark, tag
from app.wiring import Reading
from backend.changes import briefly
from backend.changes.field_words import gates_say
from backend.core.errors import NotFound
from backend.delivery import queries
from backend.delivery.plan import percent
from backend.delivery.proofs import KINDS
from backend.delivery.queries import EndpointDetail
from backend.rollouts import queries as rollouts
from backend.rollouts.queries import RolloutView


def find(look: Reading, name: str) -> EndpointDetail | None:
    """The endpoint that an address names; None where there is none."""
    try:
        return queries.endpoint(look.session, name, now=look.now, interval=wiring.interval())
    except NotFound:
        return None


def missing(name: str) -> None:
    """What stands on the page of an endpoint that is not there."""
    with components.header("Endpoint", back=("Endpoints", "endpoints")):
        pass
    with st.container(border=True):
        components.empty(
            f"No endpoint is called {escape(name or 'nothing', 60)}",
            "It may have been removed while it was only observed, or the address is wrong. The list has every endpoint.",
            icon="search_off",
        )


def meta(found: EndpointDetail) -> str:
    """Where it stands, in a line."""
    line = found.line
    behind = f" behind {escape(line.router)}" if line.router else ", no router"
    repair = "repairs by itself" if line.repair == "repair" else "reports, repairs when asked"
    repair = repair if line.mode == "managed" else "nothing is ever written to it"
    return (
        f"{escape(line.environment)} · model {escape(line.model, 80)} · on {escape(line.server)}{behind} · "
        f"served as {escape(line.served_name)} · {repair}"
    )


def badges(name: str) -> None:
    """The states beside the title, live."""
    with wiring.reading() as look:
        found = find(look, name)
        running = _rollout(look, found) if found is not None else None
    if found is None:
        return
    line = found.line
    told = [badge("endpoint", line.state)]
    if running is not None:
        told.append(
            badge("rollout", running.state, f"{_rollout_word(running)}, step {running.step + 1} of {len(running.steps)}")
        )
    if stale := endpoint_words.stale_proofs(found):
        told.append(badge("proof", "stale", f"{stale} proof{'' if stale == 1 else 's'} stale"))
    st.markdown(" ".join(told), width="stretch")


@dataclass(frozen=True)
class Print:
    """What the head of the page and its actions were drawn from: where it differs later, the page is drawn anew."""

    state: str
    mode: str
    generation: int
    proved_generation: int
    paused: bool
    repair: str

    @classmethod
    def of(cls, found: EndpointDetail) -> Print:
        """Of an endpoint as it was read."""
        line = found.line
        return cls(line.state, line.mode, line.generation, line.proved_generation, bool(line.paused), line.repair)


def now(name: str, drawn: Print) -> None:
    """Everything that moves, drawn anew every few seconds."""
    with wiring.reading() as look:
        found = find(look, name)
        running = _rollout(look, found) if found is not None else None
        change = briefly.named(look.session, [running.change_id if running else None])
        at = look.now
    if found is None:
        return
    if Print.of(found) != drawn:
        moved_on("**It moved on while the dialog was open.** What can be done now may differ.")
    answer(found, at)
    if found.line.mode == "observe":
        return
    proofs(found)
    main, side = components.main_and_side()
    with main:
        endpoint_compare.compared(found, at)
    with side:
        if running is not None:
            walk(found, running, change.get(running.change_id), at)
        facts(found, at)
        strangers(found, at)


def answer(found: EndpointDetail, at: datetime) -> None:
    """The answer first, then why, then what to do."""
    told = endpoint_words.told(found, at)
    with st.container(border=True, gap="xxsmall", key="answer"):
        components.answer(f"{mark('endpoint', found.line.state)} {told.answer}")
        st.markdown(told.why)
        if told.step:
            st.markdown(f":material/arrow_forward: **Next:** {told.step}")


def proofs(found: EndpointDetail) -> None:
    """Four small cards: what each kind of proof saw, how old it is, and what it speaks of."""
    for cell, one in zip(components.four(), endpoint_words.proofs(found, KINDS), strict=True):
        age = f":orange[**{one.age}**]" if one.standing == "stale" else one.age
        with cell:
            components.fact(
                fleet.KIND[one.kind], one.saw, badge("proof", one.standing), " · ".join(filter(None, (age, one.speaks_of)))
            )


def walk(found: EndpointDetail, running: RolloutView, change: briefly.Named | None, at: datetime) -> None:
    """The rollout under way: which step, what follows, and what it waits for."""
    with components.card("Rollout", _rollout_word(running)) as head:
        with head:
            links.to_change(change)
        total = len(running.steps)
        st.markdown(pictures.steps(current(), running.step, total, progress(running, at)))
        st.markdown(f"Step {running.step + 1} of {total}: {_step_shares(found, running.steps[running.step].shares)}.")
        if running.step + 1 < total:
            st.markdown(f":small[:gray[Then {_step_shares(found, running.steps[running.step + 1].shares)}.]]")
            st.markdown(f":small[:gray[Before that: {escape(gates_say(vars(running.steps[running.step])) or 'its proof')}.]]")
        st.markdown(f":small[:gray[{waits_for(running, at)}]]")


def waits_for(running: RolloutView, at: datetime) -> str:
    """What the next step waits for, in a sentence."""
    if running.waits_for_person:
        return "Waits for a person to let it go on."
    if running.hold_until is not None and running.hold_until > at:
        return f"Held until {times.both(running.hold_until, at)}."
    reason = escape(running.reason, 200)
    return reason or {"waiting": "Waits for its first generation.", "ramping": "Waits for the proof of this step."}.get(
        running.state, "Goes on at the next pass."
    )


def facts(found: EndpointDetail, at: datetime) -> None:
    """When it was seen, when it is looked at again, what went wrong last."""
    line = found.line
    seen = _brief(found.seen_at, at) if found.seen_at else "never"
    due = found.next_look_at
    next_look = "not planned" if due is None else "now" if found.working or due <= at else times.age(due, at)
    rows = [
        ("Last read back", f":orange[{seen}]" if line.stale else seen),
        ("Next look", next_look),
        ("In this state", f"since {_brief(line.since, at)}"),
        ("Proved", f"generation {line.proved_generation}" if line.proved_generation else "nothing yet"),
    ]
    if found.bake_until is not None and found.bake_until > at:
        rows.append(("Old versions", f"stay warm until {_brief(found.bake_until, at)}"))
    if found.failures:
        rows.append(("Failed attempts", f"{found.failures} in a row"))
    if found.last_error:
        rows.append(("Last error", f":red[{escape(found.last_error, 400)}]"))
    with components.card("Delivery", "UTC") as head:
        with head:
            links.to_server(line.server, "Server")
        components.table([(f":gray[{name}]", value) for name, value in rows], None, alt="How delivery stands", tight=(0,))


def strangers(found: EndpointDetail, at: datetime) -> None:
    """What runs under its names and was never approved."""
    ours = {(one.served_name, one.served_version) for one in found.arms}
    others = [one for one in found.strangers if (one.served_name, one.served_version) not in ours]
    if not others:
        return
    observed = found.line.mode == "observe"
    title = "Runs here" if observed else "Runs here, not approved"
    with components.card(title, f"{len(others)} under its names"):
        for one in others:
            state = tag("Found running", "visibility") if observed else badge("endpoint", "out_of_sync", "Not approved")
            st.markdown(f"Version {one.served_version} of {escape(one.served_name)} {state}")


def _brief(moment: datetime, at: datetime) -> str:
    return f"{times.short(moment)}, {times.age(moment, at)}"


def _rollout(look: Reading, found: EndpointDetail) -> RolloutView | None:
    row = rollouts.open_on(look.session, found.line.id)
    return rollouts.view(look.session, row, look.now) if row is not None else None


def _rollout_word(running: RolloutView) -> str:
    return running.state.replace("_", " ").capitalize()


def progress(running: RolloutView, at: datetime) -> float:
    """How far the hold of the running step has come, from 0 to 1."""
    hold = running.steps[running.step].hold_seconds
    if running.hold_until is None or not hold:
        return 0.0
    return min(1.0, max(0.0, 1 - (running.hold_until - at).total_seconds() / hold))


def _step_shares(found: EndpointDetail, shares: Mapping[str, int]) -> str:
    versions = {one.name: one.version for one in found.arms}
    said = [f"{_arm_words(name, versions)} {percent(share)}" for name, share in sorted(shares.items()) if share]
    return ", ".join(said)


def _arm_words(name: str, versions: Mapping[str, int]) -> str:
    return f"version {versions[name]} gets" if name in versions else f"{escape(name)} gets"


def rights(look: Reading, found: EndpointDetail | None) -> Rights:
    """What whoever looks may do at this endpoint."""
    mine = identity.rights(look)
    if found is None:
        return mine
    return reach.at(look, mine, environment=found.line.environment, model=found.line.model, endpoint=found.line.name)
