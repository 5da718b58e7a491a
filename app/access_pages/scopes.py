"""Where a role counts: a scope as it is chosen in a dialog, and what a token or a binding is narrowed to, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from app.kit import objects
from app.kit.plain import escape
from app.wiring import Reading
from backend.access.rules import ROLES, TOKEN_ROLES
from backend.access.teams import lines as team_lines
from backend.policy import queries

EVERYWHERE, ENVIRONMENT, MODEL, TEAM = "Everywhere", "In an environment", "On a model", "On what a team owns"
EVERY_ROLE = "Every role that it holds"
Places = Mapping[str, Sequence[str]]


def places(look: Reading) -> Places:
    """What there is to choose from: environments and teams. Models are too many to be read for each dialog."""
    return {
        ENVIRONMENT: [one.name for one in queries.environments(look.session, look.now)],
        TEAM: [one.name for one in team_lines(look.session)],
    }


def choose(found: Places, key: str, *, label: str = "Where", everywhere: str = EVERYWHERE) -> str:
    """What was chosen as a scope; "" while nothing is."""
    kind = st.selectbox(label, [everywhere, ENVIRONMENT, MODEL, TEAM], key=f"{key}.where")
    if kind == everywhere:
        return "*"
    if kind == MODEL:
        model = objects.choose("model", f"{key}.model")
        return f"model:{model}" if model else ""
    if not found[kind]:
        st.markdown(":small[:gray[There is no team yet: create one under Teams.]]")
        return ""
    chosen = st.selectbox("Which", found[kind], key=f"{key}.{kind}")
    return f"{'environment' if kind == ENVIRONMENT else 'team'}:{chosen}"


def limits(found: Places, key: str) -> tuple[str | None, str]:
    """The most that a token or a binding is good for: a role (None for every one) and a scope ("" while none is chosen)."""
    roles = TOKEN_ROLES if key == "token" else ROLES
    role = st.selectbox("At most this role", [EVERY_ROLE, *map(str.capitalize, roles)], key=f"{key}.role")
    scope = choose(found, key, label="Nowhere but here", everywhere="Wherever it holds the role")
    return (str(role).lower() if role != EVERY_ROLE else None), scope


def narrowed(role: str | None, scope: str) -> str:
    """What it is narrowed to, escaped: `at most reviewer, only in environment:staging`; "" where it is to nothing."""
    said = [f"at most {role}"] if role is not None else []
    said += [f"only in {escape(scope, 80)}"] if scope != "*" else []
    return ", ".join(said)


def at_most(role: str | None, scope: str) -> str:
    """The same as plain text for a column that always says something."""
    said = (role.capitalize() if role is not None else "Every role", f"in {scope}" if scope != "*" else "")
    return " ".join(one for one in said if one) if role is not None or scope != "*" else "All that it may"
