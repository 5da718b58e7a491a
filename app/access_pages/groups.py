"""Which group of a provider gives which role, and whom a mapping touches before it is asked for or confirmed."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import identity, wiring
from app.access_pages import scopes
from app.access_pages.session_rows import provider_title
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing
from app.kit.plain import escape, plural
from app.kit.states import tag
from backend.access import touched
from backend.access.group_mappings import MappingLine
from backend.access.rules import ROLES
from backend.access.sign_in_file import SignIn
from backend.access.touched import Touched

_SHOWN, _NAMES = 50, 12
_OTHER = "Another one …"
_NOBODY = (
    "Nobody is known in this group yet: nobody signed in with it, and no directory has it. Whoever comes with it gets "
    "the role then; look at how the provider spells it."
)


def card(lines: Sequence[MappingLine], sign_in: SignIn, mine: Rights, *, waiting: int) -> None:
    """Those of the settings file first; the others with what can be done about them.

    Args:
        waiting: how many were asked for and wait for a second admin.
    """
    takes = mine.may("group_mapping.take_back")
    asked = f", {waiting} waiting under Grants" if waiting else ""
    with components.card("Groups to roles", f"{plural(len(lines), 'mapping')}{asked}") as head:
        if mine.may("group_mapping.make") and head.button("Map a group", icon=":material/group_add:"):
            _ask_map(sign_in)
        if lines:
            st.markdown(":small[:gray[A mapping counts at once for a directory, else from the next sign-in on.]]")
        for one in _page(lines) if len(lines) > _SHOWN else lines:
            _row(one, takes=takes)
        if not lines:
            components.empty(
                "No group gives a role",
                "Map one here, which a second admin confirms, or in the settings file; until then an admin gives each role.",
                icon="group_off",
            )


def _page(lines: Sequence[MappingLine]) -> Sequence[MappingLine]:
    """Of more than fit: those that are looked for, a page of them."""
    with listing.filters():
        text = st.text_input("Group, role or scope", key="mapped", bind="query-params", icon=":material/search:")
    wanted = (text or "").strip().casefold()
    found = [one for one in lines if any(wanted in said.casefold() for said in (one.value, one.role, one.scope, one.provider))]
    place = listing.place("mappings", text)
    keys = [_key(one) for one in found]
    start = keys.index(place.key) + 1 if place.key in keys else 0
    shown = found[start : start + _SHOWN]
    following = keys[start + _SHOWN - 1] if len(found) > start + _SHOWN else None
    listing.walk(place, f"{plural(len(found), 'mapping')}, by provider and group", following, words=("Previous", "Next"))
    return shown


def _key(one: MappingLine) -> str:
    return f"{one.provider}.{one.value}.{one.role}.{one.scope}"


def _row(one: MappingLine, *, takes: bool) -> None:
    where = "everywhere" if one.scope == "*" else f"in {escape(one.scope, 80)}"
    kept = "in the settings file" if one.id is None else "made here"
    state = "" if one.reaches else f" {tag('Names nothing here', 'link_off', 'orange')}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f"**{escape(one.value, 120)}** gives {one.role} {where}{state}  \n"
            f":small[:gray[{escape(provider_title(one.provider))} · {kept}]]",
            width="stretch",
        )
        if st.button("Whom it touches", key=f"touched.{_key(one)}"):
            _show_touched(one)
        if takes and one.id is not None and st.button("Take back", key=f"unmap.{one.id}"):
            _ask_take_back(one)


def _found(one: MappingLine) -> tuple[Touched, ...]:
    with wiring.reading() as look:
        return touched.by_group(look.session, one.provider, one.value, one.role, one.scope)


def _preview(found: Sequence[Touched]) -> None:
    """Whom it touches, in sentences with names."""
    if not found:
        st.info(_NOBODY, icon=":material/group_off:")
        return
    for sentence in touches(found):
        st.markdown(sentence)


def touches(found: Sequence[Touched]) -> tuple[str, ...]:
    """The same as Markdown."""
    if not found:
        return (_NOBODY,)
    getting = [one for one in found if not one.has]
    having = len(found) - len(getting)
    names = [escape(one.named, 120) + ("" if one.active else " (deactivated)") for one in getting[:_NAMES]]
    more = [f"{len(getting) - _NAMES} more"] if len(getting) > _NAMES else []
    gets = f"**{_known(len(getting))} would get it** at the next sign-in, by a directory at once: {', '.join([*names, *more])}."
    has = f":small[:gray[{_known(having)} in the group hold{'s' if having == 1 else ''} it already.]]"
    return (*([gets] if getting else []), *([has] if having else []))


def _known(count: int) -> str:
    return "1 known person" if count == 1 else f"{count:,} known people"


def _show_touched(one: MappingLine) -> None:
    @dialogs.framed("Whom a mapping touches")
    def opened() -> None:
        with feedback.shown():
            st.markdown(f"**{escape(one.value, 120)}** → {one.role} {escape(one.scope, 80)}")
            _preview(_found(one))

    opened()


def _ask_take_back(one: MappingLine) -> None:
    @dialogs.framed("Take a mapping back")
    def opened() -> None:
        with feedback.shown():
            has = [found for found in _found(one) if found.has]
            names = ", ".join(escape(found.named, 120) for found in has[:_NAMES]) or "nobody who is known"
            st.markdown(
                f"**{escape(one.value, 120)}** gives {one.role} no longer. Whoever has it by this loses it, by a "
                f"directory at once, else at the next sign-in ({names}); end their sessions to make that now."
            )
            if dialogs.decide("Take it back", "mapping.unmap"):
                feedback.act(
                    lambda: wiring.backend().group_mappings.unmap(identity.current(), str(one.id)),
                    "The group gives this role no longer.",
                )

    opened()


def _ask_map(sign_in: SignIn) -> None:
    @dialogs.framed("Map a group to a role")
    def opened() -> None:
        with feedback.shown():
            _map(sign_in)

    opened()


def _map(sign_in: SignIn) -> None:
    provider = str(
        st.selectbox("Provider", [one.name for one in sign_in.providers], key="map.provider", format_func=provider_title)
    )
    with wiring.reading() as look:
        told, places = dict(touched.groups_told(look.session, provider)), scopes.places(look)
    value = _chosen_group(told)
    role = str(st.selectbox("Role", ROLES, key="map.role", format_func=str.capitalize))
    place = scopes.choose(places, "map")
    if value and place:
        with wiring.reading() as look:
            _preview(touched.by_group(look.session, provider, value, role, place))
    st.markdown(":small[:gray[It counts once another admin confirmed it, and gives nothing to either of you.]]")
    if dialogs.decide("Ask for it", "map.confirm", disabled=not (value and place)):
        feedback.act(
            lambda: wiring.backend().group_mappings.map(identity.current(), provider, value, role, place),
            "Asked for: another admin confirms it under Grants.",
        )


def _chosen_group(told: dict[str, int]) -> str:
    """A group that the provider told of somebody, or one that is typed."""
    chosen = st.selectbox(
        "Group",
        [*told, _OTHER],
        key="map.group",
        format_func=lambda name: (
            f"{name} ({'1 person' if told[name] == 1 else f'{told[name]} people'})" if name in told else name
        ),
    )
    if chosen != _OTHER:
        return str(chosen)
    return (st.text_input("Group, as the provider tells it", key="map.value", max_chars=256) or "").strip()
