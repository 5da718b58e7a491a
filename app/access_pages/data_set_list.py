"""Who may read requests of single people, data set by data set, until when; apart from every role."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, objects, times
from app.kit.plain import escape, plural
from backend.access import data_sets, rosters, teams
from backend.access.data_sets import DataSetLine

_LASTS = {
    "8 hours": timedelta(hours=8),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
    "90 days": timedelta(days=90),
}
_PERSON, _TEAM = "A person or service", "A team"
_KINDS = {"Recorded requests of a model's packages": "probes", "Logged requests of an endpoint": "requests"}
_SHOWN = 100


def part(mine: Rights) -> None:
    """Grants in force, the next to end first."""
    if not mine.may("data_set.list"):
        with st.container(border=True):
            components.empty("This is for admins and auditors", "Your own data sets stand under My access.", icon="lock")
        return
    with listing.filters():
        text = st.text_input("Data set or holder", key="set", bind="query-params", icon=":material/search:")
        if mine.may("data_set.grant") and st.button("Give a data set", type="primary", icon=":material/dataset:"):
            _ask_give()
    with wiring.reading() as look:
        lines = data_sets.lines(look.session, now=look.now)
    wanted = (text or "").strip().casefold()
    found = [
        one for one in lines if one.is_in_force and (wanted in one.data_set.casefold() or wanted in holder(one).casefold())
    ]
    with components.card("Data sets", f"{plural(len(found), 'grant')} in force, the next to end first"):
        for one in sorted(found, key=lambda line: line.until)[:_SHOWN]:
            _row(one, look.now, takes=mine.may("data_set.take_back"))
        if len(found) > _SHOWN:
            st.markdown(f":small[:gray[and {len(found) - _SHOWN} more: say a part of a name]]")
        if not found:
            components.empty(
                "Nobody may read recorded requests row by row",
                "No role brings that. An admin gives a data set to a person or a team until a time; each read is in the "
                "ledger.",
                icon="visibility_lock",
            )


def holder(one: DataSetLine) -> str:
    """Who holds it."""
    return one.identity if one.identity is not None else f"team {one.team}"


def _row(one: DataSetLine, now: datetime, *, takes: bool) -> None:
    about = f"until {times.both(one.until, now)} · given {times.age(one.given_at, now)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f"**{escape(holder(one), 80)}** reads {escape(one.data_set, 120)}  \n:small[:gray[{about}]]", width="stretch"
        )
        if takes and st.button("Take back", key=f"set.{one.id}"):
            _ask_take_back(one)


def _ask_take_back(one: DataSetLine) -> None:
    @dialogs.framed("Take a data set back")
    def opened() -> None:
        st.markdown(f"**{escape(holder(one), 80)}** does not read {escape(one.data_set, 120)} any more, from now on.")
        if dialogs.decide("Take it back", "set.back", icon="person_remove"):
            feedback.act(lambda: wiring.backend().data_sets.take_back(identity.current(), one.id), "Taken back.")

    opened()


def _ask_give() -> None:
    with wiring.reading() as look:
        people, groups = rosters.names(look.session), [one.name for one in teams.lines(look.session)]

    @dialogs.framed("Give a data set")
    def opened() -> None:
        kind = st.selectbox("What", list(_KINDS), key="set.kind")
        thing = "model" if _KINDS[kind] == "probes" else "endpoint"
        name = objects.choose(thing, f"set.{thing}")
        whom = st.selectbox("To", [_PERSON, _TEAM], key="set.whom")
        who = (
            st.selectbox("Who", list(people), key="set.who", format_func=lambda key: people.get(key, key))
            if whom == _PERSON
            else st.selectbox("Which team", groups, key="set.team")
        )
        lasts = st.selectbox("For", list(_LASTS), index=1, key="set.lasts")
        st.markdown(
            ":small[:gray[These are requests of single people. Whoever holds the data set sees them row by row, and each read "
            "is in the ledger. You cannot give one to yourself, or to a team of yours.]]"
        )
        if dialogs.decide("Give it", "set.confirm", icon="dataset", disabled=not (who and name)):
            until = wiring.backend().database.now() + _LASTS.get(str(lasts), timedelta(days=7))
            to = {"identity": str(who)} if whom == _PERSON else {"team": str(who)}
            data_set = f"{_KINDS[kind]}/{name}"
            feedback.act(
                lambda: wiring.backend().data_sets.grant(identity.current(), data_set, until=until, **to), "Given, until then."
            )

    opened()
