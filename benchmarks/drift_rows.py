"""The rows of the drift benchmark: Parquet files with columns such as models are asked with, and a window that drifted in
some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KINDS = ("normal", "skewed", "normal", "few", "heavy", "zeros", "normal", "missing", "text", "text")
"""What each column of ten is. Two in ten are texts."""


def write(path: Path, rows: int, columns: int, *, seed: int, shift: float = 0.0) -> None:
    """Writes a file; with a shift, every fifth column moved by so much of its own spread."""
    random = np.random.default_rng(seed)
    made = {f"{KINDS[n % 10]}_{n}": _column(KINDS[n % 10], rows, random, shift * (n % 5 == 0)) for n in range(columns)}
    pq.write_table(pa.table(made), path, compression="zstd", row_group_size=131_072)


def _column(kind: str, rows: int, random: np.random.Generator, shift: float) -> pa.Array:
    if kind == "text":
        weights = 1.0 / np.arange(1, 41) ** (1 + shift)
        return pa.array([f"category {n}" for n in range(40)]).take(pa.array(random.choice(40, rows, p=weights / weights.sum())))
    if kind == "few":
        return pa.array(random.integers(0, 12, rows).astype(np.float64))
    values = {
        "normal": lambda: random.normal(shift, 1, rows),
        "skewed": lambda: random.lognormal(shift, 1, rows),
        "heavy": lambda: random.standard_t(3, rows) + shift,
        "zeros": lambda: random.exponential(1, rows) * (random.random(rows) > 0.6),
        "missing": lambda: random.normal(shift, 1, rows),
    }[kind]()
    return pa.array(values, mask=random.random(rows) < 0.05 if kind == "missing" else None)
