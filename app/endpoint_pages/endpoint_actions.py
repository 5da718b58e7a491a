"""What an operator does to an endpoint by hand, each in a dialog that says in absolute words what will be so afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import streamlit as st

from app import identity, ways, wiring
from app.endpoint_pages import endpoint_words
from app.identity import Rights
from app.kit import dialogs, feedback
from app.kit.dialogs import Ask
from app.kit.plain import escape
from app.wiring import Reading
from backend.access import rules as access
from backend.changes import briefly
from backend.core.errors import Refusal
from backend.delivery.controls import Repair
from backend.delivery.courses import ENDPOINT
from backend.delivery.endpoints import Endpoints
from backend.delivery.plan import RollbackTarget, percent
from backend.delivery.queries import EndpointDetail
from backend.rollouts import queries as rollouts


@dataclass(frozen=True)
class WayBack:
    """The way back that was approved with the change that is live: by which change, and who gets what afterwards."""

    change: briefly.Named
    shares: Mapping[int, int]


@dataclass(frozen=True)
class Offer:
    """One action: its words, and why it is not possible now ("" when it is)."""

    key: str
    label: str
    why_not: str = ""
    remedy: str = ""


def way_back(look: Reading, found: EndpointDetail) -> WayBack | None:
    """The approved way back from what is live; None where nothing ran before, or it was taken already."""
    row = rollouts.live(look.session, found.line.id)
    if row is None or not rollouts.view(look.session, row, look.now).can_go_back or row.state == "rolled_back":
        return None
    stand = rollouts.stand(look.session, row, look.now)
    change = briefly.named(look.session, [stand.change_id]).get(stand.change_id)
    if stand.position.went_back or stand.plan.rollback is None or change is None:
        return None
    return WayBack(change, _back(stand.plan.rollback, {one.name: one.version for one in stand.plan.arms}))


def offers(found: EndpointDetail, mine: Rights, back: WayBack | None) -> list[Offer]:
    """Everything that can be done here, with why not where it cannot be done now or by this person."""
    line, where = found.line, found.line.environment
    other = "report" if line.repair == "repair" else "repair"
    offered = [
        _offer("look", "Look now", "endpoint.look", mine, where),
        _offer("repair", "Repair now", "endpoint.repair", mine, where, _not_in(line.state, "repair_now")),
        _offer("resume", "Resume delivery", "endpoint.resume", mine, where, _not_in(line.state, "resume"))
        if line.paused
        else _offer("pause", "Pause delivery", "endpoint.pause", mine, where, _not_in(line.state, "pause")),
        _offer("set_repair", f"Hand-made changes: {other}", "endpoint.set_repair", mine, where),
        _offer("back", _back_label(back), "change.roll_back", mine, where, _no_way(found, back)),
    ]
    if line.mode == "observe":
        offered = [offered[0], _offer("remove", "Forget this endpoint", "endpoint.remove", mine, where)]
    return offered


def menu(found: EndpointDetail, offered: list[Offer], back: WayBack | None) -> None:
    """The actions behind one button; one that is refused now says why instead."""
    names = {one.key: f"{one.label}{' · not now' if one.why_not else ''}" for one in offered}
    chosen = st.menu_button(
        "Actions", list(names), key="actions", icon=":material/more_horiz:", format_func=lambda key: names[key]
    )
    if chosen:
        perform(next(one for one in offered if one.key == chosen), found, back)


def roll_back_button(found: EndpointDetail, offered: list[Offer], back: WayBack | None) -> None:
    """The one primary action of a managed endpoint, where it is possible."""
    one = next((each for each in offered if each.key == "back" and not each.why_not), None)
    if one is not None and st.button(one.label, type="primary", icon=":material/undo:"):
        perform(one, found, back)


def perform(one: Offer, found: EndpointDetail, back: WayBack | None) -> None:
    """Opens what stands before an action: its dialog, or why not."""
    if one.why_not:
        _refused(one)
    elif one.key == "look":
        name = found.line.name
        feedback.act(
            lambda: wiring.backend().endpoints.look_now(identity.current(), name),
            f"A look at {escape(name)} was asked for; what is seen appears here by itself.",
        )
    else:
        _DIALOGS[one.key](found, back)


def _offer(key: str, label: str, action: str, mine: Rights, where: str, why_not: tuple[str, str] = ("", "")) -> Offer:
    if not mine.may(action, where):
        refusal = access.refusal("Your role", action, where, None)
        return Offer(key, label, refusal.message.replace("Your role may", "You may"), refusal.remedy)
    return Offer(key, label, *why_not)


def _not_in(state: str, event: str) -> tuple[str, str]:
    """Why a state does not allow an event; ("", "") when it does."""
    try:
        ENDPOINT.next(state, event)
    except Refusal as refusal:
        return refusal.message, refusal.remedy
    return "", ""


def _no_way(found: EndpointDetail, back: WayBack | None) -> tuple[str, str]:
    if back is not None:
        return "", ""
    return (
        "There is no approved way back from what is live: nothing ran before it, or it was taken already.",
        "Propose another version; until then the present one keeps serving.",
    )


def _back_label(back: WayBack | None) -> str:
    if back is None:
        return "Roll back"
    whole = [number for number, share in back.shares.items() if share]
    return f"Roll back to version {whole[0]}" if len(whole) == 1 else "Roll back"


def _back(target: RollbackTarget, versions: Mapping[str, int]) -> dict[int, int]:
    return {version: target.shares.get(name, 0) for name, version in versions.items()}


@dialogs.framed("Not now")
def _refused(one: Offer) -> None:
    st.warning(f"**{escape(one.why_not, 600)}**  \n{escape(one.remedy, 600)}", icon=":material/front_hand:")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Close"):
            st.rerun()


def _pause(found: EndpointDetail, _back: WayBack | None) -> None:
    name = escape(found.line.name)
    wanted = Ask(
        says=(
            f"From now on **nothing is pushed to {name}, and nothing is repaired there**; it is still looked at.",
            f"What runs stays as it is: {endpoint_words.seen_now(found)}. A rollout under way waits. Rolling back stays "
            "possible, and ends the pause.",
        ),
        confirm="Pause delivery",
        done=f"Paused: nothing is pushed to {name} until somebody resumes it.",
        hint="What is going on there, and when will you look again?",
        icon="pause",
    )
    _ask("Pause delivery", found, wanted, lambda actor, name, reason: _service().pause(actor, name, reason=reason))


def _resume(found: EndpointDetail, _back: WayBack | None) -> None:
    name = escape(found.line.name)
    wanted = Ask(
        says=(
            f"**{name}** is looked at, and generation {found.line.generation} is made true: {endpoint_words.wanted(found)}.",
            "What was changed by hand meanwhile is found, recorded and undone." if found.line.repair == "repair" else
            "What was changed by hand meanwhile is found and recorded; repairing it has to be asked for.",
        ),
        rows=_shares(found),
        head=("Version", "Seen now", "Afterwards"),
        confirm="Resume delivery",
        done=f"Resumed: {name} is looked at now.",
        hint="What has been settled?",
        icon="play_arrow",
    )  # fmt: skip
    _ask("Resume delivery", found, wanted, lambda actor, name, reason: _service().resume(actor, name, reason=reason))


def _repair(found: EndpointDetail, _back: WayBack | None) -> None:
    name = escape(found.line.name)
    others = [f"version {one.served_version} of {escape(one.served_name)} is unloaded" for one in found.strangers]
    wanted = Ask(
        says=(
            f"Generation {found.line.generation} of **{name}** is made true once more: {endpoint_words.wanted(found)}.",
            f"What nobody approved goes: {', '.join(others)}." if others else "Whatever else was changed by hand is undone.",
        ),
        rows=_shares(found),
        head=("Version", "Seen now", "Afterwards"),
        confirm="Repair now",
        done=f"Generation {found.line.generation} of {name} is being made true.",
        hint="What was changed, by whom, and is it settled with them?",
        icon="build",
    )
    _ask("Repair now", found, wanted, lambda actor, name, reason: _service().repair_now(actor, name, reason=reason))


def _set_repair(found: EndpointDetail, _back: WayBack | None) -> None:
    name = escape(found.line.name)
    if found.line.repair == "repair":
        says = f"What somebody changes by hand on **{name}** is found and recorded, and **stays until a repair is asked for**."
        done = f"Hand-made changes on {name} are only reported from now on."
    else:
        says = f"What somebody changes by hand on **{name}** is found, recorded, and **undone at the next look**."
        done = f"Hand-made changes on {name} are repaired from now on."
    other: Repair = "report" if found.line.repair == "repair" else "repair"
    wanted = Ask(says=(says,), confirm="Only report" if other == "report" else "Repair by itself", done=done)
    _ask(
        "Hand-made changes", found, wanted,
        lambda actor, name, reason: _service().set_repair(actor, name, other, reason=reason),
    )  # fmt: skip


def _roll_back(found: EndpointDetail, back: WayBack | None) -> None:
    if back is None:
        return
    name, number = escape(found.line.name), back.change.number
    seen = {one.version: one.seen_share for one in found.arms}
    rows = [(f"Version {version}", _share(seen.get(version)), f"**{_share(share)}**") for version, share in
            sorted(back.shares.items())]  # fmt: skip
    after = endpoint_words.shares(back.shares)
    wanted = Ask(
        says=(
            f"**{after[:1].upper()}{after[1:]}**, in {escape(found.line.environment)}, at once and in one push. No vote is "
            f"needed: this way back was approved together with change {number}.",
        ),
        rows=rows,
        head=("Version", "Seen now", "Afterwards"),
        confirm="Roll back now",
        done=f"Rolling back {name}: {after}.",
        hint="What did you see?",
        icon="undo",
    )
    dialogs.ask(
        "Roll back", lambda: wanted,
        lambda reason: wiring.backend().changes.roll_back(identity.current(), number, reason),
    )  # fmt: skip


def _remove(found: EndpointDetail, _back: WayBack | None) -> None:
    name = found.line.name
    wanted = Ask(
        says=(
            f"**{escape(name)}** is no longer looked at, and what was seen of it is forgotten. **What runs goes on running**: "
            "Countersign never wrote to it. The ledger keeps that it was here.",
        ),
        confirm="Forget it",
        done=f"{escape(name)} is forgotten; what runs there goes on running.",
        icon="delete",
    )

    def act(reason: str) -> None:
        wiring.backend().endpoints.remove(identity.current(), name, reason)
        feedback.done(wanted.done)
        ways.go("endpoints")

    dialogs.ask("Forget this endpoint", lambda: wanted, act)


_DIALOGS: Mapping[str, Callable[[EndpointDetail, WayBack | None], None]] = {
    "pause": _pause, "resume": _resume, "repair": _repair, "set_repair": _set_repair, "back": _roll_back, "remove": _remove,
}  # fmt: skip


def _ask(title: str, found: EndpointDetail, wanted: Ask, act: Callable[..., object]) -> None:
    dialogs.ask(title, lambda: wanted, lambda reason: act(identity.current(), found.line.name, reason))


def _service() -> Endpoints:
    return wiring.backend().endpoints


def _shares(found: EndpointDetail) -> list[tuple[str, str, str]]:
    """Version, what was seen of it, and what it gets."""
    return [
        (f"Version {one.version}", _share(one.seen_share), f"**{percent(one.wanted_share)}**" if one.role != "leaving" else
         "**unloaded**")
        for one in found.arms
    ]  # fmt: skip


def _share(buckets: int | None) -> str:
    return "not known" if buckets is None else percent(buckets) if buckets else "nothing"
