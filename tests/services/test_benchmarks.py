"""The benchmarks' harness, and one benchmark run small: what it prints is what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks.children import Child, per_call
from benchmarks.harness import cpu_of, spending, take_turns
from benchmarks.results import Figure, Result, one_line, table

ROOT = Path(__file__).resolve().parents[2]
BUSY = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"


def run(*arguments: str) -> dict[str, Any]:
    """One benchmark in a process of its own, its only line of standard output read as JSON."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_the_sides_take_turns_and_another_one_begins_each_round() -> None:
    order: list[str] = []

    def side(name: str) -> Any:
        return lambda: order.append(name) or len(order)

    found = take_turns(3, {"a": side("a"), "b": side("b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_cpu_seconds_are_those_of_the_block_and_not_the_time_that_passed() -> None:
    with spending() as slept:
        time.sleep(0.3)
    assert slept.cpu < slept.wall
    with spending() as worked:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
    assert worked.cpu >= 0.1
    assert per_call(lambda number: sum(range(1_000)), 10) > 0


def test_cpu_seconds_of_another_process_count_its_children_too() -> None:
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"
    with spending(os.getpid()) as all_of_us:
        parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "done\n"
        assert cpu_of(parent.pid) >= 0.25
        parent.stdin.close()
        parent.wait(timeout=30)
        parent.stdout.close()
    assert all_of_us.others >= 0.25, "a child that ended counts all the same"


def test_a_child_that_fails_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Child("benchmarks.scheduling_ours") as child, pytest.raises(RuntimeError, match="ended during run"):
        child.call("run", url=f"sqlite:///{tmp_path}/without-tables.db", items=1, batch=1)
    assert child.ended


def test_results_are_one_line_of_json_or_a_table() -> None:
    figures = [Figure("work", "ours", "us CPU", (1.0, 3.0, 2.0)), Figure("work", "peer", "us CPU", (20_000.0,))]
    result = Result("thing", {"rounds": 3}, {"cores": 2}, figures, {"work: peer / ours": 10_000.0}, ("Read this.",))
    found = json.loads(one_line([result]))
    assert [one["median"] for one in found["figures"]] == [2.0, 20_000.0]
    assert json.loads(one_line([result, result]))["results"] == [found, found]
    assert "\n" not in one_line([result, result])
    for text in ("ours", "peer", "20,000", "1 to 3", "Read this.", "cores 2", "work: peer / ours: 10,000"):
        assert text in table(result)


def test_a_small_run_of_scheduling_prints_what_it_measured() -> None:
    found = run("scheduling", "--items=30", "--peer-items=3", "--rounds=2", "--batches", "10", "--databases", "sqlite")
    assert found["benchmark"] == "scheduling"
    assert found["settings"]["items"] == 30
    assert found["machine"]["apscheduler"].startswith("3.")
    medians = {(one["what"], one["side"]): one["median"] for one in found["figures"]}
    assert {side for _, side in medians} == {"apscheduler", "countersign, 10 at a time"}
    assert all(len(one["values"]) == 2 and min(one["values"]) > 0 for one in found["figures"])
    assert all(one["median"] == pytest.approx(median(one["values"]), rel=0.01) for one in found["figures"])
    assert len(found["ratios"]) == 3
    for name, ratio in found["ratios"].items():
        what, sides = name.rsplit(": ", 1)
        peer, ours = sides.split(" / ")
        assert ratio == pytest.approx(medians[what, peer] / medians[what, ours], rel=0.01)


@pytest.mark.slow
def test_a_small_run_of_registry_compares_the_same_answers_of_all_three() -> None:
    found = run("registry", "--models=30", "--versions=3", "--rounds=1", "--lists=2", "--lookups=5")
    assert {one["side"] for one in found["figures"]} == {"countersign", "mlflow store", "mlflow REST server"}
    assert len(found["figures"]) == 12


@pytest.mark.slow
def test_a_small_run_of_web_measures_every_page_that_there_is() -> None:
    from app.menu import PAGES

    found = run(
        "web", "--models=60", "--versions=2", "--endpoints=12", "--changes=24", "--rounds=1", "--clicks=2", "--sessions=3",
        "--seconds=4", "--no-peer",
    )  # fmt: skip
    values = {one["what"]: one["values"] for one in found["figures"]}
    assert all(f"{entry.title}: warm load, whole" in values for entry in PAGES)
    assert all(f"{entry.title}: in the app" in values for entry in PAGES if not entry.hidden)
    assert len(values["live sessions: first run of the page"]) == 3
    assert values["live sessions: a refresh"]
    assert values["memory of web app and worker, idle"][0] > 50
    assert values["start until it answers"][0] > 0
    assert min(min(each) for each in values.values()) > 0


@pytest.mark.slow
def test_access_run_small_measures_each_check_and_the_list_of_whoever_sees_a_part() -> None:
    sizes = {"models": 300, "versions": 1, "owned": 20, "checks": 20, "lists": 2, "rounds": 1, "rate": 10, "seconds": 1}
    found = run("access", *(f"--{name}={value}" for name, value in sizes.items()))
    sides = {(one["what"], one["side"]) for one in found["figures"]}
    assert len(sides) == len(found["figures"]) == 3 + 2 * 2 + 2 * 2
    assert all(value > 0 for one in found["figures"] for value in one["values"])


@pytest.mark.slow
def test_a_small_run_of_drift_scores_every_column_and_puts_its_ratio_on_top() -> None:
    found = run("drift", "--rows", "3000", "--columns=10", "--rounds=1", "--no-preset")
    medians = {(one["what"], one["side"]): one["median"] for one in found["figures"]}
    assert min(medians.values()) > 0
    what = "3,000 x 10: all scores"
    peer, ours = medians[what, "evidently ValueDrift"], medians[what, "countersign"]
    assert found["cpu_ratio_valuedrift"] == found["cpu_ratio_valuedrift_3000"] == pytest.approx(peer / ours, rel=0.01)


def test_a_child_that_takes_too_long_is_ended() -> None:
    with Child("benchmarks.scheduling_peer") as child, pytest.raises(TimeoutError, match="run took longer"):
        child.call_within(0.01, "run", url="sqlite://", items=1)
    assert child.ended
