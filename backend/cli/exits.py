"""The exit codes of every command: one table, which `--help`, the documentation and the commands themselves are drawn from."""

from __future__ import annotations

from typing import Final, NamedTuple

DONE: Final = 0
DEFECT: Final = 1
REFUSED: Final = 2
EXTERNAL: Final = 3
NO: Final = 4
REJECTED: Final = 5
EXPIRED: Final = 6
TIME_OVER: Final = 7
DIFFERS: Final = 8


class Exit(NamedTuple):
    """One exit code: in a few words for `--help`, and what it means."""

    code: int
    word: str
    means: str


EXITS = (
    Exit(DONE, "done", "It is done; where it was waited for, it is reached."),
    Exit(
        DEFECT,
        "a defect",
        "A defect of Countersign, or broken off by hand. The message names the id under which the log has it.",
    ),
    Exit(REFUSED, "refused", "Refused, or wrongly called. Nothing was changed; the message says what to do next."),
    Exit(EXTERNAL, "another system failed", "The server, its database or a system behind it failed or cannot be reached."),
    Exit(
        NO,
        "no",
        "The answer is no: a ledger that is not intact, an installation that lacks something, a change that was waited for and "
        "is failed, blocked, suspended, superseded or rolled back.",
    ),
    Exit(REJECTED, "rejected", "A change that was waited for was rejected, withdrawn or revoked by somebody."),
    Exit(EXPIRED, "expired", "A change that was waited for expired: nobody decided, or nobody started it, in time."),
    Exit(TIME_OVER, "time over", "The time given for waiting is over, and what is waited for may still come."),
    Exit(
        DIFFERS,
        "differs",
        "`apply --dry-run`: what is there differs from what the files declare.",
    ),
)


def in_short() -> str:
    """One line for `--help`."""
    return "Exit codes: " + ", ".join(f"{one.code} {one.word}" for one in EXITS) + ". See docs/cli.md."
