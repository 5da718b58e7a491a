"""Whether figures may be read at all: arms that did not get their units, units in two arms, and what stays of both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from backend.delivery.comparison import OF_OUTCOMES
from backend.experiments.comparing.counts import EVERYONE, Counts
from backend.experiments.comparing.figures import (
    Crossed,
    Mismatch,
)
from backend.experiments.statistics import mismatch


def _compared(found: Counts) -> list[int]:
    """Strata in which the control and another arm share the traffic."""
    control = found.asked.arms[0]
    return [
        at for at, one in enumerate(found.asked.strata) if one.shares.get(control) and sum(map(bool, one.shares.values())) > 1
    ]


def mismatches(found: Counts) -> list[Mismatch]:
    """Of units, and of units that were lost where outcomes are awaited; () where no two arms share the traffic."""
    rows = _compared(found)
    if not rows:
        return []
    shares = np.array([[found.asked.strata[at].shares.get(arm, 0) for arm in found.asked.arms] for at in rows], dtype=float)
    made = [_mismatch(found, "units", mismatch.ratio(found.new.T[rows], shares))]
    for one in found.asked.comparison.metrics:
        if one.kind in OF_OUTCOMES:
            cell = found.cells[found.of_metric[one.name][0], EVERYONE]
            done = (cell.n + cell.lost).T[rows]
            expected = np.where(done.sum(-1, keepdims=True) > 0, done, shares)
            made.append(_mismatch(found, one.name, mismatch.lost(cell.lost.T[rows], expected)))
    return made


def _mismatch(found: Counts, of: str, one: mismatch.Ratio) -> Mismatch:
    words = one.words if of == "units" else one.words.replace("got", f"lost (no outcome came, {of})", 1)
    return Mismatch(
        of=of,
        p=one.p,
        anytime_p=one.anytime_p,
        mismatch=one.mismatch,
        counts=dict(zip(found.asked.arms, one.counts, strict=True)),
        expected=dict(zip(found.asked.arms, one.expected, strict=True)),
        words=words,
    )


def crossed(found: Counts) -> Crossed:
    """Units that were seen in two arms of one stratum."""
    in_two = int(found.crossed.sum())
    told = mismatch.crossed(int(found.units.sum()) + in_two, in_two)
    return Crossed(units=told.units, crossed=told.crossed, invalid=told.invalid)


def facts(seen: Sequence[Mismatch], crossed: Crossed, before: Mapping[str, str], now: datetime) -> dict[str, str]:
    """A mismatch that was seen once stays, whatever the counts become."""
    new = {f"mismatch_{one.of}": now.isoformat() for one in seen if one.mismatch}
    return {**new, **before}


def unsound_words(seen: Sequence[Mismatch], crossed: Crossed, facts: Mapping[str, str]) -> tuple[str, ...]:
    """Why no figure may be read, as sentences; () where they may."""
    told = [
        one.words if one.mismatch else f"{one.words} At {facts[f'mismatch_{one.of}']} it was more than chance explains."
        for one in seen
        if f"mismatch_{one.of}" in facts
    ]
    if crossed.invalid:
        told.append(f"{crossed.crossed:,} of {crossed.units:,} units were seen in two arms: find out how they got there.")
    return tuple(told)
