"""What is wrong with a file, or refused of it: where, why, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.errors import Refusal

MOST_TOLD = 20


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `where` is `file:line:column`."""

    where: str
    message: str
    remedy: str
    code: str = "bad-config"

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.remedy}".strip()


class Faulty(Refusal):
    """Files that cannot be applied, with everything that is wrong with them (the first twenty). Nothing was changed."""

    def __init__(self, faults: Sequence[Fault], code: str = "bad-config") -> None:
        first, more = faults[0], len(faults) - 1
        self.faults = tuple(faults[:MOST_TOLD])
        message = f"{first.where}: {first.message}" + (f" And {more} more." if more else "")
        told = [{"where": one.where, "message": one.message, "remedy": one.remedy, "code": one.code} for one in self.faults]
        super().__init__(message, first.remedy, code=code, errors=told)


def fault_of(where: str, refusal: Refusal) -> Fault:
    """A refusal of a command, at the place that asked for it."""
    return Fault(where, refusal.message, refusal.remedy, refusal.code)
