"""Profiles and counts as bytes that a database row or a package store may keep, and back. `packed.py` says how they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from backend.drift.counts import EXTRAS, SUMS, UNLISTED, WHOLE, Counts, Others
from backend.drift.layout import CATEGORIES, CategoryCells, Cells, Feature, Layout, NumberCells
from backend.drift.packed import Packing, Unpacked, bad
from backend.drift.profile import MOST_COLUMNS, Profile
from backend.drift.values import KINDS, LONGEST_TEXT, PRECISIONS, ROLES, Column, Key, Kind
from backend.drift.variation import KEPT, LENGTHS, MOST_BLOCKS, Variation

MOST_EDGES = 4_096
_LONGEST_NAME = 1_024
_LONGEST_VALUE = LONGEST_TEXT + 17
T = TypeVar("T")


def profile_bytes(profile: Profile) -> bytes:
    """A profile as bytes; the same profile always gives the same bytes."""
    packing = Packing()
    return packing.bytes(
        {
            "kind": "profile",
            "features": [_feature_document(one, packing) for one in profile.layout.features],
            "counts": _counts_document(profile.counts, packing),
            "variations": [_variation_document(one, packing) for one in profile.variations],
        }
    )


def profile_from(content: bytes) -> Profile:
    """The profile in some bytes. Refusal `bad-profile` for anything that `profile_bytes` would not have written."""
    unpacked = _opened(content, "profile")
    features = tuple(_feature(one, unpacked) for one in _list(unpacked.document.get("features"), MOST_COLUMNS))
    layout = Layout(features)
    if not features or len(layout.places) != len(features):
        raise bad("it names no column, or one twice")
    counts = _counts(unpacked.document.get("counts"), layout, unpacked)
    told = _list(unpacked.document.get("variations"), len(LENGTHS))
    return Profile(layout, counts, tuple(_variation(one, len(features), unpacked) for one in told))


def counts_bytes(counts: Counts) -> bytes:
    """Counts as bytes."""
    packing = Packing()
    return packing.bytes({"kind": "counts", "counts": _counts_document(counts, packing)})


def counts_from(content: bytes, layout: Layout) -> Counts:
    """The counts in some bytes. Refusal `bad-profile`, also where they were made in the cells of another layout."""
    unpacked = _opened(content, "counts")
    return _counts(unpacked.document.get("counts"), layout, unpacked)


def _opened(content: bytes, kind: str) -> Unpacked:
    unpacked = Unpacked(content)
    if unpacked.document.get("kind") != kind:
        raise bad(f"it is no {kind}")
    return unpacked


def _feature_document(feature: Feature, packing: Packing) -> dict[str, Any]:
    column, cells = feature.column, feature.cells
    document: dict[str, Any] = {**column.key._asdict(), "kind": column.kind, "type": column.type, "precision": column.precision}
    if isinstance(cells, NumberCells):
        facts = np.array([cells.minimum, cells.maximum, cells.centre, cells.scale])
        document |= {"size": len(cells.edges), "edges": packing.put(cells.edges), "facts": packing.put(facts)}
        document |= {"steps": cells.steps, "coarse": packing.put(cells.coarse)}
    elif cells is not None:
        document["values"] = list(cells.values)
    return document


def _feature(told: object, unpacked: Unpacked) -> Feature:
    one = _object(told)
    kind, precision = _among(one.get("kind"), KINDS), _among(one.get("precision"), PRECISIONS)
    column = Column(_key(one.get("role"), one.get("name")), kind, _text(one.get("type"), _LONGEST_NAME), precision)
    if kind == "other":
        return Feature(column, None)
    return Feature(column, _number_cells(one, column, unpacked) if kind == "number" else _category_cells(one))


def _number_cells(one: Mapping[str, Any], column: Column, unpacked: Unpacked) -> Cells:
    size = _whole(one.get("size"), MOST_EDGES)
    edges, facts = unpacked.floats(one.get("edges"), size), unpacked.floats(one.get("facts"), 4)
    minimum, maximum, centre, scale = facts.tolist()
    if not np.isfinite(edges).all() or (edges[1:] <= edges[:-1]).any():
        raise bad("edges do not rise")
    if not (np.isfinite([centre, scale]).all() and scale > 0) or type(one.get("steps")) is not bool:
        raise bad("a scale is not positive")
    if size and not edges[0] <= minimum <= maximum <= edges[-1]:
        raise bad("a range is outside its edges")
    coarse = unpacked.whole(one.get("coarse"), size + 1)
    if coarse.max() > size or not np.array_equal(np.unique(coarse), np.arange(coarse.max() + 1)):
        raise bad("groups of cells are not numbered")
    return NumberCells(edges, minimum, maximum, centre, scale, column.precision, one["steps"], coarse)


def _category_cells(one: Mapping[str, Any]) -> Cells:
    values = tuple(_text(value, _LONGEST_VALUE) for value in _list(one.get("values"), CATEGORIES))
    if len(set(values)) != len(values):
        raise bad("a category comes twice")
    return CategoryCells(values)


def _counts_document(counts: Counts, packing: Packing) -> dict[str, Any]:
    return {
        "layout": counts.layout,
        "rows": counts.rows,
        "cells": packing.put(counts.cells),
        "whole": packing.put(counts.whole),
        "range": packing.put(np.stack([counts.low, counts.high])),
        "sums": packing.put(counts.sums),
        "unlisted": [[*key, sorted(found.items())] for key, found in sorted(counts.unlisted.items())],
        "mistyped": _others_document(counts.mistyped),
        "extra": _others_document(counts.extra),
    }


def _counts(told: object, layout: Layout, unpacked: Unpacked) -> Counts:
    one, columns = _object(told), len(layout.features)
    if one.get("layout") != layout.digest:
        raise bad("it was counted in the cells of another reference")
    low, high = unpacked.floats(one.get("range"), 2 * columns).reshape(2, columns)
    sums = unpacked.floats(one.get("sums"), columns * len(SUMS)).reshape(columns, len(SUMS))
    whole = unpacked.whole(one.get("whole"), columns * len(WHOLE)).reshape(columns, len(WHOLE))
    if np.isnan(low).any() or np.isnan(high).any() or np.isnan(sums).any():
        raise bad("a sum or range is no number")
    return Counts(
        layout=layout.digest,
        rows=_whole(one.get("rows"), 2**53),
        cells=unpacked.whole(one.get("cells"), layout.size),
        whole=whole,
        low=low,
        high=high,
        sums=sums,
        unlisted=dict(_unlisted(each) for each in _list(one.get("unlisted"), columns)),
        mistyped=_others(one.get("mistyped"), columns * len(KINDS)),
        extra=_others(one.get("extra"), EXTRAS),
    )


def _unlisted(told: object) -> tuple[Key, Mapping[str, int]]:
    role, name, found = _tuple(told, 3)
    pairs = [_tuple(one, 2) for one in _list(found, UNLISTED)]
    return _key(role, name), {_text(value, _LONGEST_VALUE): _whole(count, 2**53) for value, count in pairs}


def _others_document(others: Others) -> list[list[object]]:
    return [[*key, kind, rows] for (key, kind), rows in sorted(others.items())]


def _others(told: object, most: int) -> Others:
    found: dict[tuple[Key, Kind], int] = {}
    for one in _list(told, most):
        role, name, kind, rows = _tuple(one, 4)
        found[_key(role, name), _among(kind, KINDS)] = _whole(rows, 2**53)
    return found


def _variation_document(one: Variation, packing: Packing) -> dict[str, Any]:
    return {"hours": one.hours, "blocks": one.kept.shape[-1], "kept": packing.put(one.kept, "<f4")}


def _variation(told: object, columns: int, unpacked: Unpacked) -> Variation:
    one = _object(told)
    blocks = _whole(one.get("blocks"), MOST_BLOCKS)
    kept = unpacked.floats(one.get("kept"), columns * len(KEPT) * blocks).reshape(columns, len(KEPT), blocks)
    if (kept < 0).any():
        raise bad("a score is negative")
    return Variation(_among(one.get("hours"), LENGTHS), kept)


def _key(role: object, name: object) -> Key:
    return Key(_among(role, ROLES), _text(name, _LONGEST_NAME))


def _among(value: object, known: Iterable[T]) -> T:
    for one in known:
        if type(value) is type(one) and value == one:
            return one
    raise bad("it has a word that is none of ours")


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise bad("a part is no object")
    return value


def _list(value: object, most: int) -> Sequence[object]:
    if not isinstance(value, list) or len(value) > most:
        raise bad("a list is missing or too long")
    return value


def _tuple(value: object, length: int) -> Sequence[Any]:
    found = _list(value, length)
    if len(found) != length:
        raise bad("a row is too short")
    return found


def _text(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise bad("a text is missing or too long")
    return value


def _whole(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise bad("a number is missing or out of its range")
    return value
