"""The keys that sign the ledger's heads: which one is in force, and which heads each of those before it vouches for.

`ledger.pub` is the first public key and stays what everything is checked from. Each later key is named by a statement that the
key before it signed, with the row up to which that one vouches; its private half is then destroyed. A head that a retired key
signed for a later row (an export that was under way, or a key that was stolen) must agree with the chain like every other, but
vouches for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal
from backend.core.keyfiles import read_key, replace, write_once

PRIVATE_NAME, PUBLIC_NAME = "ledger.key", "ledger.pub"
_STATEMENT = "ledger-succession-{:04d}.json"
_LATER = re.compile(r"ledger-[0-9a-f]{16}\.key")


@dataclass(frozen=True)
class Succession:
    """The statement that another key signs from now on."""

    number: int
    last_seq: int
    """The last row for which the key before vouches."""
    key: str
    """The next public key, base64."""
    at: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature of the key before covers."""
        return canonical({"number": self.number, "last_seq": self.last_seq, "key": self.key, "at": self.at})

    @property
    def next_id(self) -> str:
        """The next key's name."""
        return key_id(base64.b64decode(self.key))


@dataclass(frozen=True)
class Signer:
    """One key of the chain of keys, and the last row that it vouches for; None for the one in force."""

    verify: VerifyKey
    last_seq: int | None


@dataclass(frozen=True)
class InForce:
    """The key that signs: since when (None for the first one), after which row, and whether its private half is here."""

    id: str
    since: datetime | None
    after_row: int
    is_here: bool


def create_key(folder: Path) -> None:
    """Makes the first signing key once (private 0600); an existing one is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PUBLIC_NAME).exists():
        return
    with suppress(FileExistsError):  # another process was first, or a crash left the private half alone
        write_once(folder / PRIVATE_NAME, base64.b64encode(bytes(SigningKey.generate())))
    private = SigningKey(_read(folder / PRIVATE_NAME))
    replace(folder / PUBLIC_NAME, base64.b64encode(bytes(private.verify_key)))


def key_id(public_key: bytes) -> str:
    """The name of a key: 16 hex digits of its public half's SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def signers(folder: Path) -> list[Signer]:
    """Every key that ever signed, the one in force last. Refusal for a statement that the key before did not sign."""
    found, verify = list[Signer](), VerifyKey(_read(folder / PUBLIC_NAME))
    for one in _statements(folder):
        found.append(Signer(verify, one.last_seq))
        verify = VerifyKey(base64.b64decode(one.key))
    return [*found, Signer(verify, None)]


def private_key(folder: Path) -> SigningKey:
    """The private half of the key in force. Refusal where it is not here."""
    wanted = signers(folder)[-1].verify
    for path in _private_files(folder):
        if (key := SigningKey(_read(path))).verify_key == wanted:
            return key
    raise _no_key(f"ledger-{key_id(bytes(wanted))}.key")


def succeed(folder: Path, last_seq: int, at: datetime) -> Succession:
    """Makes the next key and has the present one say so. Nothing is in force yet: `enforce` does that."""
    present = private_key(folder)
    made = SigningKey.generate()
    key = base64.b64encode(bytes(made.verify_key)).decode()
    said = Succession(len(signers(folder)), last_seq, key, at.isoformat())
    signature = base64.b64encode(present.sign(said.signed_bytes()).signature).decode()
    write_once(folder / f"ledger-{said.next_id}.key", base64.b64encode(bytes(made)))
    return Succession(said.number, said.last_seq, said.key, said.at, signature)


def enforce(folder: Path, said: Succession) -> None:
    """From now on the next key signs; the private half of the one before is destroyed. Refusal where another was quicker."""
    try:
        write_once(folder / _STATEMENT.format(said.number), canonical(vars(said)), 0o644)
    except FileExistsError:
        (folder / f"ledger-{said.next_id}.key").unlink(missing_ok=True)
        raise Refusal(
            "Somebody else put another ledger key in force meanwhile.", "Nothing is left to do.", code="stale-write"
        ) from None
    wanted = signers(folder)[-1].verify
    for path in _private_files(folder):
        if SigningKey(_read(path)).verify_key != wanted:
            path.unlink(missing_ok=True)


def present_id(folder: Path) -> str:
    """The name of the key in force."""
    return key_id(bytes(signers(folder)[-1].verify))


def in_force(folder: Path) -> InForce:
    """What is known of the key in force. Refusal as `signers`."""
    last = list(_statements(folder))[-1:]
    wanted = signers(folder)[-1].verify
    here = any(SigningKey(_read(path)).verify_key == wanted for path in _private_files(folder))
    since, after = (datetime.fromisoformat(last[0].at), last[0].last_seq) if last else (None, 0)
    return InForce(key_id(bytes(wanted)), since, after, here)


def _private_files(folder: Path) -> list[Path]:
    named = (one for one in sorted(folder.glob("ledger*.key")) if one.name == PRIVATE_NAME or _LATER.fullmatch(one.name))
    return [one for one in named if os.access(one, os.R_OK)]


def _statements(folder: Path) -> Iterator[Succession]:
    verify, number = VerifyKey(_read(folder / PUBLIC_NAME)), 1
    while (path := folder / _STATEMENT.format(number)).exists():
        try:
            said = Succession(**loads(path.read_bytes()))
            verify.verify(said.signed_bytes(), base64.b64decode(said.signature, validate=True))
            verify = VerifyKey(base64.b64decode(said.key, validate=True))
        except (OSError, TypeError, ValueError, AttributeError, BadSignatureError) as error:
            raise Refusal(
                f"The statement {path.name} about the ledger's keys was altered.",
                "Restore it from your backup.",
                code="ledger-key",
            ) from error
        yield said
        number += 1


def _read(path: Path) -> bytes:
    try:
        return read_key(path)
    except (OSError, ValueError) as error:
        raise _no_key(path.name) from error


def _no_key(name: str) -> Refusal:
    return Refusal(f"The ledger key {name} is missing or damaged.", "Restore it from your backup.", code="ledger-key")
