"""Teams: who belongs to one, what it owns, and which roles its scope brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, objects
from app.kit.plain import escape, plural
from backend.access import rosters, teams
from backend.access.rows import Request
from backend.access.teams import MAX_TITLE, TeamLine

_MOST_NAMES = 8
_SHOWN = 50
_MODEL, _ENDPOINT = "A model", "An endpoint"


def part(mine: Rights) -> None:
    """Every team as a card with what can be done about it."""
    with listing.filters():
        text = st.text_input("Team, member or what it owns", key="team", bind="query-params", icon=":material/search:")
        if mine.may("owner.set") and st.button("Set an owner", icon=":material/deployed_code_account:"):
            _ask_own()
        if mine.may("team.create") and st.button("Create a team", type="primary", icon=":material/group_add:"):
            _ask_create()
    with wiring.reading() as look:
        lines = teams.lines(look.session)
    found = [one for one in lines if _is_meant(one, (text or "").strip().casefold())]
    st.markdown(f":small[:gray[{plural(len(found), 'team')}, by name]]")
    for one in found[:_SHOWN]:
        _card(one, mine)
    if len(found) > _SHOWN:
        st.markdown(f":small[:gray[and {len(found) - _SHOWN} more: say a part of a name]]")
    if not found:
        with st.container(border=True):
            components.empty(
                "There is no team like this" if lines else "There is no team yet",
                "A team owns models and endpoints, and a role in its scope reaches those. Create one, add people, say what it "
                "owns.",
                icon="groups",
            )


def _is_meant(one: TeamLine, wanted: str) -> bool:
    said = (one.name, one.title, *one.members, *one.models, *one.endpoints)
    return any(wanted in text.casefold() for text in said)


def _card(one: TeamLine, mine: Rights) -> None:
    with components.card(escape(one.name), escape(one.title, MAX_TITLE), key=f"team-{one.name}") as head:
        if mine.may("team.add_member", team=one.id) and head.button(
            "Add a member", key=f"add.{one.id}", icon=":material/person_add:"
        ):
            _ask_member(one)
        acts = _acts(one, mine)
        with head:
            chosen = st.menu_button("More", list(acts), key=f"more.{one.id}", icon=":material/more_horiz:") if acts else None
        if chosen:
            acts[str(chosen)](one)
        components.facts(
            [
                (f"Members ({len(one.members)})", _names(one.members)),
                (f"Models ({len(one.models)})", _names(one.models)),
                (f"Endpoints ({len(one.endpoints)})", _names(one.endpoints)),
            ]
        )


def _acts(one: TeamLine, mine: Rights) -> dict[str, Callable[[TeamLine], None]]:
    """What else whoever looks may do about it, as an admin of everything or of this very team."""
    offered = {
        "Remove a member": ("team.remove_member", _ask_remove),
        "Rename": ("team.rename", _ask_rename),
        "Retire": ("team.retire", _ask_retire),
    }
    empty = () if one.members else ("Remove a member",)
    return {label: ask for label, (action, ask) in offered.items() if mine.may(action, team=one.id) and label not in empty}


def _names(names: Sequence[str]) -> str:
    told = [escape(one, 60) for one in names[:_MOST_NAMES]]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*told, *more]) or ":gray[none]"


def _ask_create() -> None:
    @dialogs.framed("Create a team")
    def opened() -> None:
        name = st.text_input("Name", key="team.name", max_chars=63, required=True, placeholder="flights")
        title = st.text_input("What it looks after", key="team.title", max_chars=MAX_TITLE, placeholder="Flight delays")
        if dialogs.decide("Create the team", "team.confirm", icon="group_add"):
            feedback.act(
                lambda: wiring.backend().teams.create(identity.current(), (name or "").strip(), title or ""),
                "Created: add members, and say what it owns.",
            )

    opened()


def _ask_rename(one: TeamLine) -> None:
    @dialogs.framed(f"Rename {one.name}")
    def opened() -> None:
        name = st.text_input("Name", value=one.name, key=f"rename.{one.id}.name", max_chars=63, required=True)
        title = st.text_input("What it looks after", value=one.title, key=f"rename.{one.id}.title", max_chars=MAX_TITLE)
        st.markdown(":small[:gray[Roles in its scope and what it owns stay with it.]]")
        if dialogs.decide("Rename it", "rename.confirm", icon="edit"):
            feedback.act(
                lambda: wiring.backend().teams.rename(identity.current(), one.name, (name or "").strip(), title or ""),
                "Renamed.",
            )

    opened()


def _ask_retire(one: TeamLine) -> None:
    @dialogs.framed(f"Retire {one.name}")
    def opened() -> None:
        if one.models or one.endpoints:
            owned = ", ".join(escape(name, 60) for name in (*one.models, *one.endpoints)[:_MOST_NAMES])
            st.warning(f"**It owns something.** Give that to another team first: {owned}.", icon=":material/front_hand:")
            return
        st.markdown(
            f"**{escape(one.name)}** is no team any more: roles in its scope reach nothing, its data sets lapse, and its "
            "name stays taken. This cannot be undone."
        )
        if dialogs.decide("Retire it", "retire.confirm", icon="archive"):
            feedback.act(lambda: wiring.backend().teams.retire(identity.current(), one.name), "Retired.")

    opened()


def _ask_member(one: TeamLine) -> None:
    with wiring.reading() as look:
        people = {key: shown for key, shown in rosters.names(look.session).items() if key not in one.members}

    @dialogs.framed(f"Add a member to {one.name}")
    def opened() -> None:
        st.markdown(":small[:gray[Belonging brings no role; it brings the data sets that the team holds.]]")
        who = st.selectbox(
            "Who",
            list(people),
            index=None,
            placeholder="Choose a person or service",
            key=f"member.{one.id}",
            format_func=lambda key: people.get(key, key),
        )
        if dialogs.decide("Add to the team", "member.confirm", icon="person_add", disabled=who is None):
            feedback.act(lambda: wiring.backend().teams.add_member(identity.current(), one.name, str(who)), "Added.")

    opened()


def _ask_remove(one: TeamLine) -> None:
    @dialogs.framed(f"Remove a member of {one.name}")
    def opened() -> None:
        who = st.selectbox("Who", list(one.members), key=f"parting.{one.id}")
        st.markdown(
            f"**{escape(who or '', 60)}** loses the data sets of the team at once. Roles in its scope stay: take those back "
            "under Grants."
        )
        if dialogs.decide("Remove from the team", "parting.confirm", icon="person_remove"):
            feedback.act(lambda: wiring.backend().teams.remove_member(identity.current(), one.name, str(who)), "Removed.")

    opened()


def _ask_own() -> None:
    with wiring.reading() as look:
        names = [one.name for one in teams.lines(look.session)]

    @dialogs.framed("Set the owner of a model or endpoint")
    def opened() -> None:
        kind = "model" if st.selectbox("What", [_MODEL, _ENDPOINT], key="own.kind") == _MODEL else "endpoint"
        name = objects.choose(kind, f"own.{kind}")
        team = st.selectbox("Team", ["Nobody", *names], key="own.team")
        st.markdown(
            ":small[:gray[Roles in the scope of a team reach what it owns; an endpoint without an owner belongs to the team "
            "of its model. Where changes need approvals, a second admin has to confirm.]]"
        )
        if dialogs.decide("Set the owner", "own.confirm", icon="check", disabled=not name):
            _own(kind, name, None if team == "Nobody" else str(team))

    opened()


def _own(kind: str, name: str, team: str | None) -> None:
    found: list[object] = []
    with feedback.shown() as outcome:
        found.append(wiring.backend().teams.set_owner(identity.current(), kind, name, team))
    if outcome.ok:
        waits = isinstance(found[0], Request)
        feedback.done(
            "Asked for: another admin confirms it under Grants."
            if waits
            else f"{escape(name, 60)} belongs to {escape(team or 'nobody', 60)} now."
        )
        st.rerun()
