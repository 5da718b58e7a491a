"""Scoring drift: from a stored profile and a window's Parquet file, against Evidently, and if asked NannyML and frouros.

Ours reads the window and gives every score of every column, since its reference is a stored profile; how much that costs once
is a figure of its own. The peers have both samples in memory before they are measured. Each is a process of its own; they take
turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import drift_rows
from benchmarks.children import Child
from benchmarks.environments import python_of
from benchmarks.harness import progress, take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

OURS, VALUE, PRESET = "countersign", "evidently ValueDrift", "evidently DataDriftPreset"
PEERS = ("nannyml", "frouros")
SHIFT = 0.2
WINDOWS = 20

Turn = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Files:
    """What one size is measured on."""

    reference: str
    current: str
    profile: str
    hours: Path

    @property
    def both(self) -> Mapping[str, str]:
        """Both samples, for those that need both."""
        return {"reference": self.reference, "current": self.current}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes, peers and time limits."""
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="of each sample (%(default)s)")
    parser.add_argument("--columns", type=int, default=50, help="one in five holds texts (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side has its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=400.0, help="after which a peer is ended (%(default)s)")
    parser.add_argument("--no-preset", action="store_true", help="leave out Evidently's preset, which takes minutes")
    parser.add_argument("--no-evidently", action="store_true", help="leave out Evidently altogether")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="in environments of their own, made when missing")


def run(options: argparse.Namespace) -> Result:
    """Measures each size in turn."""
    figures, headline, notes = list[Figure](), dict[str, float](), list[str]()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
            progress(f"{rows:,} x {options.columns}: writing the rows")
            found = _measured(_written(Path(folder), rows, options), rows, options, notes)
        figures += found
        headline |= _headline(found, rows, first="cpu_ratio_valuedrift" not in headline)
    return Result(
        benchmark="drift",
        settings={name: getattr(options, name) for name in ("rows", "columns", "rounds", "seconds", "peers")},
        machine=facts(["duckdb", "pyarrow", "numpy", "scipy", "evidently", "pandas"]),
        figures=figures,
        ratios=_ratios(figures),
        headline=headline,
        notes=(
            "countersign: reading of the window and of the stored profile included; PSI, Jensen-Shannon, Wasserstein, "
            "Kolmogorov-Smirnov and chi-squared of every column, with bounds and chances.",
            "Peers: both samples are in memory before; ValueDrift gives one score a column, the one that Evidently chooses.",
            *notes,
        ),
    )


def _written(folder: Path, rows: int, options: argparse.Namespace) -> Files:
    paths = [folder / f"{side}.parquet" for side in ("reference", "current")]
    drift_rows.write(paths[0], rows, options.columns, seed=1)
    drift_rows.write(paths[1], rows, options.columns, seed=2, shift=SHIFT)
    (folder / "hours").mkdir()
    return Files(str(paths[0]), str(paths[1]), str(folder / "profile"), folder / "hours")


def _measured(files: Files, rows: int, options: argparse.Namespace, notes: list[str]) -> list[Figure]:
    size = f"{rows:,} x {options.columns}"
    figures = [*_built(files, size)]
    with _sides(files, rows, options, notes) as sides:
        for side, rounds in take_turns(options.rounds, sides).items():
            if whole := [one for one in rounds if one]:
                figures += _figures(size, side, whole)
    return [*figures, *_windows(files, size, options)]


def _figures(size: str, side: str, rounds: list[Mapping[str, float]]) -> Iterator[Figure]:
    units = {"cpu": "s CPU", "wall": "s", "peak_mib": "MiB"}
    what = {"cpu": "all scores", "wall": "all scores, time that passed", "peak_mib": "peak memory of the process"}
    return (Figure(f"{size}: {what[key]}", side, unit, tuple(one[key] for one in rounds)) for key, unit in units.items())


def _built(files: Files, size: str) -> Iterator[Figure]:
    progress(f"{size}: building the profile")
    with Child("benchmarks.drift_ours") as child:
        found = child.call("make", reference=files.reference, target=files.profile)
    units = {"cpu": ("building the profile, once", "s CPU"), "peak_mib": ("peak memory of building", "MiB")}
    units["kib"] = ("size of the stored profile", "KiB")
    return (Figure(f"{size}: {what}", OURS, unit, (found[key],)) for key, (what, unit) in units.items())


def _windows(files: Files, size: str, options: argparse.Namespace) -> Iterator[Figure]:
    progress(f"{size}: a day from 24 stored hours")
    with Child("benchmarks.drift_ours") as child:
        stored = child.call("store_hours", profile=files.profile, current=files.current, folder=str(files.hours))
        child.call("window", profile=files.profile, folder=str(files.hours), times=2)
        rounds = [
            child.call("window", profile=files.profile, folder=str(files.hours), times=WINDOWS) for _ in range(options.rounds)
        ]
    yield Figure(f"{size}: size of a stored hour", OURS, "KiB", (stored["kib"],))
    for key, unit in (("cpu", "ms CPU"), ("wall", "ms")):
        yield Figure(f"{size}: a day from 24 stored hours", OURS, unit, tuple(1e3 * one[key] for one in rounds))


@contextmanager
def _sides(files: Files, rows: int, options: argparse.Namespace, notes: list[str]) -> Iterator[Mapping[str, Turn]]:
    """The sides, each read and warm."""
    with ExitStack() as opened:
        ours = opened.enter_context(Child("benchmarks.drift_ours"))
        _warm(ours, options.columns)
        sides: dict[str, Turn] = {OURS: lambda: _score(ours, files)}
        size = f"{rows:,} x {options.columns}"
        for side, module, call in _peers(options):
            python = python_of(side) if side in PEERS else None
            child = opened.enter_context(Child(module, python=python))
            found = _tried(child, "read", side, size, options.seconds, notes, **files.both)
            if found:
                notes.append(f"{side}, {size}: reading both samples (and fitting, if it does) took {found['cpu']:.3g} s CPU.")
                sides[side] = partial(_tried, child, call, side, size, options.seconds, notes)
        progress(f"{size}: {', '.join(sides)}")
        yield sides


def _peers(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """(side, its module, what scores there); a process each, so that one that is ended does not end another."""
    if not options.no_evidently:
        yield VALUE, "benchmarks.drift_evidently", "value_drift"
        if not options.no_preset:
            yield PRESET, "benchmarks.drift_evidently", "preset"
    for peer in options.peers:
        yield peer, f"benchmarks.drift_{peer}", "score"


def _tried(
    child: Child, call: str, side: str, size: str, seconds: float, notes: list[str], **arguments: str
) -> Mapping[str, float]:
    """What a peer gave; from then on nothing, and a note with the reason, where its time or its memory was not enough."""
    if child.ended:
        return {}
    try:
        found: Mapping[str, float] = child.call_within(seconds, call, **arguments)
    except (TimeoutError, RuntimeError) as error:
        notes.append(f"{side} gave nothing at {size}: {error}.")
        progress(notes[-1])
        return {}
    return found


def _score(child: Child, files: Files) -> Mapping[str, float]:
    found: Mapping[str, float] = child.call("score", profile=files.profile, current=files.current)
    return found


def _warm(child: Child, columns: int) -> None:
    """What is done once in a process, such as importing, is not measured: of ours on a few rows, of peers by their reading."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        few, profile = Path(folder, "few.parquet"), Path(folder, "profile")
        drift_rows.write(few, 2_000, columns, seed=3)
        child.call("make", reference=str(few), target=str(profile))
        child.call("score", profile=str(profile), current=str(few))


def _ratios(figures: list[Figure]) -> dict[str, float]:
    ours = {one.what: one.median for one in figures if one.side == OURS}
    return {
        f"{one.what}: {one.side} / {OURS}": one.median / ours[one.what]
        for one in figures
        if one.side != OURS and one.unit == "s CPU"
    }


def _headline(figures: list[Figure], rows: int, *, first: bool) -> dict[str, Any]:
    """The ratio to ValueDrift, of the first size under its plain name."""
    cpu = {one.side: one.median for one in figures if one.what.endswith(": all scores")}
    if VALUE not in cpu:
        return {}
    ratio = cpu[VALUE] / cpu[OURS]
    return {f"cpu_ratio_valuedrift_{rows}": ratio} | ({"cpu_ratio_valuedrift": ratio} if first else {})
