"""Signed ledger heads, kept outside the database: they show that the chain's end was cut off, which a chain alone cannot.

One write-once file a head (`head-<seq>.json`) under an fsspec URL, signed with Ed25519 (PyNaCl). Keep the folder where whoever
may write the database may not write.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from nacl.exceptions import BadSignatureError

from backend.audit import signing
from backend.audit.signing import InForce, Signer, Succession, create_key
from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal

__all__ = ["Head", "HeadStore", "create_key"]


@dataclass(frozen=True)
class Head:
    """Where the chain ended at a moment."""

    seq: int
    hash: str
    at: str
    """ISO time, UTC."""
    vouches: bool = True
    """Whether the key that signed it was in force for this row (`backend.audit.signing`)."""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return canonical({"seq": self.seq, "hash": self.hash, "at": self.at})


class HeadStore:
    """The exported heads.

    Args:
        url: fsspec URL of the folder.
        keys: folder of the key pair; only the public half is needed to verify.
    """

    def __init__(self, url: str, keys: Path) -> None:
        self._url = url
        self._keys = keys

    def export(self, seq: int, head_hash: str, at: datetime) -> Head:
        """Signs and writes a head; the same seq twice keeps the first file."""
        head = Head(seq, head_hash, at.isoformat())
        signature = signing.private_key(self._keys).sign(head.signed_bytes()).signature
        facts = {"seq": head.seq, "hash": head.hash, "at": head.at}
        content = canonical({**facts, "signature": base64.b64encode(signature).decode()})
        files, root = self._open()
        files.makedirs(root, exist_ok=True)
        path = f"{root}/head-{seq:020d}.json"
        if not files.exists(path):
            files.pipe_file(f"{path}.part", content)
            files.mv(f"{path}.part", path)
        return head

    def latest_seq(self) -> int:
        """The newest exported seq; 0 when there is none."""
        names = self._names()
        return int(names[-1].rsplit("head-", 1)[1].removesuffix(".json")) if names else 0

    def read(self) -> list[Head]:
        """Every exported head in order, signatures checked. Refusal names a file that was altered."""
        signers = signing.signers(self._keys)
        files, _ = self._open()
        return [_checked(name, loads(files.cat_file(name)), signers) for name in self._names()]

    def key_id(self) -> str:
        """The name of the key that signs."""
        return signing.present_id(self._keys)

    def signing_key(self) -> InForce:
        """What is known of the key that signs."""
        return signing.in_force(self._keys)

    def succeed(self, last_seq: int, at: datetime) -> Succession:
        """Makes the next key, with the present one's word for it; `enforce` puts it in force."""
        return signing.succeed(self._keys, last_seq, at)

    def enforce(self, said: Succession) -> None:
        """From now on the next key signs."""
        signing.enforce(self._keys, said)

    def _names(self) -> list[str]:
        files, root = self._open()
        if not files.exists(root):
            return []
        return sorted(name for name in files.ls(root, detail=False, refresh=True) if name.endswith(".json"))

    def _open(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self._url)
        return files, root.rstrip("/")


def _checked(name: str, content: Any, signers: Sequence[Signer]) -> Head:
    short = name.rsplit("/", 1)[-1]
    try:
        head = Head(int(content["seq"]), str(content["hash"]), str(content["at"]))
        signature = base64.b64decode(content["signature"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise _altered(short) from error
    for one in reversed(signers):
        if _is_signed(one, head, signature):
            return replace(head, vouches=one.last_seq is None or head.seq <= one.last_seq)
    raise _altered(short)


def _is_signed(by: Signer, head: Head, signature: bytes) -> bool:
    try:
        by.verify.verify(head.signed_bytes(), signature)
    except (ValueError, BadSignatureError):
        return False
    return True


def _altered(short: str) -> Refusal:
    return Refusal(
        f"The signed ledger head {short} was altered or is not ours.",
        "Restore it from your copy of the ledger heads, then verify again.",
        code="head-altered",
        file=short,
    )
