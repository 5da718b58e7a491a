"""Which credentials files refer to, for whoever reads them where `apply` runs: a machine that may have no backend at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backend.blueprints.text import Source, documents


def needs(sources: Iterable[Source]) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """(kind, name) -> {"fromEnv": ...} or {"fromFile": ...}. What is wrong with the files is said by whoever plans them."""
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for document in documents(sources):
        kind, name = _at(document.value, "kind"), _at(document.value, "metadata", "name")
        refers = {where: _at(document.value, "spec", "credential", where) for where in ("fromEnv", "fromFile")}
        if told := {where: value for where, value in refers.items() if isinstance(value, str)}:
            found[(str(kind), str(name))] = told
    return found


def _at(value: Any, *path: str) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
