"""How comparisons stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from backend.experiments.comparing.standing import Standing


def standing(session: Session, authorization_id: str, generation: int, now: datetime) -> Standing | None:
    """Nothing looks at arms yet: whoever asks for units or statistics waits."""
    return None


@dataclass(frozen=True)
class Decided:
    """The newest decision of a comparison, with its reasons."""

    decision: Literal["ship", "roll_back", "keep_running"]
    reasons: tuple[str, ...]


def of_change(session: Session, change_id: str) -> Decided | None:
    """What was decided of a change's arms; None where nothing was compared."""
    return None
