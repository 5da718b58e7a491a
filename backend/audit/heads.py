"""Signed ledger heads, kept outside the database: they show that the chain's end was cut off, which a chain alone cannot.

One write-once file a head (`head-<seq>.json`) under an fsspec URL, signed with Ed25519 (PyNaCl). Keep the folder where whoever
may write the database may not write.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal

PRIVATE_NAME, PUBLIC_NAME = "ledger.key", "ledger.pub"


@dataclass(frozen=True)
class Head:
    """Where the chain ended at a moment."""

    seq: int
    hash: str
    at: str
    """ISO time, UTC."""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return canonical({"seq": self.seq, "hash": self.hash, "at": self.at})


def create_key(folder: Path) -> None:
    """Makes the signing key once (private 0600); an existing one is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(folder / PRIVATE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    key = SigningKey.generate()
    with os.fdopen(handle, "wb") as stream:
        stream.write(base64.b64encode(bytes(key)))
    (folder / PUBLIC_NAME).write_bytes(base64.b64encode(bytes(key.verify_key)))


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
        signature = SigningKey(_read_key(self._keys / PRIVATE_NAME)).sign(head.signed_bytes()).signature
        content = canonical({**vars(head), "signature": base64.b64encode(signature).decode()})
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
        verify = VerifyKey(_read_key(self._keys / PUBLIC_NAME))
        files, _ = self._open()
        return [_checked(name, loads(files.cat_file(name)), verify) for name in self._names()]

    def _names(self) -> list[str]:
        files, root = self._open()
        if not files.exists(root):
            return []
        return sorted(name for name in files.ls(root, detail=False, refresh=True) if name.endswith(".json"))

    def _open(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self._url)
        return files, root.rstrip("/")


def _checked(name: str, content: Any, verify: VerifyKey) -> Head:
    short = name.rsplit("/", 1)[-1]
    try:
        head = Head(int(content["seq"]), str(content["hash"]), str(content["at"]))
        verify.verify(head.signed_bytes(), base64.b64decode(content["signature"], validate=True))
    except (KeyError, TypeError, ValueError, BadSignatureError) as error:
        raise Refusal(
            f"The signed ledger head {short} was altered or is not ours.",
            "Restore it from your copy of the ledger heads, then verify again.",
            code="head-altered",
            file=short,
        ) from error
    return head


def _read_key(path: Path) -> bytes:
    try:
        return base64.b64decode(path.read_bytes(), validate=True)
    except (OSError, ValueError) as error:
        raise Refusal(
            f"The ledger key {path.name} is missing or damaged.", "Restore it from your backup.", code="ledger-key"
        ) from error
