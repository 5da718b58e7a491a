"""What people write on the command line: durations, ramps, places, digests, settings, credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from backend.cli import inputs
from backend.cli.output import facts, plain, printable, table
from backend.core.errors import Refusal


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600), ("2d", 172_800), (" 5 m ", 300), ("0", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    assert inputs.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1w", "-5m", "1.5h", "1h30m", "٣m", "9" * 12])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        inputs.seconds(text)
    assert refused.value.code == "bad-duration"


def test_a_ramp_is_read_step_by_step() -> None:
    assert inputs.ramp("1:10m, 25%:1h:person,12.5,50:person") == [
        {"share_percent": 1.0, "hold_seconds": 600, "person": False},
        {"share_percent": 25.0, "hold_seconds": 3600, "person": True},
        {"share_percent": 12.5, "hold_seconds": 0, "person": False},
        {"share_percent": 50.0, "hold_seconds": 0, "person": True},
    ]
    assert inputs.ramp("") == []


def test_a_step_asks_for_units_statistics_and_a_person() -> None:
    assert inputs.ramp("shadow:30m:person,1:units=100,25:1h:units=5000:proved:person,50:unfailed") == [
        {"shadow": True, "hold_seconds": 1800, "person": True},
        {"share_percent": 1.0, "hold_seconds": 0, "person": False, "min_units": 100},
        {"share_percent": 25.0, "hold_seconds": 3600, "person": True, "min_units": 5000, "statistics": "passed"},
        {"share_percent": 50.0, "hold_seconds": 0, "person": False, "statistics": "not_failed"},
    ]
    assert inputs.ramp("shadow-first") == "shadow-first"


def test_guardrails_are_read_from_short_words() -> None:
    assert inputs.guardrails(["errors:0.01", "p95=latency:10%:relative:q=0.95:hold", "slow:1%:above=250ms:warn"]) == [
        {"name": "errors", "kind": "errors", "margin": 0.01},
        {"name": "p95", "kind": "latency", "margin": 0.1, "relative": True, "quantile": 0.95, "on_fail": "hold"},
        {"name": "slow", "kind": "slow", "margin": 0.01, "above_seconds": 0.25, "on_fail": "warn"},
    ]
    late = "late=outcome:0.5:higher:outcome=arrived late:within=1d"
    assert inputs.guardrails([late]) == [
        {
            "name": "late", "kind": "outcome", "margin": 0.5, "better": "higher", "outcome": "arrived late",
            "horizon_seconds": 86_400,
        }
    ]  # fmt: skip
    assert inputs.guardrails(["log_loss:0.02:outcome=late"])[0]["name"] == "log-loss"
    assert inputs.guardrails(["none"]) == []


@pytest.mark.parametrize(
    "text",
    ["errors", "errors:", "errors:much", "errors:-1", "errors:nan", "errors:1:hold:warn", "errors:1:else", "x=:1", "none:"],
)
def test_a_guardrail_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        inputs.guardrails([text])
    assert refused.value.code == "bad-guardrail"
    assert text in str(refused.value)


def test_the_rest_is_split_by_version() -> None:
    assert inputs.rest(["1=75", "3=12.5%"]) == [
        {"version": 1, "share_percent": 75.0}, {"version": 3, "share_percent": 12.5}
    ]  # fmt: skip
    assert inputs.rest(["none"]) == []
    for wrong in ("1", "=75", "x=75", "1=101"):
        with pytest.raises(Refusal) as refused:
            inputs.rest([wrong])
        assert refused.value.code == "bad-share"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1:10m:units=", "bad-ramp"),
        ("1:10m:proved:unfailed", "bad-ramp"),
        ("1:person:person", "bad-ramp"),
        ("1:10m:1h", "bad-ramp"),
        ("1:10m,", "bad-share"),
        ("101", "bad-share"),
        ("1:soon", "bad-duration"),
        ("x:1h", "bad-share"),
    ],
)
def test_a_step_that_cannot_be_read_is_named(text: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        inputs.ramp(text)
    assert refused.value.code == code


def test_places_on_a_server() -> None:
    assert inputs.places(["flight-delay:3=7", "a:b:1=2"]) == {("flight-delay", 3): 7, ("a:b", 1): 2}
    for wrong in ("flight-delay", "flight-delay=7", ":3=7", "a:x=1", "a:1=x"):
        with pytest.raises(Refusal):
            inputs.places([wrong])


@pytest.mark.parametrize("text", ["sha256:" + "0" * 63, "0" * 64, "SHA256:" + "0" * 64, "sha256:" + "g" * 64, ""])
def test_a_digest_is_never_abbreviated(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        inputs.digest(text)
    assert refused.value.code == "bad-digest"
    assert inputs.digest("sha256:" + "a" * 64) == "sha256:" + "a" * 64


def test_settings_come_from_a_file_and_pairs(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"url": "http://a", "deep": {"x": 1}}')
    assert inputs.settings(["url=http://b?x=1", "name="], file) == {"url": "http://b?x=1", "deep": {"x": 1}, "name": ""}
    for content in ("[1]", "{", '{"a": 1, "a": 2}', '{"a": NaN}'):
        file.write_text(content)
        with pytest.raises(Refusal) as refused:
            inputs.settings([], file)
        assert refused.value.code == "bad-json"
    with pytest.raises(Refusal) as refused:
        inputs.settings([], tmp_path / "absent.json")
    assert refused.value.code == "bad-file"
    file.write_text("x" * (inputs._MOST_BYTES + 1))
    with pytest.raises(Refusal) as refused:
        inputs.settings([], file)
    assert refused.value.code == "too-large"


def test_a_credential_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_KEY", "secret")
    assert inputs.credential("TRITON_KEY", False) == "secret"
    assert inputs.credential(None, False) is None
    for variable, from_stdin in (("ABSENT_KEY", False), ("TRITON_KEY", True)):
        with pytest.raises(Refusal) as refused:
            inputs.credential(variable, from_stdin)
        assert refused.value.code == "bad-credential"


def test_somebody_else_s_text_moves_no_cursor() -> None:
    hostile = "a\x1b[2Jb\nc\u202ed\t\x07e"
    assert printable(hostile) == "a?[2Jb c?d ?e"
    for line in (*table(("x",), [(hostile,)]), *facts([("x", hostile)])):
        assert line.isprintable()


def test_records_become_json_by_their_fields() -> None:
    class Line(NamedTuple):
        name: str
        at: datetime

    told = plain({"lines": (Line("a", datetime(2026, 1, 2, tzinfo=UTC)),), "set": {2, 1}, 3: None})
    assert told == {"lines": [{"name": "a", "at": "2026-01-02T00:00:00+00:00"}], "set": [1, 2], "3": None}


@pytest.mark.parametrize(
    "text", ["2026-03-01T06:00Z", "2026-03-01T06:00:00Z", "2026-03-01T07:00+01:00", "2026-03-01T0700+0100"]
)
def test_a_moment_is_read_however_iso_8601_writes_it(text: str) -> None:
    assert inputs.MOMENT.convert(text, None, None) == datetime(2026, 3, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"), [("2026-03-01T06:00", "has no zone"), ("tomorrow", "is no moment"), ("", "is no moment")]
)
def test_a_moment_in_nobodys_zone_is_refused_with_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        inputs.MOMENT.convert(text, None, None)
