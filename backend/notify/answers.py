"""What came of one try to send, in our words: what a receiver itself says is never repeated."""

from __future__ import annotations

from dataclasses import dataclass

_REDIRECTS = range(300, 400)
_LATER = frozenset({408, 425, 429})
GONE = 410


@dataclass(frozen=True)
class Answer:
    """One try.

    Args:
        says: what came of it, for people.
        status: the receiver's code, if it gave one.
        final: trying again is of no use before somebody corrects something.
        gone: the receiver says that there is nothing any more: the route stops.
    """

    ok: bool
    says: str
    status: int | None = None
    final: bool = False
    gone: bool = False


def of_status(status: int) -> Answer:
    """What an HTTP status means for a message."""
    if 200 <= status < 300:
        return Answer(True, f"It was taken ({status}).", status)
    if status in _REDIRECTS:
        return Answer(False, f"It answered with a redirect ({status}); redirects are not followed.", status)
    if status == GONE:
        return Answer(False, "It says that nothing is there any more (410), so the route was stopped.", status, True, True)
    if status in (401, 403):
        return Answer(False, f"It does not let us in ({status}).", status)
    if status in _LATER:
        return Answer(False, f"It asks to be left alone for a while ({status}).", status)
    if 400 <= status < 500:
        return Answer(False, f"It refuses this message ({status}).", status)
    return Answer(False, f"It failed ({status}).", status)


def of_mail(status: int) -> Answer:
    """What the last code of a mail server means: 4xx may be otherwise later, 5xx speaks of this message or recipient."""
    if 500 <= status < 600:
        return Answer(False, f"The mail server refuses this message or its recipient ({status}).", status, final=True)
    return Answer(False, f"The mail server cannot take it now ({status}).", status)
