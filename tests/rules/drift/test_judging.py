"""The gate's findings each in their words, thresholds that hold what they promise, one broken column that costs only itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from backend.drift import gate, judging
from backend.drift.discovery import adjusted, discoveries, pace
from backend.drift.findings import figure, percent
from backend.drift.judging import judged
from backend.drift.profile import Profile
from backend.drift.thresholds import Thresholds, chance_of, size_class, value_at
from backend.drift.values import Key, quoted
from tests.drift_data import counts_of, kinds, letters, normal, only, profile_of

ROWS = 5_000
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of({**window(ROWS, 1), "p": normal(ROWS, 9)}, prediction="p")


def window(rows: int, seed: int, **instead: Any) -> dict[str, Any]:
    columns = {
        "x": normal(rows, seed, 50, 10),
        "y": normal(rows, seed + 100, 5, 1),
        "t": letters(rows, seed, "abcd"),
        "u": letters(rows, seed + 1, "mno"),
    }
    return {name: value for name, value in {**columns, **instead}.items() if value is not None}


def looked_at(profile: Profile, columns: dict[str, Any]) -> judging.Judgement:
    rows = len(next(iter(columns.values()), []))
    return judged(profile, counts_of(profile, {**columns, "p": normal(rows, 10)}, prediction="p"))


def test_a_window_like_the_reference_has_no_findings(profile: Profile) -> None:
    found = looked_at(profile, window(1_000, 2))
    assert found.findings == ()
    assert [column.key.name for column in found.columns] == ["x", "y", "t", "u", "prediction"]
    assert all(column.scores is not None and column.thresholds for column in found.columns)


def gone(rows: int, share: float) -> Any:
    values = normal(rows, 2, 50, 10)
    return pa.array(values, mask=np.arange(rows) < share * rows)


def at(rows: int, places: int, value: float) -> Any:
    values = normal(rows, 2, 50, 10)
    values[:places] = value
    return values


CASES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"x": None}, "missing-column", "critical", "`x` is missing: none of the 1,000 rows has it."),
    ({"z": normal(1_000)}, "extra-column", "notice", "`z` is sent (1,000 rows, number), but the reference has no such column."),
    (
        {"x": letters(1_000)},
        "type-changed",
        "critical",
        "`x` changed its type: the reference has number, this window also text (1,000 rows).",
    ),
    ({"x": gone(1_000, 0.5)}, "nulls", "warning", "50 % of the rows have no `x`, against 0 % in the reference."),
    ({"x": gone(1_000, 1)}, "nulls", "critical", "100 % of the rows have no `x`, against 0 % in the reference."),
    ({"x": at(1_000, 300, np.nan)}, "nulls", "warning", "30 % of the rows have no `x`, against 0 % in the reference."),
    (
        {"x": at(1_000, 3, -np.inf)},
        "infinities",
        "warning",
        "`x` is infinite in 3 rows (0.3 %; 0 above, 3 below), against 0 % in the reference: they are in no score.",
    ),
    ({"x": at(1_000, 20, 500.0)}, "range", "warning", "`x` leaves its range in 20 rows (2 %): "),
    ({"x": at(1_000, 2, 500.0)}, "range", "notice", "`x` leaves its range in 2 rows (0.2 %): "),
    (
        {"t": letters(1_000, 2, "abcde")},
        "new-categories",
        "warning",
        "`t` has values that the reference never had, in ",
    ),
    ({"x": np.full(1_000, 50.0)}, "frozen", "critical", "`x` is frozen: all 1,000 values are 50, as are "),
    ({"t": ["a"] * 1_000}, "frozen", "critical", "`t` is frozen: all 1,000 values are the same, as are "),
    ({"x": normal(1_000, 2, 60, 10)}, "drift", "critical", "`x` drifted: Wasserstein 0.9"),
    ({"t": letters(1_000, 2, "abcd", [0.7, 0.1, 0.1, 0.1])}, "drift", "critical", "`t` drifted: Jensen-Shannon 0."),
    (
        {"t": letters(1_000, 2, "mno"), "u": letters(1_000, 2, "abcd")},
        "swapped",
        "warning",
        "`t` and `u` look as if they had changed places: each lies where the other one lay.",
    ),
    ({"x": normal(1_000, 2, 5, 1), "y": normal(1_000, 2, 50, 10)}, "swapped", "warning", "`x` and `y` look as if"),
    (
        {"x": normal(1_000, 2, 50, 10) * 1.609344},
        "rescaled",
        "notice",
        "`x` looks like miles told in kilometres: as if every value were multiplied by 1.61.",
    ),
    (
        {"x": (normal(1_000, 2, 50, 10) - 32) / 1.8},
        "rescaled",
        "notice",
        "`x` looks like degrees Fahrenheit told in Celsius: as if every value were multiplied by 0.556 and 17.8 taken off.",
    ),
]


@pytest.mark.parametrize(
    ("instead", "kind", "severity", "words"), CASES, ids=[f"{kind}-{n}" for n, (_, kind, *_) in enumerate(CASES)]
)
def test_each_fault_is_found_in_its_own_words(
    profile: Profile, instead: dict[str, Any], kind: str, severity: str, words: str
) -> None:
    found = looked_at(profile, window(1_000, 2, **instead))
    (one,) = (each for each in found.findings if each.kind == kind)
    assert (one.severity, one.words[: len(words)]) == (severity, words)
    untouched = {"x", "y", "t", "u"} - instead.keys()
    assert not [each for each in found.findings if each.column and each.column.name in untouched]
    scored = {column.key.name: column.scores for column in found.columns}
    assert all(scored[name] is not None for name in untouched), "the others are scored all the same"


def test_a_unit_is_guessed_among_those_that_the_feature_s_name_allows() -> None:
    told = {}
    for name in ("temp", "dewPoint_celsius", "weight", "x"):
        profile = profile_of({name: normal(4_000, 1, 37.9, 10.0)})
        found = judged(profile, counts_of(profile, {name: normal(1_000, 2, 37.9, 10.0) * 0.45359237}))
        told[name] = [one.words.split(": ")[0] for one in found.findings if one.kind == "rescaled"]
    assert told == {
        "temp": [], "dewPoint_celsius": [],
        "weight": ["`weight` looks like pounds told in kilograms"], "x": ["`x` looks like pounds told in kilograms"],
    }, "a cold winter is none of kilograms"  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "spread"),
    [(59.9, 10.0), (61.0, 9.0), (83.5, 10.0), (78.8, 5.0), (27.9, 10.0), (100.2, 10.0), (120.0, 9.0)],
    ids=str,
)
def test_values_that_lie_elsewhere_and_as_wide_as_before_are_in_no_other_unit(mean: float, spread: float) -> None:
    profile = profile_of({"x": normal(4_000, 1, 37.9, 10.0)})
    found = judged(profile, counts_of(profile, {"x": normal(1_000, 2, mean, spread)}))
    assert kinds(found, "x")[0] == "drift"
    assert "rescaled" not in kinds(found, "x"), "a plain shift says as much"


def test_a_guess_alarms_nobody_and_stands_beside_what_does(profile: Profile) -> None:
    found = looked_at(profile, window(1_000, 2, x=normal(1_000, 2, 50, 10) * 1.609344))
    assert "rescaled" not in {one.kind for one in found.alarms}
    guess = "It looks like miles told in kilometres: as if every value were multiplied by 1.61."
    assert only(found, "drift").words.endswith(guess)
    assert only(found, "drift").facts["guess"] == guess


def test_numbers_that_differ_are_told_apart() -> None:
    profile = profile_of({"x": np.full(4_000, 5.0)})
    found = judged(profile, counts_of(profile, {"x": np.full(1_000, 5.0 + 1e-9)}))
    assert "its mean went from 5 to 5.000000001." in only(found, "drift").words
    assert ": 5.000000001 to 5.000000001, in the reference 5 to 5." in only(found, "range").words


def test_an_empty_window_says_so_and_nothing_else(profile: Profile) -> None:
    found = judged(profile, counts_of(profile, {"x": pa.array([], pa.float64())}))
    assert kinds(found) == ["empty-window"]
    assert [column.scores for column in found.columns] == [None] * 5


def test_a_tiny_window_is_scored_and_called_tiny(profile: Profile) -> None:
    found = looked_at(profile, window(12, 2))
    assert kinds(found) == ["tiny-window"]
    assert "only 12 rows" in found.findings[0].words
    assert found.columns[0].scores is not None
    assert "drift" in kinds(looked_at(profile, window(40, 2, x=normal(40, 2, 90, 10))), "x")


def test_a_reference_without_values_is_told(profile: Profile) -> None:
    empty = profile_of({"x": pa.nulls(100, pa.float64()), "y": normal(100)})
    found = judged(empty, counts_of(empty, {"x": normal(1_000), "y": normal(1_000, 3)}))
    assert only(found, "empty-reference").column == Key("feature", "x")
    assert found.columns[0].scores is None
    assert found.columns[1].scores is not None


def test_times_and_nested_columns_are_told_and_not_scored() -> None:
    columns = {"x": normal(500), "when": pa.array([START] * 500), "list": pa.array([[1]] * 500)}
    profile = profile_of(columns)
    found = judged(profile, counts_of(profile, columns))
    assert kinds(found) == ["uncounted", "uncounted"]
    assert "timestamp" in found.findings[1].words


def test_a_defect_in_one_column_is_told_and_costs_only_that_column(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(looked: gate.Looked) -> None:
        if looked.feature.key.name == "x":
            raise ZeroDivisionError

    monkeypatch.setattr(gate, "CHECKS", (broken, *gate.CHECKS))
    found = looked_at(profile, window(1_000, 2, y=normal(1_000, 2, 9, 1)))
    assert kinds(found, "x") == ["failed"]
    assert "ZeroDivisionError" in only(found, "failed").words
    assert "drift" in kinds(found, "y")

    def unscored(feature: Any, *_: Any) -> None:
        raise FloatingPointError

    monkeypatch.setattr(judging, "scored", unscored)
    assert kinds(looked_at(profile, window(1_000, 2))).count("failed") == 6


def test_the_prediction_drifts_in_words_of_its_own(profile: Profile) -> None:
    found = judged(profile, counts_of(profile, {**window(1_000, 2), "p": normal(1_000, 3, 1)}, prediction="p"))
    assert only(found, "prediction-drift").words.startswith("The prediction drifted: ")


def test_the_prediction_is_spoken_of_in_whole_sentences(profile: Profile) -> None:
    found = judged(profile, counts_of(profile, window(1_000, 2)))
    assert only(found, "missing-column").words == "The prediction is missing: none of the 1,000 rows has it."
    named = profile_of({"a`\nb" * 30: normal(300)})
    (finding,) = judged(named, counts_of(named, {"c": normal(300)})).findings[:1]
    assert finding.words.startswith("`a??ba??b")
    assert "\n" not in finding.words


def test_a_reference_that_is_a_window_varies_too_and_a_concurrent_one_shares_what_days_do() -> None:
    profile = profile_of(days(60, 40), time="when")
    one, two, none = (Thresholds(profile, **how).parts(0, "wasserstein") for how in ({}, {"reference_hours": 24}, {"hours": 0}))
    assert one is not None
    assert two == pytest.approx(one * 2**0.5)
    assert none is None


def test_no_text_from_outside_breaks_out_of_its_words(profile: Profile) -> None:
    found = looked_at(profile, window(1_000, 2, t=["`\n<script>" + "x" * 90] * 1_000))
    told = str(only(found, "new-categories").facts["names"])
    assert "\n" not in told
    assert "`?" in told
    assert len(told) < 60


def test_a_text_is_told_beside_the_words_and_only_where_many_rows_have_it(profile: Profile) -> None:
    few, many = "Jane Doe X123", "late"
    texts = [few] * (gate.FEWEST_NAMED - 1) + [many] * gate.FEWEST_NAMED + letters(1_000, 2).tolist()
    one = only(looked_at(profile, window(1_000, 2, t=texts[:1_000])), "new-categories")
    assert (one.facts["names"], one.facts["different"]) == (f"`{many}`", 2)
    assert one.words.endswith(" of the rows: 2 texts.")
    drifted = only(looked_at(profile, window(1_000, 2, t=letters(1_000, 2, "abcd", [0.7, 0.1, 0.1, 0.1]))), "drift")
    assert "; one value went from " in drifted.words
    assert drifted.facts["moved_most"] == "`a`"


def test_thresholds_are_reached_by_about_one_window_in_a_hundred(profile: Profile) -> None:
    thresholds, above, windows = Thresholds(profile), 0, 200
    for seed in range(windows):
        column = judged(profile, counts_of(profile, {"x": normal(512, 1_000 + seed, 50, 10)}), thresholds=thresholds).columns[0]
        assert column.scores is not None
        above += (column.scores.wasserstein or 0) > column.thresholds["wasserstein"].resampled
    assert above <= 8, above


def test_thresholds_are_the_same_each_time_and_fall_with_the_size(profile: Profile) -> None:
    one, other = Thresholds(profile).of(0, 1_000), Thresholds(profile).of(0, 1_000)
    assert one == other
    assert Thresholds(profile, seed=2).of(0, 1_000) != one
    assert (
        Thresholds(profile).of(0, 100)["psi"].resampled
        > one["psi"].resampled
        > Thresholds(profile).of(0, 4_000)["psi"].resampled
    )
    assert [size_class(size) for size in (0, 1, 2, 100, 127, 128, 1_000)] == [0, 1, 2, 90, 90, 128, 724]
    assert one["psi"].moderate == 0.1


def days(rows: int, count: int, seed: int = 1) -> dict[str, Any]:
    """Days whose mean differs by itself, as weather does."""
    random = np.random.default_rng(seed)
    means = np.repeat(random.normal(50, 5, count), rows)
    when = [START + timedelta(days=day, minutes=minute) for day in range(count) for minute in range(rows)]
    return {
        "x": random.normal(means, 5),
        "weekday": np.repeat(np.arange(count) % 7, rows).astype(float),
        "when": pa.array(when),
    }


def test_what_days_usually_do_is_no_drift() -> None:
    profile = profile_of(days(200, 60), time="when")
    assert [one.hours for one in profile.variations] == [1, 24]
    alarms = 0
    for seed in range(2, 22):
        day = {name: values for name, values in days(200, 1, seed).items() if name != "when"}
        alarms += len(judged(profile, counts_of(profile, day)).findings)
    assert alarms <= 2
    unlike = judged(profile, counts_of(profile, {"x": normal(200, 2, 90, 5), "weekday": np.full(200, 3.0)}))
    assert kinds(unlike, "x")[0] == "drift"
    naive = profile_of({name: values for name, values in days(200, 60).items() if name != "when"})
    day = {name: values for name, values in days(200, 1, 3).items() if name != "when"}
    assert "drift" in kinds(judged(naive, counts_of(naive, day)), "x"), "without times, rows are taken for independent"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discoveries_are_controlled_as_scipy_does(chances: list[float]) -> None:
    np.testing.assert_allclose(adjusted(chances), false_discovery_control(chances), rtol=1e-12, atol=0)


def test_of_fifty_columns_that_did_not_drift_few_are_called_news() -> None:
    random = np.random.default_rng(1)
    called = [len(discoveries(dict(enumerate(random.uniform(size=50))))) for _ in range(500)]
    assert sum(one > 0 for one in called) / 500 < 0.08
    assert discoveries({"a": 1e-6, "b": 0.04, "c": float("nan")}) == {"a"}


def test_chances_and_values_are_each_others_inverse() -> None:
    parts = np.exp(normal(50))
    for chance in (0.5, 0.05, 0.001):
        assert chance_of(value_at(chance, parts), parts) == pytest.approx(chance, rel=1e-6)
    assert chance_of(0.0, np.zeros(20)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([], "none"),
        ([0.1] * 8, "none"),
        ([0.1, 0.1, 0.12, 0.1, 0.9], "sudden"),
        ([0.1, 0.1, 0.12, 0.1, 0.9, 0.9, 0.95], "sudden"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "gradual"),
        ([0.1, 0.1, 0.9, 0.1], "passing"),
        ([0.9], "sudden"),
    ],
)
def test_a_sudden_shift_is_told_from_a_gradual_one(scores: list[float], told: str) -> None:
    assert pace(scores, 0.5) == told


def test_figures_are_for_people() -> None:
    assert [percent(one) for one in (0, 1e-6, 0.004, 0.125, 0.9999, 1)] == [
        "0 %", "less than 0.01 %", "0.4 %", "12.5 %", "99.99 %", "100 %",
    ]  # fmt: skip
    assert figure(1234.5) == "1.23e+03"
    assert quoted("a`b\n" + "c" * 60) == "`a?b?" + "c" * 36 + "…`"


def test_another_window_may_be_the_reference(profile: Profile) -> None:
    """The champion's counts in the same cells: what both share is no drift of one of them."""
    both = window(1_000, 2, x=normal(1_000, 2, 70, 10))
    champion = counts_of(profile, {**window(1_000, 3, x=normal(1_000, 3, 70, 10)), "p": normal(1_000)}, prediction="p")
    current = counts_of(profile, {**both, "p": normal(1_000, 4)}, prediction="p")
    assert "drift" in kinds(judged(profile, current), "x")
    assert kinds(judged(profile, current, reference=champion), "x") == []
