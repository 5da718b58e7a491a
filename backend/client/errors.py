"""What can go wrong when a server is asked, each kind as a type of its own. None of them ever holds a token.

An answer that is not a success is an RFC 9457 problem (`application/problem+json`); its `code` is stable, its `remedy` says
what to do next, and `request_id` finds it again in the server's log and ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Base of everything that this package raises.

    Args:
        message: what happened, in a sentence.
        remedy: what to do next.
        code: a stable word for programs.
    """

    def __init__(self, message: str, remedy: str, *, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class BadAddress(ClientError):
    """Nothing was sent: to this address no token is sent."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy, code="bad-address")


class NoToken(ClientError):
    """Nothing was sent: there is no token that it could be sent with, or it cannot be read."""

    def __init__(self, message: str, remedy: str, *, code: str = "no-identity") -> None:
        super().__init__(message, remedy, code=code)


class Unreachable(ClientError):
    """No answer came: no connection, a time that was over, or a proxy that had nobody behind it.

    `applied_unknown`: what was asked for may have been done all the same.
    """

    def __init__(self, message: str, *, applied_unknown: bool) -> None:
        remedy = "Look at how it stands before you repeat it." if applied_unknown else "Try again; nothing needs to be changed."
        super().__init__(message, remedy, code="unreachable")
        self.applied_unknown = applied_unknown


class StrangeAnswer(ClientError):
    """Something answered, but not as Countersign does: another program or version, or a redirect, which nobody follows."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy, code="strange-answer")


@dataclass(frozen=True)
class FieldError:
    """One field of what was sent (of a file `FILE:LINE:COLUMN`), what is wrong with it and, where that is known, what to do."""

    field: str
    says: str
    remedy: str = ""
    code: str = ""


class Problem(ClientError):
    """The server's answer is a problem; nothing was changed, unless a type below says otherwise.

    Args:
        status: the HTTP status.
        title: the kind of the problem, in a few words.
        request_id: under which the server's log and ledger have it.
        errors: fields that have to be corrected, where that is what is wrong.
    """

    def __init__(
        self,
        message: str,
        remedy: str,
        *,
        code: str,
        status: int,
        title: str = "",
        request_id: str = "",
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(message, remedy, code=code)
        self.status = status
        self.title = title
        self.request_id = request_id
        self.errors = tuple(errors)


class NotSignedIn(Problem):
    """401: the token is not good."""


class NotAllowed(Problem):
    """403: this identity may not do this."""


class NotFound(Problem):
    """404: there is nothing of that name, or nothing that this identity may see."""


class Conflict(Problem):
    """409, 412: it is not as the caller saw it any more, or its state does not allow this."""


class Refused(Problem):
    """400, 413, 422 and the like: it says what to correct."""


class TooOften(Problem):
    """429: asked too often; `retry_after` says for how many seconds to wait."""

    retry_after: float | None = None


class OtherSystemFailed(Problem):
    """502, 503: a system behind the server, or its database, failed; `retry_after` where the server names it."""

    retry_after: float | None = None


class Defect(Problem):
    """500: a defect of the server; its log has the traceback under `request_id`."""


_KINDS: Mapping[int, type[Problem]] = {
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: TooOften,
    502: OtherSystemFailed,
    503: OtherSystemFailed,
}


def problem(status: int, told: Mapping[str, Any], *, request_id: str = "", retry_after: float | None = None) -> Problem:
    """The error for an answer; every text in it is taken as text, and cut."""
    errors = _fields(told.get("errors"))
    unreadable = status == 422 and _text(told, "code") == "bad-request"
    if unreadable and errors and all(one.field.startswith("path.") for one in errors):
        return _nothing(errors[0], _text(told, "request_id") or request_id)
    kind = _KINDS.get(status, Defect if status >= 500 else Refused)
    found = kind(
        _text(told, "detail") or _text(told, "title") or f"The server answered {status}.",
        _text(told, "remedy"),
        code=_text(told, "code") or f"http-{status}",
        status=status,
        title=_text(told, "title"),
        request_id=_text(told, "request_id") or request_id,
        errors=errors,
    )
    if isinstance(found, TooOften | OtherSystemFailed):
        found.retry_after = retry_after
    return found


def _nothing(wrong: FieldError, request_id: str) -> NotFound:
    """What a name in an address comes to that nothing can have: to callers it is a name that nothing has."""
    noun = wrong.field.removeprefix("path.")
    message, remedy = f"No {noun} is called that.", "Check the name; it is case-sensitive."
    return NotFound(message, remedy, code="not-found", status=404, request_id=request_id)


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return value[:2_000] if isinstance(value, str) else ""


def _fields(told: Any) -> tuple[FieldError, ...]:
    listed = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return tuple(
        FieldError(_text(one, "field"), _text(one, "detail") or _text(one, "says"), _text(one, "remedy"), _text(one, "code"))
        for one in listed[:50]
    )
