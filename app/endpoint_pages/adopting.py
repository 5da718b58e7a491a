"""Adopting what runs already, step by step: observe, look, say which versions it is, sign off. What stands in the database
decides which step is next, so that one can leave and come back, and a second person can go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st
from sqlmodel import Session

from app import identity, wiring
from app.endpoint_pages import endpoint_history, endpoint_view
from app.identity import Rights
from app.kit import components, dialogs, feedback, times
from app.kit.live import live
from app.kit.plain import escape
from app.kit.states import tag
from app.wiring import Reading
from backend.core.errors import NotFound
from backend.delivery.baselines import BaselineProposal, Running
from backend.delivery.generations import Place
from backend.delivery.hands import beside, environments_asking, lacking, needs_another
from backend.delivery.plan import percent
from backend.delivery.queries import EndpointDetail
from backend.registry import queries as registry

_DONE, _NOW, _LATER = "done", "now", "later"
_MARKS = {
    _DONE: ":green[:material/check_circle:]",
    _NOW: ":blue[:material/radio_button_checked:]",
    _LATER: ":gray[:material/radio_button_unchecked:]",
}


@dataclass(frozen=True)
class Signing:
    """Who may sign: the environments that ask for a second person (its own, and stricter ones on its server or router), who
    adopted it, and whether whoever looks is refused.
    """

    asks: tuple[str, ...]
    adopter: str
    is_refused: bool
    lacks: str = ""
    """A stricter environment beside it where whoever looks may sign off nothing; "" for none."""
    beside: tuple[tuple[str, str], ...] = ()
    """(name, environment) of what is managed on its server or router in other environments."""

    @property
    def environments(self) -> str:
        """Those that ask, as part of a sentence."""
        return " and ".join(escape(one) for one in self.asks)


def signing(look: Reading, found: EndpointDetail) -> Signing:
    """Who may sign off this endpoint's baseline, as far as whoever looks sees what stands beside it."""
    asks = environments_asking(look.session, found.line.id)
    refused = needs_another(look.session, found.line.id, identity.current().id, now=look.now)
    lacks = lacking(look.session, found.line.id, identity.rights(look).grants, now=look.now)
    return Signing(asks, found.created_by_name, refused, lacks, beside(look.session, found.line.id))


def page(found: EndpointDetail, mine: Rights) -> None:
    """What the page of an endpoint shows while it is only observed."""
    main, side = components.main_and_side()
    with main:
        card(found, mine)
    with side:
        live(_seen)(found.line.name)
        with wiring.reading() as look:
            endpoint_history.transitions(look, found.line.name)


def _seen(name: str) -> None:
    """What runs under its names and when it was looked at, live."""
    with wiring.reading() as look:
        found, at = endpoint_view.find(look, name), look.now
    if found is not None:
        endpoint_view.strangers(found, at)
        endpoint_view.facts(found, at)


def card(found: EndpointDetail, mine: Rights) -> None:
    """The adoption of one observed endpoint: where it stands, and the step that is next."""
    with wiring.reading() as look:
        who = signing(look, found)
    proposal: BaselineProposal | None = st.session_state.get(_key(found))
    with components.card("Adoption", "nothing is written to the server before it is signed off"):
        for mark, step, text in steps(found, proposal, who):
            with st.container(horizontal=True, gap="small", wrap=False):
                st.markdown(mark, width=24)
                st.markdown(step, width=72)
                st.markdown(f":small[{text}]", width="stretch")
        if found.seen_at is None:
            st.markdown(
                ":small[The worker looks at every server every few seconds; this page shows it by itself. If nothing happens, "
                "test the connection on the server's page.]"
            )
        if not mine.may("endpoint.look", found.line.environment):
            st.markdown(":small[:gray[Looking at what runs is for contributors, reviewers, operators and admins.]]")
        elif st.button("Look at what runs", icon=":material/search:", type="secondary" if proposal else "primary"):
            _look(found)
        if proposal is not None:
            _proposed(found, proposal, mine, who)


def steps(found: EndpointDetail, proposal: BaselineProposal | None, who: Signing) -> list[tuple[str, str, str]]:
    """(mark, step, what it is) of the four steps."""
    seen = found.seen_at is not None
    second = f" A second person signs, as {who.environments} asks for it: not {escape(who.adopter)}." if who.asks else ""
    told = [
        (
            "Observe",
            f"Adopted by {escape(found.created_by_name)} {times.stamp(found.created_at)}. It is only looked at.",
            _DONE,
        ),
        (
            "See",
            f"Seen by the worker, the last time {times.stamp(found.seen_at)}."
            if found.seen_at
            else "The worker has not looked yet.",
            _DONE if seen else _NOW,
        ),
        (
            "Import",
            "What runs is read back and re-hashed; you say which registered versions it is.",
            _DONE if proposal else _NOW if seen else _LATER,
        ),
        (
            "Sign off",
            f"What runs becomes generation 1, and its bytes are kept; every later change needs an approval.{second}",
            _NOW if proposal else _LATER,
        ),
    ]
    return [(_MARKS[state], f"**{name}**", text) for name, text, state in told]


def _look(found: EndpointDetail) -> None:
    """Asks the server, outside any transaction, and keeps the answer for this session."""
    with feedback.shown(), st.status("Asking the server what runs, and re-hashing what it loads from…") as status:
        proposal = wiring.backend().endpoints.proposal(identity.current(), found.line.name)
        st.session_state[_key(found)] = proposal
        status.update(label="Looked.", state="complete")
        st.rerun()


def _proposed(found: EndpointDetail, proposal: BaselineProposal, mine: Rights, who: Signing) -> None:
    st.markdown(f"**{escape(_says(proposal), 600)}** :small[:gray[{times.both(proposal.seen_at, mine.now)}]]")
    if proposal.unmanaged:
        st.markdown(
            f":small[:gray[Not managed on this server, listed and never touched: "
            f"{', '.join(escape(one.served_name, 60) for one in proposal.unmanaged[:12])}.]]"
        )
    if who.beside:
        shown = ", ".join(f"{escape(name, 60)} ({escape(environment)})" for name, environment in who.beside[:12])
        st.markdown(
            ":small[:gray[Shares its server or router with managed endpoints of other environments, and what is pushed to them "
            f"runs beside it: {shown}.]]"
        )
    for obstacle in proposal.obstacles:
        st.warning(f"Not yet: {escape(obstacle, 400)}.", icon=":material/front_hand:")
    versions, champion = _mapping(found, proposal)
    if not mine.may("endpoint.sign_off", found.line.environment):
        st.markdown(":small[:gray[Signing off is for reviewers and operators: send them the address of this page.]]")
        return
    if who.is_refused:
        st.info(
            f"You adopted {escape(found.line.name)} or said where its server or router is, and "
            f"{who.environments} asks for a second person. Send the address of this page to another reviewer or "
            "operator: they look for themselves and sign off.",
            icon=":material/group:",
        )
        return
    if who.lacks:
        st.info(
            f"{escape(found.line.name)} shares its server or router with managed endpoints of {escape(who.lacks)}: a reviewer "
            "or operator there signs it off.",
            icon=":material/group:",
        )
        return
    if st.button("Sign off the baseline", type="primary", icon=":material/verified_user:", disabled=bool(proposal.obstacles)):
        _confirm(found, proposal, versions, champion)


def _mapping(found: EndpointDetail, proposal: BaselineProposal) -> tuple[dict[Place, int], Place | None]:
    """Which registered version each running one is, and which of several answers."""
    ready = [one for one in proposal.running if one.state == "ready"]
    versions: dict[Place, int] = {}
    for number, one in enumerate(ready):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            versions[one.place] = int(
                st.number_input(
                    f"Version {one.served_version} of {escape(one.served_name, 60)} is registered version",
                    min_value=1, value=max(1, one.served_version), step=1, key=f"map.{found.line.id}.{number}", width=230,
                )
            )  # fmt: skip
            st.markdown(_running_words(one))
            st.markdown(_registered_words(found.line.model, versions[one.place]), width="stretch")
    if len(ready) < 2 or proposal.champion is not None:
        return versions, None
    places = [one.place for one in ready]
    chosen = st.selectbox(
        "Which of them answers (the champion)", places, key=f"champion.{found.line.id}", width=320,
        format_func=lambda place: f"version {place[1]} of {place[0]}",
    )  # fmt: skip
    return versions, chosen


def _running_words(one: Running) -> str:
    share = f"{percent(one.share)} of the traffic" if one.share is not None else "no router in force"
    hashed = f"bytes {components.short(one.package_digest)}" if one.package_digest else "bytes cannot be re-hashed"
    return f":small[:gray[{escape(one.state)}, {share}, {hashed}]]"


def _registered_words(model: str, number: int) -> str:
    with wiring.reading() as look:
        known = _is_registered(look.session, model, number)
    if known:
        return tag(f"Version {number} is registered", "check", "green")
    return tag(f"No version {number} is registered", "info", "gray")


def _is_registered(session: Session, model: str, number: int) -> bool:
    try:
        registry.version(session, model, number)
    except NotFound:
        return False
    return True


def _confirm(found: EndpointDetail, proposal: BaselineProposal, versions: Mapping[Place, int], champion: Place | None) -> None:
    name = found.line.name

    @dialogs.framed("Sign off the baseline")
    def opened() -> None:
        st.markdown(f"**{escape(_says(proposal), 600)}**")
        st.markdown(
            f"With your signature {escape(name)} becomes **managed**: this is generation 1, its bytes are copied into the "
            "package store, and from now on anything else that appears there is found, recorded and undone. Nothing of what "
            "runs is changed now."
        )
        rows = [(f"Version {place[1]} of {escape(place[0], 60)}", f"version {number}") for place, number in versions.items()]
        if rows:
            components.table(rows, ("Runs", "Is registered as"), alt="What is signed off")
        if dialogs.decide("Sign off", "sign-off.confirm", icon="verified_user"):
            with st.spinner("Copying and re-hashing what runs…"):
                feedback.act(lambda: _sign(found, proposal, versions, champion), f"{escape(name)} is managed from now on.")

    opened()


def _sign(found: EndpointDetail, proposal: BaselineProposal, versions: Mapping[Place, int], champion: Place | None) -> None:
    wiring.backend().endpoints.sign_off(
        identity.current(), found.line.name, base_digest=proposal.digest, versions=versions, champion=champion
    )
    st.session_state.pop(_key(found), None)


def _says(proposal: BaselineProposal) -> str:
    return f"{proposal.says[:1].upper()}{proposal.says[1:]}"


def _key(found: EndpointDetail) -> str:
    return f"proposal.{found.line.id}"
