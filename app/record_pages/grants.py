"""Who holds which role where until when, which team owns what, and who may read which data set row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity
from app.kit import components, times
from app.kit.plain import escape
from app.wiring import Reading
from backend.access import data_sets, queries, teams
from backend.access.data_sets import DataSetLine
from backend.access.queries import GrantLine
from backend.access.teams import TeamLine

_MOST_NAMES = 6


@dataclass(frozen=True)
class Held:
    """What the cards show; data sets are None for whoever may not see who holds them."""

    grants: Sequence[GrantLine]
    teams: Sequence[TeamLine]
    data_sets: Sequence[DataSetLine] | None
    now: datetime


def held(look: Reading, mine: identity.Rights) -> Held:
    """All of it in one look."""
    sets = data_sets.lines(look.session, now=look.now) if mine.may("data_set.list") else None
    return Held(queries.grant_lines(look.session, now=look.now), teams.lines(look.session), sets, look.now)


def cards(found: Held) -> None:
    """Grants, teams and data sets, each in a card."""
    with components.card("Grants", f"{sum(one.is_in_force for one in found.grants)} in force"):
        head = ("Who", "Role", "Where", "Until")
        components.table([_grant(one, found.now) for one in found.grants], head, alt="Grants with their scopes and ends")
    with components.card("Teams", f"{len(found.teams)}, by name"):
        if found.teams:
            components.table([_team(one) for one in found.teams], ("Team", "Members", "Owns"), alt="Teams and what they own")
        else:
            components.empty(
                "There is no team yet",
                "A team owns models and endpoints; a role in its scope reaches those: `countersign team create NAME`.",
                icon="groups",
            )
    if found.data_sets is not None:
        _data_sets(found.data_sets, found.now)


def _data_sets(lines: Sequence[DataSetLine], now: datetime) -> None:
    with components.card("Data sets", f"{sum(one.is_in_force for one in lines)} grants in force"):
        if lines:
            rows = [(escape(_holder(one)), escape(one.data_set, 80), _until(one.until, now)) for one in lines]
            components.table(rows, ("Who", "Data set", "Until"), alt="Who may read which data set")
        else:
            st.markdown(":small[:gray[Nobody may read recorded requests row by row: no role brings that.]]")


def _grant(one: GrantLine, now: datetime) -> tuple[str, ...]:
    where = "everywhere" if one.scope == "*" else escape(one.scope, 80)
    return f"**{escape(one.name, 60)}**", one.role, where, _until(one.expires_at, now)


def _team(one: TeamLine) -> tuple[str, ...]:
    shown = f"**{escape(one.name)}**" + (f"  \n:small[:gray[{escape(one.title, 80)}]]" if one.title else "")
    return shown, _names(one.members), _names((*one.models, *one.endpoints))


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    told = [escape(one, 60) for one in names[:_MOST_NAMES]]
    return ", ".join([*told, f"{more} more"] if more > 0 else told) or ":gray[–]"


def _holder(one: DataSetLine) -> str:
    return one.identity if one.identity is not None else f"team {one.team}"


def _until(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ":gray[it is taken back]"
    return f"{times.short(moment)} UTC" if now < moment else ":gray[over]"
