"""Short names for people who come from elsewhere. They tell nobody apart: what a provider calls its people does."""

from __future__ import annotations

import re

from sqlmodel import col, select

from backend.access.rows import Identity
from backend.core.errors import Refusal
from backend.core.unit import Unit

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_NAMES = "names of identities"


def demand_name(name: str) -> None:
    """Refusal `bad-name` for what cannot be somebody's short name: it is part of addresses and commands, and read by others.

    Whatever sign-in and SCIM make of what a provider says (`claims.handle_of`) can be one.
    """
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the short name of a person or service.",
            "Use up to 63 small letters, digits, dots, hyphens and underscores, with a letter or digit at both ends; how "
            "somebody is shown is another field.",
            code="bad-name",
        )


def demand_shown(display_name: str) -> None:
    """Refusal `bad-name` for a display name that would not be read as it is written: with line breaks, control characters, or
    characters that are not seen or turn others around (Unicode TR36, bidirectional text). It stands in sentences that others
    decide by. What a provider tells at a sign-in is freed of them (`claims.person`); SCIM refuses them as this does.
    """
    if not display_name.isprintable():
        raise Refusal(
            "A display name is one line of characters that can be seen.",
            "Write it without line breaks, control characters and marks that turn text around.",
            code="bad-name",
        )


def demand_free(tx: Unit, name: str) -> None:
    """Refusal `name-taken`. Nobody else takes a name until the unit ends."""
    tx.alone(_NAMES)
    if tx.session.exec(select(Identity.id).where(Identity.name == name)).first() is not None:
        raise Refusal(f"There is already an identity {name}.", "Choose another name.", code="name-taken")


def free_name(tx: Unit, wanted: str) -> str:
    """The wanted name, or one beside it that nobody has yet. Nobody else takes a name until the unit ends."""
    tx.alone(_NAMES)
    taken = set(tx.session.exec(select(Identity.name).where(col(Identity.name).startswith(wanted, autoescape=True))))
    return next(name for name in (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3))) if name not in taken)


def beside(name: str, display_name: str) -> str:
    """How somebody is shown where it matters who exactly is meant: `Rita Reviewer [rita]`."""
    return f"{display_name} [{name}]" if display_name not in ("", name) else name
