"""Recorded answers: requests and their answers that travel inside a package, and how two answers are compared. Pure.

`probes.json` is {"schema": 1, "inputs": [{name: value}], "outputs": [{name: value}], "tolerance": absolute}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from backend.core.canonical import loads
from backend.core.errors import Refusal

PROBES = "probes.json"
MAX_PROBES_BYTES = 16 << 20


def parse_probes(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Inputs, outputs and absolute tolerance of the recorded answers. Refusal when they are not what they claim."""
    probes = loads(content)
    try:
        inputs, outputs, tolerance = list(probes["inputs"]), list(probes["outputs"]), float(probes["tolerance"])
        sound = len(inputs) == len(outputs) > 0 and 0 <= tolerance < math.inf
        sound = sound and all(isinstance(one, dict) for one in [*inputs, *outputs])
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Refusal(
            "The recorded answers of this package cannot be used: they are empty or malformed.",
            f"Register the version again with a sound {PROBES}.",
            code="bad-probes",
        )
    return inputs, outputs, tolerance


def difference(expected: Mapping[str, Any], got: Mapping[str, Any], tolerance: float) -> str:
    """The first difference between a recorded answer and a given one, as a sentence without a full stop; "" for none.

    Numbers agree within the absolute tolerance (NaN only with NaN), everything else exactly. Nested lists of one row are
    compared flat, so that a scalar and its one-element list are the same answer.
    """
    for name, value in expected.items():
        if name not in got:
            return f"{name} is missing"
        wanted, given = _flat(value), _flat(got[name])
        if len(wanted) != len(given):
            return f"{name} has {len(given)} value(s) instead of {len(wanted)}"
        for one, other in zip(wanted, given, strict=True):
            if not _agree(one, other, tolerance):
                return f"{name} is {other!r:.40} instead of {one!r:.40} (tolerance {tolerance:g})"
    return ""


def _agree(wanted: Any, given: Any, tolerance: float) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (wanted, given))
    if not numbers:
        return type(wanted) is type(given) and bool(wanted == given)
    if math.isnan(wanted) or math.isnan(given):
        return math.isnan(wanted) and math.isnan(given)
    return bool(wanted == given or abs(wanted - given) <= tolerance)


def _flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list | tuple) else [value]
