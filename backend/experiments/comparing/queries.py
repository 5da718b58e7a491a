"""How comparisons stand."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from backend.experiments.comparing.standing import Standing


def standing(session: Session, authorization_id: str, generation: int, now: datetime) -> Standing | None:
    """Nothing looks at arms yet: whoever asks for units or statistics waits."""
    return None
