"""Where a token comes from: a text, the environment, a file, or the identity that a CI job gets from its own platform.

A token is asked for when a request is made and never kept anywhere that prints it. What a CI platform gives is short-lived, so
that it can be asked for anew: when the server does not take it any more, that is done once.

Sources: GitHub, "OpenID Connect in cloud providers" (`ACTIONS_ID_TOKEN_REQUEST_URL`, `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, the
answer's `value`); GitLab, "OpenID Connect (OIDC) Authentication Using ID Tokens" (`id_tokens` puts a token into a variable
of the job).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backend.client.errors import NoToken, StrangeAnswer, Unreachable

TOKEN = "COUNTERSIGN_TOKEN"
TOKEN_FILE = "COUNTERSIGN_TOKEN_FILE"
ID_TOKEN = "COUNTERSIGN_ID_TOKEN"
AUDIENCE = "COUNTERSIGN_TOKEN_AUDIENCE"
GITHUB_URL, GITHUB_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TEXT = re.compile(r"[\x21-\x7e]{8,16384}")
_MOST_BYTES = 16_384


class Tokens(Protocol):
    """A source of tokens."""

    @property
    def says(self) -> str:
        """Where they come from, for people."""
        ...

    def token(self) -> str:
        """The token to send now. NoToken."""
        ...

    def renew(self) -> bool:
        """Whether another one than before can be had: what was given before was not taken."""
        ...


@dataclass(frozen=True, repr=False)
class Given:
    """A token that is there as a text."""

    text: str
    says: str = "a token that was given"

    def __post_init__(self) -> None:
        checked(self.text, self.says)

    def __repr__(self) -> str:
        return f"Given(says={self.says!r})"

    def token(self) -> str:
        """The text."""
        return self.text

    def renew(self) -> bool:
        """There is no other one."""
        return False


class FromFile:
    """A token in a file, read each time anew, as files of orchestrators are replaced while a program runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""
        self.says = f"the file {path}"

    def token(self) -> str:
        """The file's text."""
        self._last = self._read()
        return self._last

    def renew(self) -> bool:
        """Whether somebody put another one there since."""
        return bool(self._last) and self._read() != self._last

    def _read(self) -> str:
        try:
            with self._path.open("rb") as stream:
                text = stream.read(_MOST_BYTES + 1).decode("ascii").strip()
        except (OSError, UnicodeError):
            text = ""
        if not text:
            raise NoToken(f"{self._path} cannot be read as a token.", "Name a readable file that holds the token alone.")
        return checked(text, self.says)


@dataclass
class FromGitHub:
    """The identity of a job of GitHub Actions, which needs `permissions: id-token: write`.

    Args:
        audience: for whom the token is; the server's setting for this issuer has to name it.
        ask: asks an address with a bearer token for a JSON object; `wire.asked`, unless a test gives another.
    """

    url: str = field(repr=False)
    bearer: str = field(repr=False)
    audience: str
    ask: Callable[[str, str, Mapping[str, str]], Mapping[str, object]] = field(repr=False)
    says: str = "the identity of this GitHub Actions job"
    _kept: str = field(default="", repr=False)

    def token(self) -> str:
        """A token for the audience, kept until it is not taken any more."""
        self._kept = self._kept or self._fresh()
        return self._kept

    def renew(self) -> bool:
        """GitHub gives another one each time."""
        self._kept = ""
        return True

    def _fresh(self) -> str:
        try:
            told = self.ask(self.url, self.bearer, {"audience": self.audience})
        except (Unreachable, StrangeAnswer):
            told = {}
        value = told.get("value")
        if not isinstance(value, str):
            raise NoToken("GitHub gave this job no identity.", "Add `permissions: id-token: write` to the job.")
        return checked(value, self.says)


def from_environment(
    audience: str,
    ask: Callable[[str, str, Mapping[str, str]], Mapping[str, object]],
    environment: Mapping[str, str] | None = None,
) -> Tokens | None:
    """The source that the environment names, the nearest first; None where it names none.

    `COUNTERSIGN_TOKEN`, `COUNTERSIGN_TOKEN_FILE`, then the identity of a CI job: `COUNTERSIGN_ID_TOKEN` (as GitLab's
    `id_tokens` fills it), or what GitHub gives for `COUNTERSIGN_TOKEN_AUDIENCE`, by default the server's address.
    """
    told = os.environ if environment is None else environment
    if told.get(TOKEN, "").strip():
        return Given(told[TOKEN].strip(), f"the variable {TOKEN}")
    if told.get(TOKEN_FILE):
        return FromFile(Path(told[TOKEN_FILE]))
    if told.get(ID_TOKEN, "").strip():
        return Given(told[ID_TOKEN].strip(), f"the variable {ID_TOKEN}")
    if told.get(GITHUB_URL) and told.get(GITHUB_TOKEN):
        return FromGitHub(told[GITHUB_URL], told[GITHUB_TOKEN], told.get(AUDIENCE) or audience, ask)
    return None


def checked(text: str, says: str) -> str:
    """The text, where it can be a token at all: one printable word, so that it cannot break a header."""
    if _TEXT.fullmatch(text) is None:
        raise NoToken(f"There is no token in {says}.", "Put the token there, whole and alone.", code="bad-token")
    return text
