"""Ramps that every installation has."""

from __future__ import annotations

from collections.abc import Mapping

from backend.policy.rules import RampStep

_MINUTES = 60
TEMPLATES: Mapping[str, tuple[RampStep, ...]] = {
    "canary": tuple(RampStep(share=share, hold_seconds=10 * _MINUTES) for share in (100, 500, 2_500, 5_000)),
    "linear": tuple(RampStep(share=1_000 * step, hold_seconds=10 * _MINUTES) for step in range(1, 10)),
    "blue-green": (RampStep(share=0, shadow=True, hold_seconds=10 * _MINUTES, person=True),),
    "shadow-first": (
        RampStep(share=0, shadow=True, hold_seconds=30 * _MINUTES, person=True),
        *(RampStep(share=share, hold_seconds=10 * _MINUTES) for share in (100, 500, 2_500, 5_000)),
    ),
}
"""Ramps that every installation has, until somebody names one of its own so: a canary of 1, 5, 25 and 50 %, tenths, copies
until a person switches over at once, and copies before a canary."""
