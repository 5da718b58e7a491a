"""Giving a role, moving its end, and taking it back: what will be so is said before it is asked for."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from app import identity, wiring
from app.access_pages import scopes
from app.kit import dialogs, feedback, times
from app.kit.plain import escape
from backend.access import rosters, rules
from backend.access.names import beside
from backend.access.rosters import GrantLine
from backend.access.rows import Request
from backend.access.rules import ROLES
from backend.policy.service import protected

_NO_END, AT = "No end", "At a time"
LASTS: dict[str, timedelta | None] = {
    "8 hours": timedelta(hours=8), "7 days": timedelta(days=7), "30 days": timedelta(days=30), "90 days": timedelta(days=90),
    "366 days": timedelta(days=366), _NO_END: None, AT: None,
}  # fmt: skip

WAITS = "It waits until a second admin confirms it: it reaches where changes need approvals."


def ask_give(name: str = "") -> None:
    """The dialog that gives a role; `name` where it is already said whose."""

    @dialogs.framed("Give a role")
    def opened() -> None:
        with feedback.shown():
            _give(name)

    opened()


def _give(preset: str) -> None:
    with wiring.reading() as look:
        me = rosters.person_by_id(look.session, identity.current().id, now=look.now)
        mine = {one.name for one in rosters.services_of(look.session, identity.current().id, now=look.now)}
        mine |= {me.name} if me is not None else set()
        known = rosters.names(look.session)
        places = scopes.places(look)
        careful = protected(look.session)
    others = [key for key in known if key not in mine]  # nobody gives a role to himself, or to a service of his own
    name = preset or st.selectbox(
        "To whom",
        others,
        index=None,
        placeholder="Choose a person or service",
        key="give.name",
        format_func=lambda key: known.get(key, key),
    )
    role = st.selectbox("Role", ROLES, key="give.role", format_func=str.capitalize)
    st.markdown(f":small[:gray[{escape(identity.DOES[role])}]]")
    scope = scopes.choose(places, "give")
    lasts = st.selectbox("Until", list(LASTS), index=3, key="give.until")
    typed = entered_end("give.at") if lasts == AT else ""
    until = end(lasts, typed, look.now)
    if name and scope and (typed or lasts != AT):
        st.markdown(_said(known.get(name, name), role, scope, until))
        if rules.reaches(scope, careful):
            st.info(WAITS, icon=":material/group:")
    if dialogs.decide("Give the role", "give.confirm", icon="person_add", disabled=not (name and scope)):
        _ask_for(str(name), role, scope, until, "Given, and in force.")


def entered_end(key: str) -> str:
    """The field for an end that somebody writes; what cannot be one is told there, and the form stays."""
    typed = st.text_input(
        "End (UTC)", key=key, placeholder="2026-12-24 18:00", validate=(times.WRITTEN, "Write a time like 2026-12-24 18:00")
    )
    return (typed or "").strip()


def end(lasts: str, typed: str | None, now: datetime) -> datetime | None:
    """The moment that was chosen (a key of `LASTS`) or typed; None for no end."""
    if lasts == AT:
        return times.entered(typed or "") or now
    length = LASTS[lasts]
    return (now + length).replace(second=0, microsecond=0) if length is not None else None


def _said(name: str, role: str, scope: str, until: datetime | None) -> str:
    where = "everywhere" if scope == "*" else f"in {escape(scope)}"
    end = f"until {times.stamp(until)}" if until is not None else "until somebody takes it back"
    return f"**{escape(name)}** holds **{role}** {where}, {end}."


def _ask_for(name: str, role: str, scope: str, until: datetime | None, done: str) -> None:
    """Asks for it, and says whether it counts or waits."""
    found: list[object] = []
    with feedback.shown() as outcome:
        found.append(wiring.backend().identities.grant(identity.current(), name, role, scope, expires_at=until))
    if outcome.ok:
        waits = isinstance(found[0], Request)
        feedback.done("Asked for: another admin confirms it under Grants." if waits else done)
        st.rerun()


def ask_renew(one: GrantLine) -> None:
    """The dialog that moves the end of a grant."""

    @dialogs.framed("Move the end of a role")
    def opened() -> None:
        with wiring.reading() as look:
            now = look.now
        was = times.both(one.until, now) if one.until is not None else "none"
        where = "everywhere" if one.scope == "*" else f"in {escape(one.scope, 80)}"
        st.markdown(f"**{escape(_named(one), 120)}**, {one.role} {where}  \n:small[:gray[Its end until now: {was}.]]")
        lasts = st.selectbox("From now on until", list(LASTS), index=3, key="renew.until")
        typed = entered_end("renew.at") if lasts == AT else ""
        with feedback.shown():
            until = end(lasts, typed, now)
            st.markdown(_said(_named(one), one.role, one.scope, until))
            if dialogs.decide("Move the end", "renew.confirm", icon="event"):
                _ask_for(one.name, one.role, one.scope, until, "The end is moved.")

    opened()


def ask_take_back(one: GrantLine) -> None:
    """The dialog that ends a role at once."""
    own = one.name == _own_name()
    where = "everywhere" if one.scope == "*" else f"in {escape(one.scope, 80)}"
    more = (
        () if one.by_hand else (f"It follows from {escape(one.by)}, which gives it again at the next sign-in or change there.",)
    )
    wanted = dialogs.Ask(
        says=(
            f"**{escape(_named(one), 120)}** is not {one.role} {where} any more, from the next click on, on open "
            "pages and by tokens too. Votes that count only by this role count no longer.",
            *more,
        ),
        confirm="Take the role back",
        done="Taken back.",
        hint="Why is this role not needed any more?",
        icon="person_remove",
        warning="This is a role of your own: you may not be able to give it to yourself again." if own else "",
    )
    identities = wiring.backend().identities
    dialogs.ask(
        "Take a role back",
        lambda: wanted,
        lambda reason: identities.take_back(identity.current(), one.name, one.role, one.scope, reason=reason),
    )


def _named(one: GrantLine) -> str:
    return beside(one.name, one.shown)


def _own_name() -> str:
    with wiring.reading() as look:
        found = rosters.person_by_id(look.session, identity.current().id, now=look.now)
    return found.name if found is not None else ""
