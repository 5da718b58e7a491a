"""Short names for people who come from elsewhere. They tell nobody apart: what a provider calls its people does."""

from __future__ import annotations

from sqlmodel import Session, col, select

from backend.access.rows import Identity


def free_name(session: Session, wanted: str) -> str:
    """The wanted name, or one beside it that nobody has yet."""
    taken = set(session.exec(select(Identity.name).where(col(Identity.name).startswith(wanted, autoescape=True))))
    return next(name for name in (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3))) if name not in taken)
