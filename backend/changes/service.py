"""Changes: everything that people and the worker do with them, in one place. The parts are split by subject."""

from __future__ import annotations

from backend.changes.applying import Applying
from backend.changes.champion import Champions
from backend.changes.experimenting import Experimenting
from backend.changes.preview import Previews
from backend.changes.settling import Settling, settled
from backend.changes.voting import Votes

__all__ = ["Changes", "settled"]


class Changes(Experimenting, Previews, Votes, Applying, Champions, Settling):
    """Preview, propose, decide, edit, comment, vote, start, revoke, roll back; and the worker's handler.

    A change is named by its number or its id. Every command checks its actor, and doing it twice has one effect.
    """
