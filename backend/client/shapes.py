"""Answers read into typed results: dataclasses filled from JSON by their annotations, and nothing else.

A field that the server has and this client does not know is passed over, so that an older client goes on working; one that is
missing and has no default is a `StrangeAnswer`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from backend.client.errors import StrangeAnswer

T = TypeVar("T")


def read(kind: type[T], told: Any) -> T:
    """`told` as a `kind`. StrangeAnswer where it is not one."""
    return _read(kind, told, kind.__name__)  # type: ignore[no-any-return]


def read_all(kind: type[T], told: Any) -> tuple[T, ...]:
    """A list of them."""
    if not isinstance(told, list):
        raise _strange(kind.__name__)
    return tuple(read(kind, one) for one in told)


def _read(kind: Any, told: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = [one for one in get_args(kind) if one is not type(None)]
        return None if told is None else _read(inner, told, where)
    if kind is Any or kind is object:
        return told
    if origin is tuple:
        return _tuple(get_args(kind), told, where)
    if origin is not None and issubclass(origin, Mapping):
        return {name: _read(get_args(kind)[1], one, where) for name, one in _object(told, where).items()}
    if kind is datetime:
        return _moment(told, where)
    if not is_dataclass(kind):
        return _plain(kind, told, where)
    return _record(kind, _named(kind, told, where) if isinstance(told, list) else _object(told, where), where)


def _record(kind: Any, told: Mapping[str, Any], where: str) -> Any:
    given = {}
    for field, annotation in _annotated(kind):
        if field.name in told:
            given[field.name] = _read(annotation, told[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise _strange(f"{where}.{field.name}")
    return kind(**given)


def _named(kind: Any, told: Sequence[Any], where: str) -> Mapping[str, Any]:
    """A record that is sent as the list of its values."""
    names = [field.name for field, _ in _annotated(kind)]
    if len(told) != len(names):
        raise _strange(where)
    return dict(zip(names, told, strict=True))


def _tuple(inner: tuple[Any, ...], told: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(told, list):
        raise _strange(where)
    if inner[-1] is Ellipsis:
        return tuple(_read(inner[0], one, where) for one in told)
    if len(told) != len(inner):
        raise _strange(where)
    return tuple(_read(kind, one, where) for kind, one in zip(inner, told, strict=True))


def _plain(kind: Any, told: Any, where: str) -> Any:
    if kind is float and isinstance(told, int) and not isinstance(told, bool):
        return float(told)
    if not isinstance(told, kind) or (kind is int and isinstance(told, bool)):
        raise _strange(where)
    return told


def _moment(told: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(told)
    except (TypeError, ValueError):
        pass
    raise _strange(where)


def _object(told: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise _strange(where)
    return told


@cache
def _annotated(kind: Any) -> tuple[tuple[Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in fields(kind))


def _strange(where: str) -> StrangeAnswer:
    return StrangeAnswer(
        f"The answer has no {where} that this client can read.", "Use a client of the same version as the server."
    )
