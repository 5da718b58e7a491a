"""The only two errors that cross a room's door, so that every page, command and API answer can say what to do next.

A third kind, a plain Python exception, is always a defect: it is logged with its traceback under a short id.
"""

from __future__ import annotations


class CountersignError(Exception):
    """Base of the errors that are meant to be read by a person."""


class Refusal(CountersignError):
    """We will not do this, and here is what would make it possible. Nothing was changed.

    Args:
        message: one sentence that says what was refused and why.
        remedy: one sentence that says what to do next.
        code: a stable kebab-case word for machines (API `code`, exit status mapping, tests).
        facts: small JSON-able details (ids, digests), never upstream bodies and never secrets.
    """

    def __init__(self, message: str, remedy: str, *, code: str = "refused", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class NotFound(Refusal):
    """The named thing does not exist, or the actor may not know that it does."""

    def __init__(self, kind: str, name: str, remedy: str = "Check the name; it is case-sensitive.") -> None:
        super().__init__(f"No {kind} is called {name!r}.", remedy, code="not-found", kind=kind, name=name)


class StaleWrite(Refusal):
    """Someone else changed the row since it was read."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"The {kind} {name} changed while you were looking at it.",
            "Read it again and repeat your action if it still makes sense.",
            code="stale-write",
        )


class Raced(Refusal):
    """Somebody else did the same, or something that rules this out, at the very same moment. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            "Somebody else changed the same at this very moment.",
            "Look at it as it is now and repeat your action if it still makes sense.",
            code="raced",
        )


class ExternalFailure(CountersignError):
    """Another system failed. Upstream bodies are never carried verbatim.

    Args:
        system: which system, in the user's words (`"Triton triton-prod"`).
        message: what it did (`"answered 500 to the load of flight_delay"`).
        retryable: whether the same call may succeed later without anyone changing anything.
        applied_unknown: the call may have taken effect all the same (time-out, reset after the request was sent).
    """

    def __init__(self, system: str, message: str, *, retryable: bool, applied_unknown: bool = False) -> None:
        super().__init__(f"{system} {message}")
        self.system = system
        self.message = message
        self.retryable = retryable
        self.applied_unknown = applied_unknown
