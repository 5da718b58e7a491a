"""What an artifact's own papers say of it: signature and input example from `MLmodel`, libraries from `requirements.txt`.

Everything is read as bounded text. YAML becomes plain mappings, lists and strings, built here from the parser's events: no
tags, no anchors (a few lines of which could stand for gigabytes), no numbers or dates to guess. Source of the shapes:
https://mlflow.org/docs/latest/ml/model/ and /signatures/, MLflow 3.17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from backend.core.canonical import loads
from backend.core.errors import Refusal

MLMODEL = "MLmodel"
REQUIREMENTS = "requirements.txt"
_TEXT_BYTES = 1 << 20
_MAX_EVENTS = 200_000
_MAX_DEPTH = 20
_MAX_COLUMNS = 10_000
_MAX_REQUIREMENTS = 2000
_LONGEST_LINE = 1000
_SIDES = ("inputs", "outputs", "params")
_PIN = r"[=<>!~]=?=?\s*[A-Za-z0-9.*+!_-]+[\s,]*"
_REQUIREMENT = re.compile(rf"([A-Za-z0-9][A-Za-z0-9._-]{{0,127}})\s*(?:\[[^\]]*\])?\s*((?:{_PIN})*)")


@dataclass(frozen=True)
class Papers:
    """What the files say.

    `signature` is {"inputs": [...], "outputs": [...], "params": [...]} of {"name", "type", "shape"?, "required"}, or None.
    `dependencies` are names with their pins, sorted. `named_pickles` are the files that MLmodel itself calls pickled; an
    MLmodel that cannot be read is one of them, for it may name others.
    """

    signature: Mapping[str, Any] | None = None
    dependencies: tuple[str, ...] = ()
    input_example: str | None = None
    named_pickles: tuple[str, ...] = ()


def read_papers(folder: Path) -> Papers:
    """Reads the papers of an unpacked artifact. Papers that are absent or broken leave their part empty."""
    described = _described(folder / MLMODEL)
    if described is None:
        return Papers(dependencies=_dependencies(_text(folder / REQUIREMENTS)), named_pickles=(MLMODEL,))
    example = _plain(_text_at(described, "saved_input_example_info", "artifact_path") or "")
    return Papers(
        signature=_signature(described.get("signature")),
        dependencies=_dependencies(_text(folder / REQUIREMENTS)),
        input_example=example if (folder / example).is_file() else None,
        named_pickles=tuple(sorted(set(_named_pickles(described.get("flavors"))))),
    )


def parse_yaml(text: str) -> Any:
    """Mappings, lists and strings. Refusal `bad-yaml` for anchors, tags, repeated keys, depth and length."""
    try:
        return _Builder(text).document()
    except (yaml.YAMLError, ValueError, StopIteration) as error:
        raise _bad_yaml("is not YAML that can be read here") from error


class _Builder:
    """Builds values from libyaml's events, within bounds."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
        self._count = 0

    def document(self) -> Any:
        event = self._next()
        while not isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.StreamEndEvent):
                return None
            event = self._next()
        return self._value(event, 0)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise _bad_yaml("is nested too deeply")
        if isinstance(event, yaml.ScalarEvent):
            return clean(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(one, depth + 1) for one in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in self._until(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.value in found:
                raise _bad_yaml("has a key that is repeated or is no text")
            found[clean(key.value)] = self._value(self._next(), depth + 1)
        return found

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := self._next(), end):
            yield event

    def _next(self) -> Any:
        self._count += 1
        event = next(self._events)
        if self._count > _MAX_EVENTS:
            raise _bad_yaml("is too long")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _bad_yaml("uses anchors")
        return event


def clean(text: str) -> str:
    """Text that every database stores: no NUL, no lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _bad_yaml(why: str) -> Refusal:
    return Refusal(f"The file {why}.", "Log the model again with an ordinary MLmodel file.", code="bad-yaml")


def _described(path: Path) -> Mapping[str, Any] | None:
    """MLmodel as a mapping: empty when there is none, None when it cannot be read."""
    if not path.is_file():
        return {}
    try:
        found = parse_yaml(_text(path) or "")
    except Refusal:
        return None
    return found if isinstance(found, dict) else None


def _text(path: Path) -> str:
    """A text file of at most 1 MiB, else nothing."""
    if not path.is_file() or path.stat().st_size > _TEXT_BYTES:
        return ""
    return path.read_bytes().decode("utf-8", "replace")


def _text_at(value: Any, *keys: str) -> str | None:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


def _plain(path: str) -> str:
    """The last part: an example lies beside MLmodel, and nothing else is looked at."""
    return clean(path.rpartition("/")[2][:255]) or "."


def _signature(described: Any) -> dict[str, Any] | None:
    if not isinstance(described, dict):
        return None
    found = {side: _columns(described.get(side)) for side in _SIDES}
    return found if any(found.values()) else None


def _columns(text: Any) -> list[dict[str, Any]]:
    """One side of a signature: JSON inside the YAML."""
    try:
        columns = loads(text) if isinstance(text, str) and text not in ("", "null", "~") else []
    except Refusal:
        return []
    if not isinstance(columns, list) or len(columns) > _MAX_COLUMNS:
        return []
    return [_column(one) for one in columns if isinstance(one, dict)]


def _column(spec: Mapping[str, Any]) -> dict[str, Any]:
    tensor = spec.get("tensor-spec")
    inner: Mapping[str, Any] = tensor if isinstance(tensor, dict) else spec
    shape = inner.get("shape")
    required = spec.get("required") is not False and "default" not in spec
    column = {"name": _word(spec.get("name")), "type": _type(spec, 0), "required": required}
    sizes = isinstance(shape, list) and len(shape) <= 64 and all(isinstance(one, int) and abs(one) < 2**53 for one in shape)
    return {**column, "shape": shape} if sizes else column


def _type(spec: Any, depth: int) -> str:
    """A type in a few words: `double`, `tensor(float32)`, `array(long)`, `object(a: string)`."""
    if not isinstance(spec, dict) or depth > 4:
        return "any"
    name = _word(spec.get("type")) or "any"
    if isinstance(spec.get("tensor-spec"), dict):
        return f"tensor({_word(spec['tensor-spec'].get('dtype'))})"
    if name in ("array", "map"):
        return f"{name}({_type(spec.get('items', spec.get('values')), depth + 1)})"
    properties = spec.get("properties")
    if isinstance(properties, dict):
        inside = (f"{_word(key)}: {_type(one, depth + 1)}" for key, one in list(properties.items())[:50])
        return f"{name}({', '.join(inside)})"
    return name


def _word(value: Any) -> str:
    return clean(value[:255]) if isinstance(value, str) else ""


def _dependencies(text: str) -> tuple[str, ...]:
    """Names with their pins; of options, addresses and paths nothing, for they may hold secrets."""
    found = set()
    for line in text.splitlines()[:_MAX_REQUIREMENTS]:
        match = _REQUIREMENT.match(line[:_LONGEST_LINE].strip())
        if match and ("://" not in line or line[match.end() :].lstrip().startswith("@")):
            pins = re.sub(r"\s", "", match[2]).rstrip(",")
            found.add(f"{match[1]}{pins}"[:255])
    return tuple(sorted(found, key=str.casefold))


def _named_pickles(flavors: Any) -> Iterator[str]:
    """Files that a flavour loads with pickle or cloudpickle, whatever they are called."""
    for flavor in flavors.values() if isinstance(flavors, dict) else ():
        for key in ("python_model", "pickled_model"):
            path = _text_at(flavor, key)
            if path and not path.endswith(".py") and _text_at(flavor, "serialization_format") != "skops":
                yield path
