"""The domain classifier: chance where nothing differs, certain where everything does, and never in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from backend.core.errors import ExternalFailure, Refusal
from backend.drift import domain
from backend.drift.domain import area_under_curve, told_apart
from tests.drift_data import letters, normal, table


def sample(seed: int, rows: int = 600, **instead: object) -> pa.Table:
    return table(
        {"x": normal(rows, seed), "y": normal(rows, seed + 50), "t": letters(rows, seed), "when": [1] * rows} | instead
    )


def test_what_is_alike_cannot_be_told_apart_and_what_differs_can() -> None:
    alike = told_apart(sample(1), sample(2))
    assert alike.low < 0.5 < alike.high
    assert alike.finding is None
    missing = pa.array(normal(600, 77), mask=np.arange(600) % 2 == 0)
    other = told_apart(sample(1), sample(3, y=missing, t=letters(600, 3, "abz")))
    assert other.low > 0.7
    assert {name for name, _ in other.columns[:2]} == {"y", "t"}
    assert other.finding is not None
    assert "(domain classifier on a sample)" in other.finding.words


def test_the_area_is_scikit_learns_and_its_interval_holds_the_truth() -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(100):
        positive, negative = random.normal(0.5, 1, 80).round(1), random.normal(0, 1, 120).round(1)
        auc, error = area_under_curve(positive, negative)
        assert auc == pytest.approx(roc_auc_score([1] * 80 + [0] * 120, np.concatenate([positive, negative])), abs=1e-12)
        held += abs(auc - 0.6382) < 1.96 * error  # the normal distribution function of 0.5 / sqrt(2)
    assert 89 <= held <= 100


def test_too_few_rows_other_columns_and_a_process_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="100 rows"):
        told_apart(sample(1, 99), sample(2))
    with pytest.raises(Refusal, match="no column in common"):
        told_apart(table({"a": normal(200)}), table({"b": normal(200)}))
    with pytest.raises(ExternalFailure, match="longer than"):
        told_apart(sample(1), sample(2), seconds=0.01)
    left = tmp_path / f"{domain._PREFIX}left"
    left.mkdir()
    os.utime(left, (0, 0))
    monkeypatch.setattr(domain, "_MODULE", "backend.drift.nowhere")
    with pytest.raises(ExternalFailure, match="ended with status"):
        told_apart(sample(1), sample(2), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == [], "neither its own rows are left there, nor those of a worker that was killed"
    assert "backend.drift.classifier" not in sys.modules
