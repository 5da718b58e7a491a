"""One person or service: who it is, what it may do until when, its sessions and tokens; and the same of oneself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, ways, wiring
from app.access_pages import bindings, handing, role_rows, session_rows, tokens
from app.identity import Rights
from app.kit import components, dialogs, times
from app.kit.plain import escape, plural
from app.kit.states import badge
from app.wiring import Reading
from backend.access import data_sets, rosters
from backend.access.bindings import BindingLine
from backend.access.data_sets import DataSetLine
from backend.access.rosters import GrantLine, Known, Login, PersonLine
from backend.access.sessions import SessionLine
from backend.access.tokens import TokenLine

_MOST_GROUPS = 12


@dataclass(frozen=True)
class Page:
    """What stands on the page. What whoever looks may not see is empty or None."""

    line: PersonLine
    grants: Sequence[GrantLine]
    known: Known | None
    sessions: Sequence[SessionLine] | None
    tokens: Sequence[TokenLine] | None
    data_sets: Sequence[DataSetLine]
    bindings: Sequence[BindingLine]
    services: dict[str, str]
    mine: Rights
    own: bool
    owned: bool
    now: datetime


def find(look: Reading, mine: Rights, name: str | None) -> Page | None:
    """Somebody by the short name, or oneself for None; None where there is nobody of that name."""
    me = identity.current()
    line = (
        rosters.person(look.session, name, now=look.now)
        if name is not None
        else rosters.person_by_id(look.session, me.id, now=look.now)
    )
    if line is None:
        return None
    own = line.id == me.id
    services = {one.name: one.shown for one in rosters.services_of(look.session, me.id, now=look.now)}
    owned = line.name in services
    sets = data_sets.lines(look.session, now=look.now) if own or mine.may("data_set.list") else ()
    teams = set(rosters.known(look.session, line.id).teams)
    return Page(
        line=line,
        grants=rosters.grants(look.session, now=look.now, identity_id=line.id, limit=200).rows,
        known=rosters.known(look.session, line.id) if own or mine.may("session.list") else None,
        sessions=session_rows.lines(line.id) if own or mine.may("session.list") else None,
        tokens=_tokens(line.name, me_only=own, everybody=mine.may("token.list") and not owned)
        if own or owned or mine.may("token.list")
        else None,
        data_sets=[one for one in sets if one.is_in_force and (one.identity == line.name or one.team in teams)],
        bindings=[one for one in bindings.lines(mine) if one.identity == line.name] if line.kind == "service" else (),
        services=services,
        mine=mine,
        own=own,
        owned=owned,
        now=look.now,
    )


def _tokens(name: str, *, me_only: bool, everybody: bool) -> Sequence[TokenLine]:
    """One's own with those of one's services; else those of this identity."""
    found = wiring.backend().tokens.list(identity.current(), everybody=everybody and not me_only)
    return found if me_only else [one for one in found if one.identity == name]


def missing(name: str) -> None:
    """What stands on the page of somebody who is not there."""
    with components.header("Person", back=("Admin", "admin")):
        pass
    with st.container(border=True):
        components.empty(
            f"Nobody is called {escape(name or 'nothing', 60)}",
            "Short names are told apart by every letter. Admin, People lists everybody.",
            icon="person_search",
        )


def meta(page: Page) -> str:
    """Who it is, in a line."""
    line = page.line
    kind = f"service of {escape(line.owner or 'nobody', 60)}" if line.kind == "service" else "person"
    demo = " · built-in demo identity" if line.is_demo else ""
    demo += f" · deactivated by the directory of {escape(line.off_by, 40)}" if line.off_by is not None else ""
    seen = f" · signed in {times.age(line.signed_in_at, page.now)}" if line.signed_in_at is not None else ""
    return f"{escape(line.name)} · {kind}{demo} · here since {times.stamp(line.created_at)}{seen}"


def tags(page: Page) -> list[str]:
    """Whether it counts."""
    return [badge("identity", page.line.state)]


def acts(page: Page) -> None:
    """Handing a service over, deactivating, or activating again: in the header."""
    if page.own:
        return
    hands = page.line.kind == "service" and page.mine.may("identity.hand_over")
    if hands and st.button("Hand over", icon=":material/swap_horiz:", key="person.hand"):
        handing.ask(page.line)
    if page.line.active and page.mine.may("identity.deactivate"):
        if st.button("Deactivate", icon=":material/person_off:", key="person.off"):
            _ask_deactivate(page)
        return
    keeps = page.line.off_by is not None and page.mine.may("identity.deactivate")
    if keeps and st.button("Keep deactivated", icon=":material/person_off:", key="person.keep_off"):
        _ask_keep_off(page)
    may = not page.line.active and page.mine.may("identity.activate")
    if may and st.button("Activate again", icon=":material/person_check:", key="person.on", type="primary"):
        _ask_activate(page)


def draw(page: Page) -> None:
    """Every card."""
    main, side = components.main_and_side()
    with main:
        role_rows.card(page.grants, page.mine, page.now, own=page.own, owned=page.owned, of=page.line.name)
        if page.sessions is not None and (page.line.kind == "person" or page.sessions):
            ends = page.own or page.mine.may("session.revoke")
            session_rows.card(page.sessions, page.now, whose=page.line.shown, identity_id=page.line.id, own=page.own, ends=ends)
        if page.tokens is not None:
            tokens.card(
                page.tokens,
                page.now,
                makes_for=_makes_for(page),
                revokes=page.own or page.owned or page.mine.may("token.revoke"),
                shows_whose=page.own,
            )
        if page.line.kind == "service" and page.mine.may("binding.list"):
            profiles = wiring.backend().bindings.profiles(identity.current())
            bindings.card(page.bindings, profiles, page.mine, page.now, of=page.line.name)
    with side:
        _about(page)
        _groups(page)


def _login(one: Login) -> str:
    """With the subject: two people may be shown under one name, and of one provider that alone tells them apart."""
    return f"{escape(one.issuer, 120)} :gray[as] {escape(one.subject, 120)}"


def _makes_for(page: Page) -> dict[str, str]:
    if page.own:
        return {page.line.name: f"{page.line.shown} (yourself)", **page.services}
    return {page.line.name: page.line.shown} if page.owned else {}


def _about(page: Page) -> None:
    line, known = page.line, page.known
    with components.card("About"):
        rows = [("Short name", escape(line.name))]
        if line.kind == "service":
            rows.append(("Owner", escape(line.owner or "nobody")))
        if known is not None and line.kind == "person":
            rows.append(("Address", escape(known.email or "none that a provider verified")))
            rows.append(("Signs in at", "  \n".join(map(_login, known.logins)) or "nowhere yet"))
        if known is not None:
            rows.append(("Teams", escape(", ".join(known.teams)) or "none"))
        rows.append(("Data sets", "  \n".join(_data_set(one) for one in page.data_sets) or "none"))
        components.facts(rows)
        if page.mine.may("audit.read"):
            label = "What I did" if page.own else "What they did"
            st.page_link(ways.path("audit"), label=label, icon=":material/receipt_long:", query_params={"who": line.id})


def _data_set(one: DataSetLine) -> str:
    return f"{escape(one.data_set, 80)} until {times.short(one.until)} UTC"


def _groups(page: Page) -> None:
    if page.known is None or page.line.kind != "person" or wiring.backend().sign_in is None:
        return
    with components.card("Groups", "as told at the newest sign-in"):
        if not page.known.groups:
            st.markdown(":small[:gray[No sign-in has told any yet.]]")
        for provider, groups, at in page.known.groups:
            shown = [escape(one, 80) for one in groups[:_MOST_GROUPS]]
            more = f" and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else ""
            told = f"{', '.join(shown)}{more}" if shown else "none"
            title = escape(session_rows.provider_title(provider))
            st.markdown(f":small[{told}]  \n:small[:gray[{title}, {times.age(at, page.now)}]]")


def _ask_deactivate(page: Page) -> None:
    line = page.line
    is_person = line.kind == "person"
    ends = plural(line.sessions, "open session") if is_person else "what is bound to it"
    held = plural(line.tokens, "token")
    owned = (
        " Services that this person owns do nothing either until somebody hands them to another owner, who makes new tokens. "
        "Tokens that this person made of services that are somebody else's by now are refused too."
        if is_person
        else ""
    )
    wanted = dialogs.Ask(
        says=(
            f"**{escape(line.shown, 80)}** does nothing more here from the next click on: {ends} and {held} stop working, on "
            "open pages too. Sessions end for good; roles, tokens and what is bound stay, and count again once somebody "
            f"activates the identity.{owned}",
            "Changes that wait for a vote of this person go on waiting for others; undecided ones that it asked for are "
            "suspended.",
        ),
        confirm="Deactivate",
        done=f"{escape(line.shown, 80)} is deactivated.",
        hint="Left the company, lost a device …",
        icon="person_off",
    )
    identities = wiring.backend().identities
    dialogs.ask("Deactivate", lambda: wanted, lambda reason: identities.deactivate(identity.current(), line.name, reason))


def _ask_keep_off(page: Page) -> None:
    line = page.line
    wanted = dialogs.Ask(
        says=(
            f"The directory of {escape(line.off_by or '', 40)} deactivated **{escape(line.shown, 80)}** and could activate the "
            "identity again. From now on only an admin does.",
        ),
        confirm="Keep deactivated",
        done=f"{escape(line.shown, 80)} stays deactivated, whatever the directory says.",
        hint="Compromised account, left for good …",
        icon="person_off",
    )
    identities = wiring.backend().identities
    dialogs.ask("Keep deactivated", lambda: wanted, lambda reason: identities.deactivate(identity.current(), line.name, reason))


def _ask_activate(page: Page) -> None:
    line = page.line
    held = ", ".join(escape(one, 80) for one in line.roles) or "no role"
    wanted = dialogs.Ask(
        says=(
            f"**{escape(line.shown, 80)}** counts again at once, with {held}. Nothing that was open opens again: it signs in "
            "anew.",
        ),
        confirm="Activate again",
        done=f"{escape(line.shown, 80)} counts again.",
        hint="Came back, was deactivated by mistake …",
        icon="person_check",
    )
    identities = wiring.backend().identities
    dialogs.ask("Activate again", lambda: wanted, lambda reason: identities.activate(identity.current(), line.name, reason))
