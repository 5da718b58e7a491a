"""The worker's log: one JSON object a line on standard error, without secrets and without what other systems answered.

Each line has `timestamp` (UTC), `level`, `event` and `worker`; inside a handler also `kind`, `key` and `token` of the claim,
`request_id` (the same as in the ledger) and `change_id`.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from traceback import format_tb
from typing import Any, TextIO
from urllib.parse import unquote

import structlog
from sqlalchemy.engine import make_url
from structlog.typing import EventDict, Processor

from backend.core import context
from backend.core.errors import Refusal
from backend.settings import Settings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LONGEST, _FRAMES, _MESSAGE = 8_000, 20, 200
_HIDDEN = "***"
_SECRET_KEY = re.compile(r"(?i)password|passwd|secret|api_?key|token|credential|authorization|cookie")
_PATTERNS = (
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            r"(?i)\b(password|passwd|secret|api[_-]?key|access[_-]?token|credential)(['\"]?\s*[=:]\s*['\"]?)[^\s'\"&,}]+"
        ),
        rf"\1\2{_HIDDEN}",
    ),
)


def configure(level: str, *, worker: str, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Sends the logs of this process, and the warnings of every library in it, to `stream` (standard error).

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        secrets: texts that are blotted out wherever they would appear.
    """
    if level.upper() not in LEVELS:
        raise Refusal(
            f"{level!r} is not a level of the log.",
            f"Set COUNTERSIGN_LOG_LEVEL to one of {', '.join(LEVELS)}.",
            code="bad-setting",
        )
    out = _Stream(stream or sys.stderr)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _Worker(worker),
        _context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace,
        Redaction(secrets),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(default=str)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),  # type: ignore[arg-type]  # it needs write and flush only
    )
    _take_over_standard_logging(level, shared, out)


def secrets_of(settings: Settings) -> list[str]:
    """The secrets that this process knows from its settings."""
    told = (settings.mlflow_token, settings.mlflow_webhook_secret, settings.mail_url, settings.xds_token)
    tokens = [one.get_secret_value() for one in told if one is not None]
    mail = settings.mail_url.get_secret_value() if settings.mail_url is not None else ""
    urls = (settings.package_store, settings.ledger_heads, settings.inference_log, mail)
    known = [make_url(settings.sqlalchemy_url).password, *tokens, *(part for url in urls for part in _secrets_in(url))]
    return [str(one) for one in known if one]


def _secrets_in(url: str) -> Iterator[str]:
    """Who and by what word, where a URL says it; as it is written there and as it is meant."""
    for user in re.findall(r"://([^/@]+)@", url):
        for part in user.split(":"):
            yield from {part, unquote(part)}


class Redaction:
    """A processor that blots out known secrets and whatever looks like one, in keys and values, however deep."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [one for one in secrets if len(one) >= 4]

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        return self._mapping(event)

    def _mapping(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        hidden = {str(key) for key, value in values.items() if isinstance(value, str) and _SECRET_KEY.search(str(key))}
        return {self._text(str(key)): _HIDDEN if str(key) in hidden else self._clean(value) for key, value in values.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(one) for one in value]
        return value if value is None or isinstance(value, bool | int | float) else self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text if len(text) <= _LONGEST else f"{text[:1000]} ... {text[-_LONGEST + 1000 :]}"


def trace(error: BaseException) -> str:
    """Where an error came from, cause first: frames without values, and of each message only the beginning of its first line.

    An exception's message may hold what another system answered; the frames say enough to find the defect.
    """
    told: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        message = str(one).partition("\n")[0][:_MESSAGE]
        told.append("".join(format_tb(one.__traceback__, -_FRAMES)) + f"{type(one).__name__}: {message}")
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\nwhich led to\n".join(reversed(told))


class _Worker:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("worker", self._name)
        return event


def _context(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in (("request_id", context.request_id.get()), ("change_id", context.change_id.get())):
        if value:
            event.setdefault(name, value)
    return event


def _trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["trace"] = trace(error)
    return event


def _take_over_standard_logging(level: str, shared: list[Processor], out: _Stream) -> None:
    """Libraries log through the standard library: their warnings become lines like ours, their chatter is left out."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


class _Stream:
    """Each line is written whole, whichever thread and library it comes from. A log that cannot be written (a closed pipe, a
    full disk) must not stop the work.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock, suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.flush()
