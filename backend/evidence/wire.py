"""What a worker and its gate's process say to each other: one JSON object a line, bounded, and read as if it were hostile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backend.core.bounded import Unreadable
from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal
from backend.evidence.port import GateResult

MAX_SAYS, MAX_FACTS, MAX_FINDINGS = 1_000, 4_000, 200


class Message(BaseModel):
    """Immutable and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Order(Message):
    """What the process is to do. `factory` names a function from Settings to GateContext as `module:function`."""

    kind: Literal["order"] = "order"
    gate: str
    plan: dict[str, Any]
    factory: str
    cpu_seconds: int
    address_space: int


class Doing(Message):
    """How far a check has come."""

    kind: Literal["doing"] = "doing"
    fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    says: Annotated[str, Field(max_length=MAX_SAYS)]


class Found(Message):
    """One finding, as it is stored."""

    ok: bool
    says: Annotated[str, Field(max_length=MAX_SAYS)]
    facts: dict[str, Any] = {}


class Result(Message):
    """The end of a check, for exactly one plan."""

    kind: Literal["result"] = "result"
    plan_digest: str
    verdict: Literal["passed", "failed", "error"]
    summary: Annotated[str, Field(max_length=MAX_SAYS)]
    findings: Annotated[list[Found], Field(max_length=MAX_FINDINGS)] = []


_ANSWERS: TypeAdapter[Doing | Result] = TypeAdapter(Annotated[Doing | Result, Field(discriminator="kind")])


def line_of(message: Message) -> bytes:
    """A message as one line."""
    return canonical(message.model_dump(mode="json")) + b"\n"


def parse_order(line: bytes) -> Order:
    """The worker's order."""
    return Order.model_validate(loads(line))


def parse_answer(line: bytes) -> Doing | Result:
    """What the process says. Raises Unreadable for anything else."""
    try:
        return _ANSWERS.validate_python(loads(line))
    except (ValidationError, Refusal) as error:
        raise Unreadable from error


def result_of(plan_digest: str, given: GateResult) -> Result:
    """A gate's result, cut to what is stored: the findings that are not ok come first when there are too many."""
    chosen = given.findings
    if len(chosen) > MAX_FINDINGS:
        chosen = tuple(sorted(chosen, key=lambda one: one.ok)[:MAX_FINDINGS])
    found = [Found(ok=one.ok, says=one.says[:MAX_SAYS], facts=_facts(one.facts)) for one in chosen]
    return Result(plan_digest=plan_digest, verdict=given.verdict, summary=given.summary[:MAX_SAYS], findings=found)


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that are too large, or that JSON cannot hold, are left out and it is said."""
    try:
        return dict(facts) if len(canonical(dict(facts))) <= MAX_FACTS else {"left_out": "too large"}
    except (Refusal, TypeError):
        return {"left_out": "not JSON"}
