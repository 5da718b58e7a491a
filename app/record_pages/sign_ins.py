"""People's sessions, the groups that give roles, and the settings of sign-in as they were loaded, without any secret."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import identity, wiring
from app.kit import components, dialogs, feedback, times
from app.kit.plain import escape
from app.kit.states import badge
from app.wiring import Reading
from backend.access.claimed_roles import MappingLine
from backend.access.queries import Person
from backend.access.rules import ROLES
from backend.access.sessions import SessionLine
from backend.access.sign_in_file import Provider, SignIn

_MOST_SHOWN = 25


def section(look: Reading, people: Sequence[Person], mine: identity.Rights) -> None:
    """All of it, for whoever may see other people's sessions, where people sign in at all."""
    backend = wiring.backend()
    if backend.sign_in is None or not mine.may("session.list"):
        return
    lines = backend.sessions.lines(identity.current(), everybody=True)
    _sessions(look, lines, {one.id: one.name for one in people}, ends=mine.may("session.revoke"))
    _groups(backend.group_mappings.lines(look.session), backend.sign_in, changes=mine.may("role.grant"))
    _settings(backend.sign_in)


def _sessions(look: Reading, lines: Sequence[SessionLine], names: dict[str, str], *, ends: bool) -> None:
    running = [one for one in lines if one.state == "active"]
    with components.card("Sessions", f"{len(running)} running; the newest {_MOST_SHOWN} of all") as head:
        if ends and running and head.button("End sessions", icon=":material/logout:"):
            _ask_end(running, names)
        if not lines:
            components.empty("Nobody has signed in yet", "Sessions will stand here.", icon="login")
            return
        rows = [
            (
                f"**{escape(names.get(one.identity_id, one.identity_id))}**  \n:small[:gray[{escape(one.provider)}]]",
                times.age(one.opened_at, look.now),
                times.age(one.used_at, look.now),
                badge("session", one.state),
            )
            for one in lines[:_MOST_SHOWN]
        ]
        components.table(rows, ("Who", "Signed in", "Last click", "State"), alt="Sessions, the newest first")


def _ask_end(running: Sequence[SessionLine], names: dict[str, str]) -> None:
    whose = {one.identity_id: names.get(one.identity_id, one.identity_id) for one in running}
    chosen = {"id": next(iter(whose))}

    def draw() -> dialogs.Ask:
        chosen["id"] = st.selectbox("Whose", list(whose), format_func=whose.__getitem__, key="sessions.whose")
        name = escape(whose[chosen["id"]])
        return dialogs.Ask(
            says=(
                f"Every session of **{name}** ends now, on open pages too. Tokens and roles stay as they are; to keep somebody "
                "out, deactivate the identity.",
            ),
            confirm="End the sessions",
            done=f"The sessions of {name} were ended.",
            hint="What happened?",
            icon="logout",
        )

    sessions = wiring.backend().sessions
    dialogs.ask("End sessions", draw, lambda reason: sessions.end_of(identity.current(), chosen["id"], reason))


def _groups(lines: Sequence[MappingLine], sign_in: SignIn, *, changes: bool) -> None:
    with components.card("Groups to roles", "what a provider's groups give, from the next sign-in on") as head:
        if changes and head.button("Map a group", icon=":material/group_add:"):
            _ask_map(sign_in)
        if changes and any(one.waits for one in lines) and head.button("Confirm a mapping", icon=":material/how_to_reg:"):
            _ask_one("Confirm a mapping", [one for one in lines if one.waits], _CONFIRM)
        if changes and any(one.id for one in lines) and head.button("Take a mapping back", icon=":material/group_remove:"):
            _ask_one("Take a mapping back", [one for one in lines if one.id], _TAKE_BACK)
        if not lines:
            components.empty("No group gives a role", "Map one here, or in the settings file.", icon="group_off")
            return
        rows = [
            (
                f"**{escape(one.value)}**  \n:small[:gray[{escape(one.provider)}]]",
                f"{one.role.capitalize()}  \n:small[:gray[{escape(one.scope)}]]",
                f":small[:gray[{_kept(one)}]]",
            )
            for one in lines
        ]
        components.table(rows, ("Group", "Role", "Kept in"), alt="Groups and the roles that they give")


def _ask_map(sign_in: SignIn) -> None:
    @dialogs.framed("Map a group to a role")
    def opened() -> None:
        provider = st.selectbox(
            "Provider",
            [one.name for one in sign_in.providers],
            key="map.provider",
            format_func=lambda one: _title(sign_in, one),
        )
        value = st.text_input("Group, as the provider tells it", key="map.value", max_chars=256)
        role = st.selectbox("Role", ROLES, key="map.role", format_func=str.capitalize)
        scope = st.text_input(
            "Scope", value="*", key="map.scope", help="`*`, `environment:NAME`, `model:NAME` or `team:NAME`", max_chars=300
        )
        st.markdown(":small[:gray[It counts once another admin confirmed it, and gives nothing to either of you.]]")
        if st.button("Map it", type="primary", key="map.confirm"):
            mappings = wiring.backend().group_mappings
            feedback.act(
                lambda: mappings.map(
                    identity.current(), str(provider), (value or "").strip(), str(role), (scope or "").strip()
                ),
                "Mapped: it waits for another admin.",
            )

    opened()


_CONFIRM = ("Confirm it", "Whoever is in the group has the role from the next sign-in on.", "Confirmed.")
_TAKE_BACK = (
    "Take it back",
    "Whoever has the role by it loses it at the next sign-in. End the sessions to make that now.",
    "The group gives this role no longer.",
)


def _ask_one(title: str, lines: Sequence[MappingLine], words: tuple[str, str, str]) -> None:
    told = {str(one.id): f"{one.value} → {one.role} in {one.scope} ({one.provider})" for one in lines}
    button, says, done = words

    @dialogs.framed(title)
    def opened() -> None:
        chosen = str(st.selectbox("Mapping", list(told), key=f"mapping.{button}", format_func=told.__getitem__))
        st.markdown(says)
        if st.button(button, type="primary", key=f"mapping.do.{button}"):
            mappings = wiring.backend().group_mappings
            command = mappings.confirm if words is _CONFIRM else mappings.unmap
            feedback.act(lambda: command(identity.current(), chosen), done)

    opened()


def _kept(one: MappingLine) -> str:
    return "settings file" if one.id is None else "waits for a second admin" if one.waits else "here"


def _settings(sign_in: SignIn) -> None:
    with components.card("Sign-in settings", "as loaded; secrets are not shown"):
        rows = [
            ("Seen at", escape(sign_in.origin + sign_in.base_path)),
            (
                "A session ends",
                f"{sign_in.idle_minutes} min after the last click, {sign_in.absolute_hours} h after the sign-in",
            ),
            ("Roles of groups lapse", f"{sign_in.claims_days} days after the last sign-in"),
            ("First administrator", escape(sign_in.first_administrator) or "–"),
            *((f"**{escape(one.title)}**", _provider(one)) for one in sign_in.providers),
        ]
        components.table(rows, None, alt="Settings of sign-in")


def _provider(one: Provider) -> str:
    verified = "; a verified e-mail is needed" if one.require_verified_email else ""
    issuers = ", ".join(one.issuers) or one.expected_issuer
    return (
        f"{escape(one.name)}, client {escape(one.client_id)}, issuer {escape(issuers)}  \n"
        f":small[:gray[groups from {escape(one.groups_claim)}; signed with {escape(', '.join(one.algorithms))}{verified}]]"
    )


def _title(sign_in: SignIn, name: str) -> str:
    found = sign_in.provider(name)
    return found.title if found is not None else name
