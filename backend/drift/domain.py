"""The domain classifier: can a model tell the window's rows from the reference's? It sees what no single column shows.

If nothing tells them apart, the area under its curve (AUC) is 0.5. What it finds is a sample's answer and comes with its
interval; columns are named by how much it relies on them. The learning is done in a confined process of
its own (`classifier.py`).

Interval: DeLong, DeLong and Clarke-Pearson (1988), over rows that the models had not seen.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.core import bounded
from backend.core.bounded import Talk, Unreadable
from backend.core.errors import ExternalFailure, Refusal
from backend.core.scratch import folder as folder_of
from backend.drift.findings import Finding, figure
from backend.drift.values import Floats, quoted

SAMPLE, MOST_SAMPLE = 5_000, 10_000
"""Rows of each side."""
FEWEST = 100
MATERIAL = 0.6
"""An AUC that is told as a finding if its interval lies above; 0.5 is chance."""
TOP = 5
_SEED = 20130101
_SHUFFLES = 2
_SECONDS = 120.0
_MEMORY = 4 << 30
_MODULE, _ROWS = "backend.drift.classifier", "rows.arrow"
_ROOT = Path(__file__).resolve().parents[2]
_PREFIX = "countersign-domain-"
_LEFT_SECONDS = 3_600.0
"""A folder of rows of this age was left by a worker that was killed."""
_LABEL = "domain classifier on a sample"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Domain:
    """How well two samples can be told apart.

    Args:
        auc: area under the curve; 0.5 is chance, 1 is always.
        low, high: its 95 % interval.
        reference, current: rows of each sample.
        columns: those that it relies on most, with the AUC that is lost without them.
        label: what this is, wherever it is shown.
    """

    auc: float
    low: float
    high: float
    reference: int
    current: int
    columns: tuple[tuple[str, float], ...]
    label: str = _LABEL

    @property
    def finding(self) -> Finding | None:
        """What is told of it; None where the samples look alike."""
        return self.finding_above()

    def finding_above(self, above: float = MATERIAL, usual: float | None = None) -> Finding | None:
        """What is told of it; None where its interval does not lie above, or windows of the reference differ as much.

        Args:
            above: an AUC.
            usual: how well windows of the reference are told from the rest of it; None where nobody knows.
        """
        if self.low <= max(above, usual or 0.0):
            return None
        names = ", ".join(quoted(name) for name, _ in self.columns[:3])
        by = f", most of all by {names}" if names else ""
        like = f"; windows of the reference reach {figure(usual)}" if usual is not None else ""
        words = (
            f"Rows look different as a whole ({self.label}): it tells them from the reference's with an AUC of "
            f"{figure(self.auc)} ({figure(self.low)} to {figure(self.high)}; 0.5 is chance{like}){by}."
        )
        return Finding("drift", "warning" if self.low < _LARGE else "critical", None, words, {"auc": self.auc, "low": self.low})


def told_apart(
    reference: pa.Table,
    current: pa.Table,
    *,
    sample: int = SAMPLE,
    seed: int = _SEED,
    seconds: float = _SECONDS,
    tick: Callable[[], bool] = lambda: True,
    scratch: Path | None = None,
) -> Domain:
    """Learns to tell two tables apart by the columns that both have.

    Args:
        sample: rows of each side, at most `MOST_SAMPLE`.
        tick: called about five times a second while the process works; False ends it, and so does an exception, which goes on.
        scratch: a folder of ours alone, in which the rows lie meanwhile; by default the system's for such.

    Raises Refusal `too-few-rows` and `no-common-column`; ExternalFailure where the process fails or takes too long.
    """
    if min(reference.num_rows, current.num_rows) < FEWEST:
        raise Refusal(f"A domain classifier needs {FEWEST} rows of each side.", "Take a longer window.", code="too-few-rows")
    names = [name for name in reference.column_names if name in current.column_names and _usable(reference, current, name)]
    if not names:
        raise Refusal("The two sides have no column in common.", "Compare rows of the same model.", code="no-common-column")
    sides = [_sampled(one.select(names), min(sample, MOST_SAMPLE), seed) for one in (reference, current)]
    answer = _asked(_joined(sides), seed, seconds, tick, scratch)
    count = sides[0].num_rows
    chances = np.asarray(answer.chances, dtype=np.float64)
    if len(chances) != count + sides[1].num_rows or len(answer.drops) != len(names):
        raise ExternalFailure("The domain classifier", _TROUBLES["unreadable"], retryable=False)
    auc, error = area_under_curve(chances[count:], chances[:count])
    order = sorted(zip(names, answer.drops, strict=True), key=lambda one: (-one[1], one[0]))[:TOP]
    low, high = max(auc - _WIDE * error, 0.0), min(auc + _WIDE * error, 1.0)
    return Domain(auc, low, high, count, sides[1].num_rows, tuple((name, float(drop)) for name, drop in order if drop > 0))


def area_under_curve(positive: Floats, negative: Floats) -> tuple[float, float]:
    """The AUC of scores of both sides, and its standard error; ties count half."""
    above, below = _placements(positive, negative), 1 - _placements(negative, positive)
    error = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    return float(above.mean()), error


def _placements(of: Floats, among: Floats) -> Floats:
    """For each value, the share of the others that lie below it."""
    ordered = np.sort(among)
    twice = np.searchsorted(ordered, of, "left") + np.searchsorted(ordered, of, "right")
    return np.asarray(twice / (2 * len(among)), dtype=np.float64)


def _usable(reference: pa.Table, current: pa.Table, name: str) -> bool:
    return _plain(reference[name].type) == _plain(current[name].type) is not None


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """As what a column of a type is learned from; None for those that are left out."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary, pa.types.is_boolean)
    return pa.string() if any(check(kind) for check in checks) else None


def _sampled(table: pa.Table, most: int, seed: int) -> pa.Table:
    """Some of the rows, drawn evenly."""
    if table.num_rows > most:
        chosen = np.sort(np.random.default_rng(seed).choice(table.num_rows, most, replace=False))
        table = table.take(pa.array(chosen))
    return pa.table({name: pc.cast(table[name], _plain(table[name].type), safe=False) for name in table.column_names})


def _joined(sides: list[pa.Table]) -> pa.Table:
    both = pa.concat_tables(sides)
    label = pa.array([0] * sides[0].num_rows + [1] * sides[1].num_rows, pa.int8())
    return both.rename_columns([str(place) for place in range(both.num_columns)]).append_column("current", label)


def _asked(table: pa.Table, seed: int, seconds: float, tick: Callable[[], bool], scratch: Path | None) -> _Answer:
    with folder_of(scratch, _PREFIX, left_seconds=_LEFT_SECONDS) as made:
        folder = str(made)
        with pa.OSFile(str(made / _ROWS), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        order = {
            "folder": folder,
            "seed": seed,
            "shuffles": _SHUFFLES,
            "cpu_seconds": int(seconds) + 1,
            "address_space": _MEMORY,
        }
        talk = Talk(order=json.dumps(order).encode() + b"\n", read=_read, is_last=lambda _: True, tick=lambda _: tick())
        command = (sys.executable, "-P", "-m", _MODULE)
        ended = bounded.run(command, _environment(folder), talk, seconds=seconds, folder=made)
    if ended.last is None:
        words = _TROUBLES.get(ended.trouble, _TROUBLES["crashed"]).format(seconds=seconds, status=ended.status)
        log.warning("domain_classifier.trouble", trouble=ended.trouble, status=ended.status, stderr=ended.tail)
        raise ExternalFailure("The domain classifier", words, retryable=ended.trouble == "too_long")
    return ended.last


def _read(line: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(line)
    except ValidationError as error:
        raise Unreadable from error


def _environment(folder: str) -> dict[str, str]:
    """All that the process is told by its environment: nothing of ours. Threads that wait for each other on a busy machine took
    a hundred times as long as one by itself."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "PYTHONPATH": str(_ROOT),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": folder,
        "TMPDIR": folder,
        **one_thread,
    }


class _Answer(BaseModel):
    """What the process answers, read as if it were hostile."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    chances: list[Annotated[float, Field(ge=0, le=1)]]
    drops: list[Annotated[float, Field(ge=-1, le=1)]]


_TROUBLES = {
    "too_long": "took longer than {seconds:.0f} s",
    "too_much_cpu": "used more processor time than it may",
    "killed": "was killed, perhaps because memory ran out",
    "crashed": "ended with status {status}",
    "unreadable": "answered what cannot be read",
    "stopped": "was stopped",
}
_WIDE = 1.959963984540054
_LARGE = 0.75
