"""The client for a server's address: with the token that the environment names, else the one that was kept at login."""

from __future__ import annotations

import os
from pathlib import Path

from backend.cli import saved
from backend.client.countersign import Countersign
from backend.client.credentials import TOKEN, TOKEN_FILE, Given, Tokens, from_environment
from backend.client.errors import ClientError, NoToken
from backend.client.wire import Patience, address, asked

__all__ = ["ClientError", "client", "tokens"]
CA_FILE = "COUNTERSIGN_CA_FILE"


def client(
    url: str, *, patience: Patience | None = None, token: str | None = None, seconds: float | None = None
) -> Countersign:
    """The API there. BadAddress, NoToken.

    Args:
        seconds: how long an answer may take, where it shall be less than usual.
    """
    where = address(url)
    ca_file = os.environ.get(CA_FILE)
    source: Tokens = Given(token) if token is not None else tokens(where)
    return Countersign(where, source, ca_file=Path(ca_file) if ca_file else None, patience=patience, seconds=seconds)


def tokens(where: str) -> Tokens:
    """Where the token for a server comes from. NoToken."""
    if (named := from_environment(where, asked)) is not None:
        return named
    if (kept := saved.token(where)) is not None:
        return Given(kept, "`countersign login`")
    raise NoToken(
        f"There is no token for {where}.",
        f"Put one into {TOKEN}, its file's name into {TOKEN_FILE}, or keep one with `countersign login --url {where}`.",
    )
