"""What a person may do with an experiment: start or decide it first, the rest in a menu, each in a dialog in absolute terms."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import identity, ways, wiring
from app.experiment_pages import exports
from app.experiment_pages.seen import Seen
from app.experiment_pages.split import live_words
from app.kit import dialogs, feedback, links
from app.kit.dialogs import Ask
from app.kit.plain import escape
from app.kit.states import look
from backend.delivery.plan import percent

SHIP, BACK, NONE = "Ship", "Roll back", "No decision"
OUTCOMES: Mapping[str, str] = {SHIP: "ship", BACK: "roll_back", NONE: "no_decision"}
_MENU = {"edit": "Edit the draft", "withdraw": "Withdraw the draft"}


def draw(seen: Seen) -> None:
    """The header's controls."""
    line = seen.view.line
    links.to_endpoint(line.endpoint, "Endpoint")
    if seen.compared is not None:
        exports.menu(seen)
    _more(seen)
    first = why_not(seen)
    if first or seen.state not in ("draft", "running"):
        return
    label, icon, key = ("Start…", "play_arrow", "start") if seen.state == "draft" else ("Decide…", "gavel", "decide")
    if st.button(label, type="primary", icon=f":material/{icon}:", key=key):
        _start(seen) if seen.state == "draft" else _decide(seen)


def why_not(seen: Seen) -> str:
    """Why the way forward is not this person's to take, escaped; "" where it is, or where there is none."""
    wanted = {"draft": ("change.propose", "start it"), "running": ("experiment.decide", "decide it")}.get(seen.state)
    if wanted is None or seen.mine.may(wanted[0], seen.view.line.environment):
        return ""
    return f"You may look, and not {wanted[1]}. Ask whoever owns it, or an admin for a role on this endpoint."


def _more(seen: Seen) -> None:
    if seen.state != "draft" or not seen.mine.may("experiment.edit", seen.view.line.environment):
        return
    chosen = st.menu_button("More", list(_MENU), key="more", icon=":material/more_horiz:", format_func=_MENU.__getitem__)
    if chosen == "edit":
        ways.go("design", endpoint=seen.view.line.endpoint, experiment=seen.view.line.slug)
    elif chosen == "withdraw":
        _withdraw(seen)


def _start(seen: Seen) -> None:
    line, own = seen.view.line, seen.design
    shares = ", ".join(f"version {one.version} gets {percent(one.share)} of units" for one in own.arms)

    def says() -> Ask:
        return Ask(
            says=[
                f"**{escape(shares)}; the champion keeps {percent(own.control_share)}.** Nothing moves yet: this proposes a "
                "change, which takes its checks and its approvals as any other one.",
                f"The hypothesis, what it looks for, margins and the planned {own.planned_days} days are fixed once it starts.",
            ],
            confirm="Propose the start",
            done="The start is proposed.",
            hint="Why now?",
        )

    def act(reason: str) -> None:
        change = wiring.backend().changes.begin_experiment(identity.current(), line.endpoint, line.slug, reason)
        feedback.done(f"Change {change.number} starts it once it is approved.")
        ways.go("change", change=change.number)

    dialogs.ask("Start the experiment", says, act)


def _withdraw(seen: Seen) -> None:
    line = seen.view.line
    revision = line.revision

    def says() -> Ask:
        told = "The draft is given up. Its name is not used again; nothing that runs is touched."
        return Ask(says=[told], confirm="Withdraw the draft", done="The draft is withdrawn.", icon="remove_circle")

    def act(reason: str) -> None:
        wiring.backend().experiments.withdraw(identity.current(), line.endpoint, line.slug, reason, revision=revision)

    dialogs.ask("Withdraw the draft", says, act)


def _decide(seen: Seen) -> None:
    line = seen.view.line
    versions = treatments(seen)

    def says() -> Ask:
        outcome = st.radio("What came of it", list(OUTCOMES), index=_index(seen), key="decide.outcome", horizontal=True)
        version = _version(versions) if outcome == SHIP else None
        return Ask(
            says=[follows(seen, outcome or NONE, version)],
            confirm=f"{outcome}: decide it",
            done="It is decided.",
            hint="What do the figures show, and what do they not?",
            warning=against(seen, outcome or NONE),
            icon="gavel",
        )

    def act(reason: str) -> None:
        outcome = OUTCOMES[st.session_state["decide.outcome"]]
        version = st.session_state.get("decide.version", versions[0] if len(versions) == 1 else None)
        change = wiring.backend().changes.decide(
            identity.current(), line.endpoint, line.slug, outcome, reason, version=version if outcome == "ship" else None
        )
        if change is None:
            return
        feedback.done(f"It is decided; change {change.number} follows from it and waits for its approval.")
        ways.go("change", change=change.number)

    dialogs.ask("Decide the experiment", says, act)


def treatments(seen: Seen) -> list[int]:
    """Versions that are tried and get units now."""
    if seen.compared is None or seen.desired is None:
        return [one.version for one in seen.design.arms]
    return [one.version for one in seen.desired.arms if one.ranges and one.name != seen.compared.control]


def _index(seen: Seen) -> int:
    """What the figures say is chosen first."""
    told = seen.compared.decision if seen.compared is not None else ""
    return {"ship": 0, "roll_back": 1}.get(told, 2)


def _version(versions: list[int]) -> int | None:
    if len(versions) == 1:
        return versions[0]
    return st.selectbox("Which version is shipped", versions, key="decide.version")


def follows(seen: Seen, outcome: str, version: int | None) -> str:
    """What would be so afterwards, in absolute terms; escaped."""
    now = f"Now it is {live_words(seen)}."
    ends = "The experiment ends with your word, and a change is proposed in the same act:"
    if outcome == SHIP:
        return f"**Version {version} gets 100 % of units.** {ends} it is approved as any other one. {now}"
    back = "back to" if outcome == BACK else "to"
    return f"**All units go {back} the version that it was compared with.** {ends} it is approved as any other one. {now}"


def against(seen: Seen, outcome: str) -> str:
    """What stands against this word, escaped: figures that say something else, or that nobody may read."""
    found = seen.compared
    if found is None or found.figures is None:
        return "Nothing was compared yet." if outcome == SHIP else ""
    if found.unsound:
        return f"The data are unsound: {escape(found.unsound[0], 300)}"
    if found.stale:
        return "No look came lately: what stands here is old."
    if outcome == SHIP and found.decision != "ship":
        return f"The figures say: {look('comparison', found.decision or 'keep_running').word.lower()}. {_first(found.reasons)}"
    return ""


def _first(reasons: tuple[str, ...]) -> str:
    return escape(reasons[0], 300) if reasons else ""
