"""One server: what it is and can do, what runs there and whose it is. What is not ours is listed, and never touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, ways, wiring
from app.endpoint_pages import abilities, fleet, server_forms
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, times
from app.kit.plain import escape
from app.kit.states import badge, tag
from app.wiring import Reading
from backend.delivery import advisories
from backend.delivery import fleet as queries
from backend.delivery.baselines import Unmanaged
from backend.delivery.fleet import Filters
from backend.delivery.lines import EndpointLine
from backend.delivery.queries import RouterLine, ServerLine, Stranger, servers, unmanaged
from backend.delivery.servers import InspectedRouter, InspectedServer
from backend.delivery.targets.names import target_type

SHOWN = 50


@dataclass(frozen=True)
class Tested:
    """What a server answered when somebody tested it, kept for the session that asked."""

    facts: InspectedServer
    others: tuple[Unmanaged, ...]
    at: datetime


@dataclass(frozen=True)
class Page:
    """What the page of a server shows."""

    line: ServerLine
    endpoints: tuple[EndpointLine, ...]
    more: bool
    strangers: tuple[Stranger, ...]


def find(look: Reading, name: str) -> Page | None:
    """The server that an address names, with the worst fifty of its endpoints; None where there is none."""
    line = next((one for one in servers(look.session) if one.name == name), None)
    if line is None:
        return None
    found = queries.fleet(look.session, Filters(server=name), now=look.now, interval=wiring.interval(), limit=SHOWN)
    return Page(line, found.rows, found.after is not None, unmanaged(look.session, name))


def missing(name: str) -> None:
    """What stands on the page of a server that is not there."""
    with components.header("Server", back=("Admin", "admin")):
        pass
    with st.container(border=True):
        components.empty(
            f"No server is called {escape(name or 'nothing', 60)}",
            "It may have been forgotten, or the address is wrong. Admin lists every server.",
            icon="search_off",
        )


def meta(line: ServerLine, now: datetime) -> str:
    """What it is and where, in a line."""
    seen = f"last answered {times.both(line.seen_at, now)}" if line.seen_at else "not seen by the worker yet"
    return f"{escape(server_forms.product(line.kind))} · inference at {escape(line.upstream, 120)} · {seen}"


def tags(page: Page, now: datetime) -> list[str]:
    """How it stands, beside the title."""
    told = [tag(f"{page.line.managed} managed", "verified_user", "blue")] if page.line.managed else []
    if page.line.endpoints > page.line.managed:
        told.append(badge("mode", "observe", f"{page.line.endpoints - page.line.managed} observed"))
    if page.line.move is not None:
        told.append(tag("A move waits", "move_location", "orange"))
    if page.line.last_error:
        told.append(badge("endpoint", "unreachable", "Last pass failed"))
    return told


def test_card(page: Page, mine: Rights, now: datetime) -> None:
    """The connection: tested when somebody asks, outside any transaction, with progress; what came of it stays here."""
    line = page.line
    able = abilities.of_server(target_type(line.kind).abilities)
    tested: Tested | None = st.session_state.get(_key(line))
    with components.card("Connection", "asked when you test it", border=False) as head:
        with head:
            clicked = mine.may("server.test") and st.button("Test the connection", icon=":material/network_check:")
        if clicked:
            _test(line)
        elif tested is not None:
            _facts(tested, now)
        elif not mine.may("server.test"):
            st.markdown(":small[:gray[Testing a connection is for operators and admins.]]")
        else:
            st.markdown(":small[:gray[Not tested in this session. A test asks what it is, and changes nothing there.]]")
        if line.last_error:
            st.markdown(f":small[:red[The worker's last pass: {escape(line.last_error, 400)}]]")
        st.markdown("**What its kind can do**")
        left, right = st.columns(2)
        said = abilities.lines(able)
        half = (len(said) + 1) // 2
        left.markdown("  \n".join(said[:half]))
        right.markdown("  \n".join(said[half:]))


def _test(line: ServerLine) -> None:
    service, actor = wiring.backend().servers, identity.current()
    with st.status(f"Asking {escape(line.name)} what it is…", expanded=True) as status, feedback.shown() as outcome:
        facts = service.test(actor, line.name)
        st.markdown(f"{tag(escape(facts.product), 'dns')} It answers. Listing what runs there…")
        others = service.unmanaged(actor, line.name)
        st.session_state[_key(line)] = Tested(facts, others, wiring.backend().database.now())
    if outcome.ok:
        feedback.done(f"{escape(line.name)} answers.", icon="network_check")
        st.rerun()
    status.update(label="It did not answer as it should", state="error", expanded=True)
    st.markdown(
        f":small[If it stays so: check that it runs, that **{escape(line.upstream, 120)}** and the addresses in its "
        "settings are right, that this machine may reach them, and that the credential is right. Then test again.]"
    )


def _facts(tested: Tested, now: datetime) -> None:
    facts = tested.facts
    state = badge("policy", "sound", "Live") if facts.live else badge("endpoint", "unreachable", "Not live")
    st.markdown(
        f"**{escape(facts.product)} {escape(facts.version)}** {state}  \n:small[:gray[Tested {times.both(tested.at, now)}]]"
    )
    for warning in facts.warnings:
        st.warning(escape(warning, 600), icon=":material/warning:")
    _known(facts)
    if facts.extensions:
        st.markdown(f":small[:gray[It says it can: {escape(', '.join(facts.extensions), 600)}]]")


def _known(facts: InspectedServer | InspectedRouter) -> None:
    """What is published against the version, as of the table's date."""
    at = f"{advisories.AS_OF:%-d %b %Y}"
    if not facts.advisories:
        covered = advisories.covers(facts.product)
        none = (
            f"{badge('advisory', 'none')} in the table of {at}" if covered else f":gray[The table of {at} has nothing of it.]"
        )
        st.markdown(f":small[{none}]")
        return
    with st.container(gap="xsmall"):
        st.markdown(
            f"{badge('advisory', 'known', f'{len(facts.advisories)} published against this version')} :gray[as of {at}]"
        )
        for one in facts.advisories:
            st.markdown(f":small[{escape(advisories.says(one), 600)}]")


def runs_card(page: Page) -> int | None:
    """Endpoints that stand on it; returns the row that was clicked."""
    ours = f"{page.line.endpoints} here, worst first" if page.line.endpoints else ""
    with components.card("Endpoints on it", ours):
        if not page.endpoints:
            components.empty(
                "No endpoint stands on it yet",
                "Adopt what runs there: it is only looked at until somebody signs it off.",
                icon="lan",
            )
            return None
        columns = {name: one for name, one in fleet.columns().items() if name != "Server"}
        if page.more:
            st.page_link(ways.path("endpoints"), label="All in the list", query_params={"server": page.line.name})
        return listing.rows(
            [fleet.record(one) for one in page.endpoints], columns, key="endpoints", alt="Endpoints on this server"
        )


def others_card(page: Page, mine: Rights) -> str | None:
    """What runs there and is not managed; returns the served name that somebody wants to adopt."""
    tested: Tested | None = st.session_state.get(_key(page.line))
    with components.card("Not managed", "listed, never touched", border=False):
        observed = {one.name for one in page.endpoints if one.mode == "observe"}
        for one in page.strangers:
            _stranger(one, observed=one.endpoint in observed)
        if tested is None:
            st.markdown(":small[:gray[Test the connection to list what else runs there.]]")
            return None
        if not tested.others and not page.strangers:
            components.empty("Nothing else runs there", "Everything on it belongs to an endpoint.", icon="done_all")
        return _others(tested, adopts=mine.may("endpoint.create"))


def _stranger(one: Stranger, *, observed: bool) -> None:
    state = badge("mode", "observe") if observed else badge("endpoint", "out_of_sync", "Not approved")
    under = f"under the name of {escape(one.endpoint)}, {'not signed off yet' if observed else 'never approved'}"
    st.markdown(f"**{escape(one.served_name, 80)}** version {one.served_version} {state}  \n:small[:gray[{under}]]")


def _others(tested: Tested, *, adopts: bool) -> str | None:
    chosen: str | None = None
    for number, one in enumerate(tested.others[:SHOWN]):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
            versions = (
                ", ".join(f"version {version} {state.replace('_', ' ')}" for version, state in one.versions) or "not loaded"
            )
            st.markdown(f"**{escape(one.served_name, 80)}**  \n:small[:gray[{escape(versions, 200)}]]", width="stretch")
            if adopts and st.button("Adopt", key=f"adopt.{number}", help="Begins to observe it; nothing is written to it."):
                chosen = one.served_name
    if len(tested.others) > SHOWN:
        st.markdown(f":small[:gray[and {len(tested.others) - SHOWN:,} more]]")
    return chosen


def test_router(line: RouterLine) -> None:
    """The dialog that asks a router what it is, and says what its kind can do."""

    @dialogs.framed(f"Test {line.name}")
    def opened() -> None:
        with st.status(f"Asking {escape(line.name)} what it is…") as status, feedback.shown() as outcome:
            facts = wiring.backend().servers.test_router(identity.current(), line.name)
        if outcome.ok:
            status.update(label="It answers", state="complete")
            _router_facts(facts)
        else:
            status.update(label="It did not answer as it should", state="error", expanded=True)

    opened()


def _router_facts(facts: InspectedRouter) -> None:
    state = badge("policy", "sound", "Live") if facts.live else badge("endpoint", "unreachable", "Not live")
    st.markdown(f"**{escape(facts.product)} {escape(facts.version)}** {state}")
    for warning in facts.warnings:
        st.warning(escape(warning, 600), icon=":material/warning:")
    _known(facts)
    st.markdown("  \n".join(abilities.lines(abilities.of_router(facts.abilities))))


def _key(line: ServerLine) -> str:
    return f"tested.{line.id}.{line.revision}"
