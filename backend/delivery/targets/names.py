"""The registry of targets: one line a runtime. An unknown name is an error, never a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.delivery.targets.memory import MemoryTarget
from backend.delivery.targets.port import Access, Target
from backend.delivery.targets.triton import TritonTarget

TARGETS: dict[str, type[Target]] = {
    MemoryTarget.kind: MemoryTarget,
    TritonTarget.kind: TritonTarget,
}


def build(kind: str, settings: Mapping[str, Any], credential: str | None, guard: Guard, *, name: str = "") -> Target:
    """The adapter for one server; nothing is called yet.

    Args:
        kind: a key of TARGETS.
        settings: the adapter's own Settings as JSON.
        credential: the opened secret, if the server needs one.
        name: the user's name for the server, for messages.
    """
    adapter = target_type(kind)
    try:
        return adapter.connect(settings, Access(name or kind, credential, guard))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise Refusal(
            f"The settings of this {kind} server are wrong: {where}: {first['msg'].removeprefix('Value error, ')}.",
            "Correct that field and try again.",
            code="bad-setting",
            field=where,
        ) from error


def target_type(kind: str) -> type[Target]:
    """The adapter's class, for its abilities and its form. Refusal for an unknown kind."""
    if kind not in TARGETS:
        raise Refusal(
            f"{kind!r} is not a kind of server that Countersign speaks to.",
            f"Choose one of: {', '.join(sorted(TARGETS))}.",
            code="unknown-target",
        )
    return TARGETS[kind]
