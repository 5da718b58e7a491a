"""Estimates against the truth on real flights: the table in docs/quality.md, shown or (--write) put into its place.

    python scripts/quality_on_flights.py --cache DIR --write

Both delay models of the demo are trained on January to the middle of March 2013 (taken from the cache where they lie there) and
answer the flights of April to December. Each month, and each day, is estimated from its scores alone, then held against what
became of the flights: once with the end of March as the reference, once with the month before.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backend.demo.delay_models import HELD_OUT_FROM, RECIPES, Samples, answer, make
from backend.demo.flights import LOCAL_ZONE, Flights
from backend.quality import arrays
from backend.quality.checks import Coverage, EstimateCheck, check, coverage
from backend.quality.counts import Tally, added
from backend.quality.estimates import Calibrator, Estimate, estimate
from backend.quality.tasks import Binary
from backend.quality.windows import figures
from scripts.tables import ROOT

DOCUMENT = ROOT / "docs/quality.md"
BEGIN, END = "<!-- flights: written by scripts/quality_on_flights.py -->\n", "<!-- end of flights -->\n"
TASK = Binary("late", threshold=0.3)
SHOWN = ("positive_share", "log_loss", "auc")
MONTHS = ("Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Days = Mapping[tuple[int, int], Tally]
"""Each day's sums, by local month and day."""


@dataclass(frozen=True)
class Checked:
    """What was estimated of a month and of its days, and the truth, for one model and one kind of reference."""

    months: Mapping[int, Mapping[str, EstimateCheck]]
    days: Mapping[str, Sequence[EstimateCheck]]

    def coverage(self, name: str) -> Coverage:
        """How the daily estimates of a figure did."""
        found = coverage(self.days[name])
        if not isinstance(found, Coverage):
            raise TypeError(found.words)
        return found


def days_of(frame: Any, scores: Any) -> Days:
    """Sums by local day. `frame` has `event_time` and `late` (empty for a diverted flight)."""
    local = frame["event_time"].dt.tz_convert(LOCAL_ZONE)
    keys = (local.dt.month * 100 + local.dt.day).to_numpy()
    late = frame["late"].astype("float64").to_numpy(dtype=float, na_value=np.nan)
    return {
        (int(key) // 100, int(key) % 100): arrays.probabilities(scores[keys == key], late[keys == key], TASK.threshold)
        for key in np.unique(keys)
    }


def checked(reference: Days, served: Days, *, rolling: bool) -> Checked:
    """Estimates of each month and day, checked. `rolling`: the reference is the month before, the first one's is given."""
    months, days = dict[int, Mapping[str, EstimateCheck]](), dict[str, list[EstimateCheck]]()
    calibrator = _calibrator(reference.values())
    for month in sorted({month for month, _ in served}):
        here = {key: tally for key, tally in served.items() if key[0] == month}
        months[month] = dict(_checks((month, 1), calibrator, added(list(here.values()))))
        for key, tally in here.items():
            for name, one in _checks(key, calibrator, tally):
                days.setdefault(name, []).append(one)
        calibrator = _calibrator(here.values()) if rolling else calibrator
    return Checked(months, days)


def _calibrator(days: Any) -> Calibrator:
    made = Calibrator.of(list(days))
    if not isinstance(made, Calibrator):
        raise TypeError(made.words)
    return made


def _checks(day: tuple[int, int], calibrator: Calibrator, window: Tally) -> Iterator[tuple[str, EstimateCheck]]:
    told, truth = estimate(TASK, calibrator, window), figures(TASK, window)
    if not isinstance(told, Estimate):
        return
    at = datetime(2013, *day, tzinfo=UTC)
    for name in (*SHOWN, "brier", "accuracy"):
        # One flight in 70 was diverted on the worst day: what never comes keeps no check waiting here.
        one = check(name, at, at, told.figures[name], truth[name], told.errors[name], mature=0.9)
        if isinstance(one, EstimateCheck):
            yield name, one


def measured(cache: Path) -> dict[str, dict[str, Checked]]:
    """By model and reference ("march", "rolling"). Trains what the cache does not hold (about 40 s)."""
    flights = Flights.open(cache)
    samples = Samples.split(flights.training_frame(), flights.training_frame((7,)))
    whole = flights.table.to_pandas()
    served, found = whole[whole["month"] >= 4], dict[str, dict[str, Checked]]()
    reference = whole[(whole["event_time"] >= HELD_OUT_FROM) & (whole["month"] == 3)]
    for recipe in RECIPES:
        exported = make(recipe, samples, _folder(cache), print)
        model = (exported.folder / "model.onnx").read_bytes()
        days = [days_of(frame, answer(model, frame).astype(float)) for frame in (reference, served)]
        found[recipe.title] = {kind: checked(*days, rolling=kind == "rolling") for kind in ("march", "rolling")}
    return found


def _folder(cache: Path) -> Path:
    """Where `backend.demo.training` keeps what it trained on all flights, if it did; else a folder of our own."""
    complete = (one for one in sorted(cache.glob("models/*")) if all((one / recipe.key).is_dir() for recipe in RECIPES))
    return next(complete, cache / "models" / "quality")


def text(found: Mapping[str, Mapping[str, Checked]]) -> str:
    """The part of the document."""
    return "\n".join([*(line for name, kinds in found.items() for line in _of_model(name, kinds)), *_of_days(found), ""])


def _of_model(name: str, kinds: Mapping[str, Checked]) -> Iterator[str]:
    yield f"**{name}**, each month as a whole, estimated by the end of March:"
    yield ""
    yield "| month | late: estimate | truth | log loss: estimate | truth | AUC: estimate | truth |"
    yield "|---|---|---|---|---|---|---|"
    for month, checks in kinds["march"].months.items():
        cells = [cell for figure in SHOWN for cell in _cells(checks[figure])]
        yield f"| {MONTHS[month - 4]} | {' | '.join(cells)} |"
    yield ""


def _cells(one: EstimateCheck) -> tuple[str, str]:
    told, truth = one.estimated, one.realised.value
    return f"{told.value:.3f} ({told.low:.3f} to {told.high:.3f})", f"{truth:.3f}" if one.inside else f"**{truth:.3f}**"


def _of_days(found: Mapping[str, Mapping[str, Checked]]) -> Iterator[str]:
    yield "Of the daily estimates, so many held the truth in their 95 % interval (and were off by so much on average):"
    yield ""
    yield "| model | reference | late | log loss | AUC |"
    yield "|---|---|---|---|---|"
    for name, kinds in found.items():
        for kind, words in (("march", "end of March"), ("rolling", "the month before")):
            told = (kinds[kind].coverage(figure) for figure in SHOWN)
            cells = (f"{one.inside.value:.0%} ({one.mean_error:+.3f})" for one in told)
            yield f"| {name} | {words} | {' | '.join(cells)} |"
    yield ""


def written(document: str, part: str) -> str:
    """The document with the part of today."""
    if (document.count(BEGIN), document.count(END)) != (1, 1):
        raise ValueError(f"{DOCUMENT.name} needs one line {BEGIN.strip()!r} and one line {END.strip()!r} behind it")
    return document.partition(BEGIN)[0] + BEGIN + part + END + document.partition(END)[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps prepared flights and trained models")
    parser.add_argument("--write", action="store_true", help="put the table into docs/quality.md")
    options = parser.parse_args(arguments)
    part = text(measured(options.cache))
    if options.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), part), encoding="utf-8")
    else:
        print(part)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
