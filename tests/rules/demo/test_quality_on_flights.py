"""Real flights: estimates hold where the world stays as it was, and are wrong in July, when thunderstorms come."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from backend.demo.delay_models import RECIPES, Samples
from backend.demo.flights import FEATURES, Flights
from scripts import quality_on_flights
from scripts.quality_on_flights import DOCUMENT, Checked, checked, days_of, measured, text, written


@pytest.fixture(scope="module")
def logistic(flights: Flights) -> Checked:
    """The logistic model, trained on one flight in ten, estimated by the end of March in July and November."""
    samples = Samples.split(flights.training_frame(rows=8_000), flights.training_frame((7,), rows=10))
    recipe = RECIPES[0]
    fitted = recipe.estimator(recipe.params).fit(samples.train[list(FEATURES)], samples.train["late"])
    whole = flights.table.to_pandas()
    march = whole[(whole["event_time"] >= pd.Timestamp(quality_on_flights.HELD_OUT_FROM)) & (whole["month"] == 3)]
    frames = (march, whole[whole["month"].isin([7, 11])])
    days = [days_of(frame, fitted.predict_proba(frame[list(FEATURES)])[:, 1]) for frame in frames]
    return checked(*days, rolling=False)


def test_estimates_hold_while_the_world_stays(logistic: Checked) -> None:
    november = logistic.months[11]
    assert [november[name].inside for name in ("positive_share", "log_loss")] == [True, True]
    assert abs(november["positive_share"].error) < 0.06


def test_they_are_wrong_in_july_and_say_so_afterwards(logistic: Checked) -> None:
    july = logistic.months[7]
    late, loss = july["positive_share"], july["log_loss"]
    assert late.realised.value > 0.3
    assert late.estimated.high < late.realised.value
    assert loss.estimated.high < loss.realised.value
    assert loss.error > 0.1
    assert loss.scaled > 3
    assert not late.inside


@pytest.mark.slow
def test_the_document_says_what_is_measured(flights_cache: Path) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert written(document, text(measured(flights_cache))) == document, "run scripts/quality_on_flights.py --write"
