"""What people write on the command line, read into values: durations, ramps, places on a server, settings, credentials.

A credential is never an argument: other processes of the machine can read those.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from backend.core import durations
from backend.core.canonical import DIGEST, loads
from backend.core.errors import Refusal

_MOST_BYTES = 1 << 20


class Moment(click.ParamType[datetime]):
    """A moment with its zone as ISO 8601 writes it, such as `2026-03-01T06:00Z` or `2026-03-01T06:00:00+01:00`."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment; UsageError for what is none, or lies in nobody's zone."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{str(value)[:80]!r} is no moment. Write it as 2026-03-01T06:00Z or 2026-03-01T06:00+01:00.", param, ctx)
        if moment.utcoffset() is None:
            self.fail(f"{str(value)[:80]!r} has no zone. Add one: Z for UTC, or +01:00.", param, ctx)
        return moment


MOMENT = Moment()
_RAMP_NAME = re.compile(r"[a-z][a-z0-9-]*")
seconds = durations.seconds
"""`90`, `90s`, `10m`, `1h` or `2d` -> seconds."""


def percent(text: str) -> float:
    """`25`, `0.5` or `12.25 %` -> percent, in hundredths at most."""
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%?\s*", text)
    if match is None or not 0 <= float(match[1]) <= 100:
        raise Refusal(
            f"{text[:80]!r} is not a share of traffic.",
            "Give a percentage from 0 to 100 with two decimals at most.",
            code="bad-share",
        )
    return float(match[1])


def ramp(text: str) -> list[dict[str, Any]] | str:
    """`1:10m,25:1h,50:1h:person` -> steps, each {"share_percent", "hold_seconds", "person"}. Empty text is no ramp.

    A word that begins with a letter is the name of a ramp, which is looked up where it is used.

    A step is a share in percent, or `shadow` where the version gets copies and answers nobody; then how long it is held; then
    what it asks for besides: `units=100` of the smallest arm, `unfailed` (no guardrail failed) or `proved` (each is proved to
    be kept), and `person` where somebody has to let the rollout on after it.
    """
    if _RAMP_NAME.fullmatch(text.strip()):
        return text.strip()
    return steps(text)


def steps(text: str) -> list[dict[str, Any]]:
    """The same for what can only be steps."""
    return [_step(one) for one in text.split(",")] if text.strip() else []


def _step(text: str) -> dict[str, Any]:
    share, *rest = (part.strip() for part in text.split(":"))
    held = rest.pop(0) if rest and not _GATE.fullmatch(rest[0]) else "0"
    asked = [_gate(one, text) for one in rest]
    if len({name for name, _ in asked}) != len(asked):
        raise _no_step(text)
    what: dict[str, Any] = {"shadow": True} if share == "shadow" else {"share_percent": percent(share)}
    return {**what, "hold_seconds": seconds(held), "person": False} | dict(asked)


_GATE = re.compile(r"person|proved|unfailed|units=([0-9]{1,9})")


def _gate(text: str, step: str) -> tuple[str, Any]:
    """One of the things that a step asks for besides its time: its field, and what it says."""
    found = _GATE.fullmatch(text)
    if found is None:
        raise _no_step(step)
    if found[1]:
        return "min_units", int(found[1])
    words: dict[str, tuple[str, Any]] = {"person": ("person", True), "proved": ("statistics", "passed")}
    return words.get(text, ("statistics", "not_failed"))


def _no_step(text: str) -> Refusal:
    return Refusal(
        f"{text[:80]!r} is not a step of a ramp.",
        "Write steps like 1:10m,25:1h:units=100:proved,50:1h:person, or shadow:30m:person first.",
        code="bad-ramp",
    )


def guardrails(texts: Iterable[str]) -> list[dict[str, Any]]:
    """`errors:0.01`, `p95=latency:10%:relative:q=0.95:hold` -> guardrails as proposals take them; `none` alone for none.

    First its name and `=`, else it is called like its kind; then the kind, the margin (a number, or a percentage), and after
    colons `relative`, `hold` or `warn` (else it rolls back), `higher` (else less is better), `outcome=NAME`, `above=250ms` (of
    `slow`), `q=0.95` (of `latency`), and `within=1h` for how long its outcome takes to be known.
    """
    told = list(texts)
    return [] if told == ["none"] else [_guardrail(one) for one in told]


_FLAGS: Mapping[str, tuple[str, Any]] = {
    "relative": ("relative", True), "rollback": ("on_fail", "rollback"), "hold": ("on_fail", "hold"),
    "warn": ("on_fail", "warn"), "lower": ("better", "lower"), "higher": ("better", "higher"),
}  # fmt: skip


def _guardrail(text: str) -> dict[str, Any]:
    head, *rest = (part.strip() for part in text.split(":"))
    name, _, kind = head.partition("=") if "=" in head else (head.replace("_", "-"), "", head)
    if not rest or not kind:
        raise _no_guardrail(text)
    asked = [_option(one, text) for one in rest[1:]]
    if len({field for field, _ in asked}) != len(asked):
        raise _no_guardrail(text)
    return {"name": name, "kind": kind, "margin": _margin(rest[0], text), **dict(asked)}


def _option(part: str, text: str) -> tuple[str, Any]:
    """One thing that a guardrail says after its margin: the field, and what it says."""
    if part in _FLAGS:
        return _FLAGS[part]
    word, _, value = part.partition("=")
    if word == "outcome" and value:
        return "outcome", value
    if word == "above":
        return "above_seconds", _number(value.removesuffix("ms"), text) / (1_000 if value.endswith("ms") else 1)
    if word == "q":
        return "quantile", _number(value, text)
    if word == "within":
        return "horizon_seconds", seconds(value)
    raise _no_guardrail(text)


def _margin(value: str, text: str) -> float:
    return _number(value.removesuffix("%"), text) / (100 if value.endswith("%") else 1)


def _number(value: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value.strip(), re.ASCII):
        raise _no_guardrail(text)
    return float(value)


def _no_guardrail(text: str) -> Refusal:
    return Refusal(
        f"{text[:80]!r} is not a guardrail.",
        "Write KIND:MARGIN or NAME=KIND:MARGIN, like errors:0.01, p95=latency:10%:relative:q=0.95:hold or slow:1%:above=250ms.",
        code="bad-guardrail",
    )


def rest(texts: Iterable[str]) -> list[dict[str, Any]]:
    """`1=75` -> the final share of another version that runs there; `none` alone for none."""
    told = list(texts)
    return [] if told == ["none"] else [_rest(one) for one in told]


def _rest(text: str) -> dict[str, Any]:
    version, equals, share = text.partition("=")
    if not re.fullmatch(r"[0-9]{1,9}", version.strip(), re.ASCII) or not equals:
        raise Refusal(f"{text[:80]!r} says no version's share.", "Write it as VERSION=PERCENT, like 1=75.", code="bad-share")
    return {"version": int(version), "share_percent": percent(share)}


def place(text: str) -> tuple[str, int]:
    """`flight-delay:3` -> the name and version under which a server has something."""
    name, _, version = text.rpartition(":")
    if not name or not version.isdecimal():
        raise Refusal(
            f"{text!r} is no served version.", "Write it as NAME:VERSION, as `endpoint adopt` shows it.", code="bad-place"
        )
    return name, int(version)


def places(texts: Iterable[str]) -> dict[tuple[str, int], int]:
    """`flight-delay:3=7` -> {("flight-delay", 3): 7}: which registered version runs where."""
    found: dict[tuple[str, int], int] = {}
    for text in texts:
        where, _, version = text.rpartition("=")
        if not version.isdecimal():
            raise Refusal(
                f"{text!r} does not say which registered version runs there.",
                "Write it as NAME:VERSION=REGISTERED.",
                code="bad-place",
            )
        found[place(where)] = int(version)
    return found


def digest(text: str) -> str:
    """A whole digest: what is approved is not abbreviated."""
    if not DIGEST.fullmatch(text):
        raise Refusal(
            f"{text[:80]!r} is not a whole digest.", "Copy all of it: `sha256:` and 64 hex digits.", code="bad-digest"
        )
    return text


def settings(pairs: Iterable[str], file: Path | None) -> dict[str, Any]:
    """Settings of an adapter: a JSON object from a file (`-` is standard input), with `name=value` pairs put over it."""
    found: dict[str, Any] = dict(json_object(file)) if file is not None else {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Refusal(f"{pair[:80]!r} is not a setting.", "Write it as NAME=VALUE.", code="bad-setting")
        found[name] = value
    return found


def json_object(file: Path) -> Mapping[str, Any]:
    """A JSON object from a file; `-` is standard input."""
    content = loads(text(file))
    if not isinstance(content, dict):
        raise Refusal(f"{file} does not hold a JSON object.", "Write {...} into it.", code="bad-json")
    return content


def text(file: Path) -> str:
    """A file of text of at most 1 MiB; `-` is standard input."""
    found = sys.stdin.read(_MOST_BYTES + 1) if str(file) == "-" else _read(file)
    if len(found) > _MOST_BYTES:
        raise Refusal(f"{file} is larger than 1 MiB.", "Name the file that holds only this object.", code="too-large")
    return found


def credential(variable: str | None, from_stdin: bool) -> str | None:
    """A secret from an environment variable, or one line of standard input (asked for without echo on a terminal)."""
    if variable is not None and from_stdin:
        raise Refusal("The credential cannot come from two places.", "Choose one of the two options.", code="bad-credential")
    if variable is not None:
        value = os.environ.get(variable, "")
        return value or _no_credential(f"The variable {variable} is not set.")
    if not from_stdin:
        return None
    if sys.stdin.isatty():
        return str(click.prompt("Credential", hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n") or _no_credential("Standard input holds no credential.")


def _no_credential(message: str) -> NoReturn:
    raise Refusal(message, "Put the credential there, as one line, and try again.", code="bad-credential")


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(_MOST_BYTES + 1)
    except (OSError, UnicodeError) as error:
        raise Refusal(f"{file} cannot be read.", "Name a readable file of text.", code="bad-file") from error
