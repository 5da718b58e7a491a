"""What the worker and a report's process say to each other: one JSON object a line, bounded, and read as if it were hostile.

Rows go by files, which the worker writes, and what is to be shown comes back by one that is opened before any row is read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backend.core.bounded import Unreadable
from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal
from backend.window_reports.rules import Asked, Part, Side

MAX_SAYS, MAX_NOTES = 500, 100
CURRENT, REFERENCE, SHOWN = "current.arrow", "reference.arrow", "shown.json"
"""Files in the folder of one report."""


class Message(BaseModel):
    """Immutable and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DrawnColumn(Message):
    """One column of the samples: where it stands in the files, and what it is."""

    place: str
    name: str
    role: Literal["feature", "prediction", "outcome"]
    kind: Literal["number", "text"]


class Order(Message):
    """What the process is to make of the samples in its folder."""

    kind: Literal["order"] = "order"
    folder: str
    columns: list[DrawnColumn]
    parts: list[Part]
    threshold: float
    cpu_seconds: int
    address_space: int
    most_bytes: int


class Doing(Message):
    """What it is at."""

    kind: Literal["doing"] = "doing"
    says: Annotated[str, Field(max_length=MAX_SAYS)]


class Made(Message):
    """What is to be shown lies in the folder now. `parts`: those that could be made."""

    kind: Literal["made"] = "made"
    parts: list[Part]
    notes: Annotated[list[Annotated[str, Field(max_length=MAX_SAYS)]], Field(max_length=MAX_NOTES)]


class Failed(Message):
    """It could not be made, and why."""

    kind: Literal["failed"] = "failed"
    says: Annotated[str, Field(max_length=MAX_SAYS)]


Answer = Doing | Made | Failed
_ANSWERS: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])


def line_of(message: Message) -> bytes:
    """A message as one line."""
    return canonical(message.model_dump(mode="json")) + b"\n"


def parse_order(line: bytes) -> Order:
    """The worker's order."""
    return Order.model_validate(loads(line))


def parse_answer(line: bytes) -> Answer:
    """What the process says. Raises Unreadable for anything else."""
    try:
        return _ANSWERS.validate_python(loads(line))
    except (ValidationError, Refusal) as error:
        raise Unreadable from error


def told(asked: Asked) -> dict[str, Any]:
    """What was asked for, as a row keeps it."""
    return {
        "current": _side(asked.current),
        "reference": _side(asked.compared_with),
        "parts": list(asked.parts),
        "rows": asked.rows,
        "features": list(asked.features) if asked.features is not None else None,
        "outcome": asked.outcome,
        "threshold": asked.threshold,
    }


def read_asked(kept: dict[str, Any]) -> Asked:
    """What was asked for, from a row."""
    features = kept["features"]
    return Asked(
        current=_read_side(kept["current"]),
        reference=_read_side(kept["reference"]),
        parts=tuple(kept["parts"]),
        rows=kept["rows"],
        features=tuple(features) if features is not None else None,
        outcome=kept["outcome"],
        threshold=kept["threshold"],
    )


def _side(side: Side) -> dict[str, Any]:
    return {"start": side.start.isoformat(), "end": side.end.isoformat(), "version": side.version, "arm": side.arm}


def _read_side(kept: dict[str, Any]) -> Side:
    start, end = (datetime.fromisoformat(kept[name]) for name in ("start", "end"))
    return Side(start, end, kept["version"], kept["arm"])
