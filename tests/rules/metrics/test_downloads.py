"""Rules for Prometheus and a dashboard for Grafana: what they ask, that Prometheus takes them, and that they alarm as we do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.metrics import rules_file
from backend.metrics.dashboard import dashboard
from backend.metrics.downloads import of_envoy, of_triton
from backend.metrics.promql import Signals, literally, matchers, selector
from backend.metrics.rules_file import lacking, recorded, rules, written
from backend.metrics.slo import ALERTS, Objective

BOUNDS = (0.005, 0.01, 0.25, 1.0)
ENVOY = of_envoy("flight-delay", BOUNDS)
TRITON = of_triton("flight.delay")
AVAILABLE, QUICK = Objective("availability", 0.999), Objective("latency", 0.95, 0.25)
BOTH = (AVAILABLE, QUICK)


def every_rule(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in content["groups"] for rule in group["rules"]]


def test_each_objective_has_its_windows_its_alerts_and_one_for_silence() -> None:
    content = rules("flight-delay", BOTH, 30, ENVOY)
    assert [group["name"] for group in content["groups"]] == [
        "countersign-slo-flight-delay-availability",
        "countersign-slo-flight-delay-latency-250ms",
    ]
    first = content["groups"][0]["rules"]
    assert [rule["record"] for rule in first if "record" in rule] == [
        f"countersign:slo_bad:ratio_rate{window}" for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    ]
    burning = [rule for rule in first if rule.get("alert") == "CountersignErrorBudgetBurns"]
    assert [(rule["labels"]["severity"], rule["labels"]["window"]) for rule in burning] == [
        ("page", "1h"), ("page", "6h"), ("ticket", "1d"), ("ticket", "3d"),
    ]  # fmt: skip
    assert burning[0]["expr"] == (
        f"{recorded('flight-delay', AVAILABLE, '1h')} > (14.4 * 0.001) and "
        f"{recorded('flight-delay', AVAILABLE, '5m')} > (14.4 * 0.001)"
    )
    assert first[-1]["expr"] == f"absent({recorded('flight-delay', AVAILABLE, '5m')})"


def test_an_alert_that_can_never_fire_is_not_written() -> None:
    content = rules("e", [Objective("availability", 0.9)], 30, ENVOY)
    assert [one["labels"]["window"] for one in every_rule(content) if one.get("alert") == "CountersignErrorBudgetBurns"] == [
        "6h", "1d", "3d",
    ]  # fmt: skip


def test_what_falls_silent_while_it_burns_fires_until_the_alert_that_tells_of_silence_does() -> None:
    told = [one for one in every_rule(rules("e", [AVAILABLE], 30, ENVOY)) if "alert" in one]
    burning, silent = told[:-1], told[-1]
    kept = {one["keep_firing_for"] for one in burning}
    assert {int(one.removesuffix("m")) for one in kept} == {20}
    assert int(silent["for"].removesuffix("m")) < 20


def test_what_a_server_does_not_tell_gets_no_rule() -> None:
    assert lacking(BOTH, TRITON) == (QUICK,)
    assert {one["labels"]["objective"] for one in every_rule(rules("e", BOTH, 30, TRITON))} == {"availability"}
    assert lacking(BOTH, ENVOY) == ()


def test_a_threshold_between_two_bounds_becomes_the_lower_one() -> None:
    assert [ENVOY.bound(one) for one in (0.25, 0.3, 0.001)] == ["250", "250", "1"]
    assert 'le="250"' in ENVOY.late_share(0.3, "5m")
    assert Signals(("a{}",), ("b{}",), buckets="c{}").bound(0.3) == "0.3", "where no bound is known it is taken as it is"


def test_names_are_escaped_wherever_they_stand() -> None:
    hostile = 'a"} or vector(1) # .*\\'
    told = selector("m", {"x": hostile}, {"y": literally(hostile)})
    quoted = r'"(?:[^"\\]|\\.)*"'
    assert re.fullmatch(rf"m\{{x={quoted},y=~{quoted}\}}", told), "nothing leaves its quotes"
    assert matchers({"code": ["5*", "429"], "x": "a.b"}, {"y": "z", "w": "v*"}) == ('{code=~"5.*|429",x="a.b",y!="z",w!~"v.*"}')
    assert 'model=~"flight\\\\.delay(' in TRITON.requests[0]


def test_the_file_is_yaml_with_its_notes_as_comments() -> None:
    text = written(rules("e", BOTH, 28, ENVOY, link="https://x.test/e"), ("First note\nwith a line", "Second"))
    assert text.startswith("# First note with a line\n# Second\ngroups:\n")
    assert yaml.safe_load(text) == rules("e", BOTH, 28, ENVOY, link="https://x.test/e")
    assert len(every_rule(yaml.safe_load(text))) == 2 * (7 + len(ALERTS) + 1)


def test_the_dashboard_shows_each_figure_and_each_objective_with_its_line() -> None:
    found = dashboard("flight-delay", BOTH, 30, ENVOY, link="https://x.test/e")
    titles = [panel["title"] for panel in found["panels"]]
    assert titles == [
        "Requests a second", "Share of requests with an error", "Latency", "Burn rate of availability",
        "Bad requests by availability", "Burn rate of latency-250ms", "Bad requests by latency-250ms",
    ]  # fmt: skip
    latency = found["panels"][2]
    assert [one["legendFormat"] for one in latency["targets"]] == [f"p{q} {{{{envoy_cluster_name}}}}" for q in (50, 90, 95, 99)]
    assert latency["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] == 0.25
    assert len({panel["id"] for panel in found["panels"]}) == len(titles)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found["panels"]]
    assert len(set(places)) == len(places)
    assert json.loads(json.dumps(found)) == found
    assert dashboard("flight-delay", BOTH, 30, ENVOY)["uid"] == found["uid"] != dashboard("other", BOTH, 30, ENVOY)["uid"]
    assert "Time of a request in the server" in [one["title"] for one in dashboard("e", BOTH, 30, TRITON)["panels"]]


# -- Prometheus itself

SERIES = "countersign_flight-delay_champion"
CALM, STORM = "0+100x600", "0+5x600"


def _promtool(*arguments: str) -> str:
    found = shutil.which("promtool")
    assert found is not None, "promtool is missing: `make system` names the Debian package that has it"
    ended = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _vector(name: str, values: str, **labels: str) -> dict[str, str]:
    told = {"envoy_cluster_name": SERIES, **labels}
    return {"series": name + "{" + ",".join(f'{key}="{one}"' for key, one in told.items()) + "}", "values": values}


def _alerts(minutes: int, *firing: tuple[str, str]) -> list[dict[str, Any]]:
    """Which (severity, window) burn at a moment."""
    content = rules("flight-delay", [AVAILABLE], 30, ENVOY)
    of = {
        (rule["labels"]["severity"], rule["labels"].get("window", "")): rule for rule in every_rule(content) if "alert" in rule
    }
    told = [{"exp_labels": of[one]["labels"], "exp_annotations": of[one]["annotations"]} for one in firing]
    return [{"eval_time": f"{minutes}m", "alertname": "CountersignErrorBudgetBurns", "exp_alerts": told}]


def _share(objective: Objective, at: str, value: float) -> dict[str, Any]:
    """The recorded share of bad requests, to six digits."""
    vector = recorded("flight-delay", objective, "1h")
    labels = "{" + vector.partition("{")[2]
    return {"expr": f"round({vector}, 0.000001)", "eval_time": at, "exp_samples": [{"labels": labels, "value": value}]}


@pytest.mark.slow
def test_prometheus_takes_the_rules_and_alarms_as_they_say(tmp_path: Path) -> None:
    """Five of a hundred requests fail for ten hours: more than any factor. Where that falls silent, it is not over for that,
    until another alert says that nothing is known. Then what a silent endpoint looks like."""
    for name, signals in (("envoy", ENVOY), ("triton", TRITON)):
        (tmp_path / f"{name}.yaml").write_text(written(rules("flight-delay", BOTH, 30, signals)))
        assert "SUCCESS" in _promtool("check", "rules", str(tmp_path / f"{name}.yaml"))
    requests = _vector("envoy_cluster_upstream_rq_completed", CALM)
    errors = _vector("envoy_cluster_upstream_rq_xx", STORM, envoy_response_code_class="5")
    every = [("page", "1h"), ("page", "6h"), ("ticket", "1d"), ("ticket", "3d")]
    silent = [
        one for one in every_rule(rules("flight-delay", [AVAILABLE], 30, ENVOY)) if one.get("alert") == "CountersignSloUnknown"
    ]
    told = [{"exp_labels": one["labels"], "exp_annotations": one["annotations"]} for one in silent]
    unknown = [{"eval_time": "30m", "alertname": "CountersignSloUnknown", "exp_alerts": told}]
    tests = [
        {"interval": "1m", "input_series": [requests, errors], "alert_rule_test": _alerts(420, *every)},
        {
            "interval": "1m",
            "input_series": [one | {"values": one["values"].replace("x600", "x420")} for one in (requests, errors)],
            "alert_rule_test": _alerts(440, *every),
        },
        {"interval": "1m", "input_series": [requests], "alert_rule_test": _alerts(420)},
        {
            "interval": "1m",
            "input_series": [requests, errors],
            "promql_expr_test": [_share(AVAILABLE, "2h", 0.05)],
        },
        {"interval": "1m", "input_series": [_vector("something_else", "0+1x60")], "alert_rule_test": unknown},
    ]
    rule_file = tmp_path / "one.yaml"
    rule_file.write_text(written(rules("flight-delay", [AVAILABLE], 30, ENVOY)))
    content = {"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(content))
    assert "SUCCESS" in _promtool("test", "rules", str(tmp_path / "tests.yaml"))


@pytest.mark.slow
def test_prometheus_works_out_late_requests_from_the_buckets(tmp_path: Path) -> None:
    """Of a hundred a minute ten take longer than 250 ms, and one more has an error: eleven of a hundred are late."""
    buckets = [
        _vector("envoy_cluster_upstream_rq_time_bucket", f"0+{many}x600", le=bound)
        for bound, many in (("250", 90), ("+Inf", 100))
    ]
    requests = _vector("envoy_cluster_upstream_rq_completed", CALM)
    errors = _vector("envoy_cluster_upstream_rq_xx", "0+1x600", envoy_response_code_class="5")
    shadow = _vector("envoy_cluster_upstream_rq_completed", CALM) | {
        "series": 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="countersign_flight-delay_next_shadow"}'
    }
    test = {
        "interval": "1m",
        "input_series": [*buckets, requests, errors, shadow],
        "promql_expr_test": [_share(QUICK, "3h", 0.11)],
    }
    (tmp_path / "one.yaml").write_text(rules_file.written(rules("flight-delay", [QUICK], 30, ENVOY)))
    content = {"rule_files": [str(tmp_path / "one.yaml")], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(content))
    assert "SUCCESS" in _promtool("test", "rules", str(tmp_path / "tests.yaml"))
