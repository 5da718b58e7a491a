"""What every command prints: one JSON object on one line with `--json`, else lines for people; errors with what to do next.

Exit codes are those of `exits.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
import structlog

from backend.cli.exits import DEFECT, DIFFERS, EXTERNAL, NO, REFUSED
from backend.client.errors import ClientError, Defect, OtherSystemFailed, Problem, StrangeAnswer, Unreachable
from backend.core.errors import ExternalFailure, Refusal

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["DIFFERS", "EXTERNAL", "NO", "REFUSED"]


def json_option(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")(command)


def emit(as_json: bool, content: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Prints the object on one line, or the lines."""
    if as_json:
        click.echo(json.dumps(plain(content), ensure_ascii=False, allow_nan=False))
        return
    for line in lines:
        click.echo(line)


def note(text: str) -> None:
    """Something for a person to know, on standard error."""
    click.echo(text, err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Left-aligned columns under a header; cells are cut at 60 characters and control characters are shown as `?`."""
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turns every readable error into a message, what to do next, and an exit code."""

    @wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> T:
        as_json = bool(options.get("as_json"))
        try:
            return command(*args, **options)
        except Refusal as refusal:
            _fail(as_json, REFUSED, refusal.code, refusal.message, refusal.remedy)
        except ExternalFailure as failure:
            remedy = "Try again; nothing needs to be changed." if failure.retryable else "Correct that system, then try again."
            _fail(as_json, EXTERNAL, "external-failure", str(failure), remedy)
        except ClientError as failure:
            _fail(as_json, _status(failure), failure.code, failure.message, failure.remedy, **_besides(failure))

    return run


def _status(failure: ClientError) -> int:
    """Of a server's answer, or of none."""
    if isinstance(failure, Defect):
        return DEFECT
    return EXTERNAL if isinstance(failure, OtherSystemFailed | Unreachable | StrangeAnswer) else REFUSED


def _besides(failure: ClientError) -> dict[str, Any]:
    """What only a server's answer has: the request's id, and everything that is wrong by its place."""
    if not isinstance(failure, Problem):
        return {}
    told = [{"field": one.field, "detail": one.says, "remedy": one.remedy, "code": one.code} for one in failure.errors]
    return {"request": failure.request_id, "errors": [{name: text for name, text in one.items() if text} for one in told]}


def _fail(
    as_json: bool, status: int, code: str, message: str, remedy: str, request: str = "", errors: Sequence[Any] = ()
) -> NoReturn:
    error: dict[str, Any] = {"code": code, "message": message, "remedy": remedy}
    error |= ({"request_id": request} if request else {}) | ({"errors": list(errors)} if errors else {})
    if as_json:
        click.echo(json.dumps({"error": error}, ensure_ascii=False))
    note(printable(f"{message} {remedy}".strip()))
    if request and status != REFUSED:
        note(printable(f"The server has it under {request}."))
    sys.exit(status)


def facts(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """One line a fact, aligned and not cut; facts that are None or empty are left out."""
    told = [(name, _text(value)) for name, value in pairs]
    told = [(name, text) for name, text in told if text]
    width = max((len(name) for name, _ in told), default=0)
    return [f"{name.ljust(width)}  {text}" for name, text in told]


def printable(text: str) -> str:
    """One line of somebody else's text: it must not move a terminal's cursor."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))


def percent(buckets: int) -> str:
    """`2500` -> `25 %`; two decimals at most."""
    return f"{buckets / 100:g} %"


def plain(value: Any) -> Any:
    """JSON-able form, however deep: records by the names of their fields, times as ISO 8601, sets sorted."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if hasattr(value, "_fields"):  # a named tuple
        return {name: plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    if isinstance(value, frozenset | set):
        return sorted(plain(one) for one in value)
    if is_dataclass(value):
        told = (field.name for field in fields(value) if field.metadata.get("told", True))
        return {name: plain(getattr(value, name)) for name in told}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def _cell(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value))


def quiet_logs(level: str = "WARNING") -> None:
    """Structured logs to standard error, so that standard output stays the answer."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
