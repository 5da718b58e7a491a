"""Secrets sealed to the worker's public key: the web process can write them and cannot read them (PyNaCl SealedBox).

The id of the row that a secret belongs to is sealed in with it, so that a ciphertext copied to another row does not open.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal

PUBLIC_NAME, PRIVATE_NAME = "sealing.pub", "sealing.key"


def create_keys(folder: Path) -> None:
    """Makes the key pair once (private 0600). Existing keys are kept: replacing them would lose every sealed secret."""
    folder.mkdir(parents=True, exist_ok=True)
    private_path = folder / PRIVATE_NAME
    try:
        handle = os.open(private_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    private = PrivateKey.generate()
    with os.fdopen(handle, "wb") as stream:
        stream.write(base64.b64encode(bytes(private)))
    (folder / PUBLIC_NAME).write_bytes(base64.b64encode(bytes(private.public_key)))


class Sealer:
    """Seals with the public key alone."""

    def __init__(self, public_key: bytes) -> None:
        self._box = SealedBox(PublicKey(public_key))

    @classmethod
    def from_folder(cls, folder: Path) -> Sealer:
        """Reads the public key that `create_keys` wrote."""
        return cls(_read(folder / PUBLIC_NAME))

    def seal(self, row_id: str, secret: str) -> str:
        """Base64 ciphertext of a secret that belongs to one row."""
        return base64.b64encode(self._box.encrypt(canonical({"row": row_id, "secret": secret}))).decode()


class Opener:
    """Opens what was sealed; only the worker has the private key."""

    def __init__(self, private_key: bytes) -> None:
        self._box = SealedBox(PrivateKey(private_key))

    @classmethod
    def from_folder(cls, folder: Path) -> Opener:
        """Reads the private key that `create_keys` wrote."""
        return cls(_read(folder / PRIVATE_NAME))

    def open(self, row_id: str, sealed: str) -> str:
        """The secret. Refusal when it was sealed for another row or with another key."""
        try:
            content = loads(self._box.decrypt(base64.b64decode(sealed, validate=True)))
        except (CryptoError, ValueError) as error:
            raise _unreadable() from error
        if content["row"] != row_id:
            raise _unreadable()
        return str(content["secret"])


def _unreadable() -> Refusal:
    return Refusal(
        "This server's credential cannot be opened with the worker's key.",
        "Enter the credential again; it is then sealed to the present key.",
        code="credential-unreadable",
    )


def _read(path: Path) -> bytes:
    try:
        return base64.b64decode(path.read_bytes(), validate=True)
    except (OSError, ValueError) as error:
        raise Refusal(
            f"The sealing key {path.name} is missing or damaged.",
            "Restore it from your backup, or create new keys and enter every credential again.",
            code="sealing-key",
        ) from error
