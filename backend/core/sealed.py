"""Secrets sealed to the workers' public key: the web process can write them and cannot read them (PyNaCl SealedBox).

The id of the row that a secret belongs to is sealed in with it, so that a ciphertext copied to another row does not open.

Keys are files of one folder. `sealing.pub` holds the public key in force; `sealing.key` is the first private key and
`sealing-<id>.key` each later one. What is sealed names its key (`<key id>.<base64>`), so that several keys can be read side by
side while one takes the place of another (`backend.core.sealing`, `backend.delivery.resealing`). Texts without a name are from
before keys had one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from backend.core import keyfiles
from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal

PUBLIC_NAME, PRIVATE_NAME = "sealing.pub", "sealing.key"
_LATER = re.compile(r"sealing-[0-9a-f]{16}\.key")


def create_keys(folder: Path) -> None:
    """Makes the first key pair once (private 0600). Existing keys are kept: replacing them would lose every sealed secret."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PUBLIC_NAME).exists():
        return
    if not private_files(folder):
        with suppress(FileExistsError):  # another process was first
            keyfiles.write_once(folder / PRIVATE_NAME, base64.b64encode(bytes(PrivateKey.generate())))
    newest = max(private_files(folder), key=lambda one: one.stat().st_mtime)
    publish(folder, _private(newest))  # also where a crash had left the private half alone


def key_id(public_key: bytes) -> str:
    """The name of a pair of keys: 16 hex digits of its public half's SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def key_of(sealed: str) -> str:
    """The name of the key that a text is sealed to; "" where it does not say."""
    return sealed.rpartition(".")[0]


def private_files(folder: Path) -> list[Path]:
    """The files of private keys that are there."""
    return [one for one in sorted(folder.glob("sealing*.key")) if one.name == PRIVATE_NAME or _LATER.fullmatch(one.name)]


def readable_keys(folder: Path) -> dict[str, Path]:
    """Key id -> its private file, of those that this process may read."""
    found: dict[str, Path] = {}
    for path in private_files(folder):
        if os.access(path, os.R_OK) and (private := _present(path)) is not None:
            found[key_id(bytes(private.public_key))] = path
    return found


def public_id(folder: Path) -> str:
    """The name of the key that secrets are sealed to now."""
    return key_id(_read(folder / PUBLIC_NAME))


def add_private(folder: Path) -> str:
    """A further private key beside those that are there; nothing is sealed to it before `publish`. Returns its name."""
    made = PrivateKey.generate()
    name = key_id(bytes(made.public_key))
    keyfiles.write_once(folder / f"sealing-{name}.key", base64.b64encode(bytes(made)))
    return name


def publish_id(folder: Path, name: str) -> None:
    """From now on secrets are sealed to this key, whose private half is here."""
    path = readable_keys(folder).get(name)
    private = _present(path) if path is not None else None
    if private is not None:  # else another took its place meanwhile, and is published by whoever did that
        publish(folder, private)


def publish(folder: Path, private: PrivateKey) -> None:
    """Puts the public half in force, at once and whole: whoever reads the file reads the old one or the new one."""
    keyfiles.replace(folder / PUBLIC_NAME, base64.b64encode(bytes(private.public_key)))


@dataclass(frozen=True)
class Sealer:
    """Seals with the public key alone. The key is read anew each time: another may have taken its place meanwhile."""

    folder: Path

    @classmethod
    def from_folder(cls, folder: Path) -> Sealer:
        """The sealer of the folder that `create_keys` wrote. Refusal where there is no public key."""
        _read(folder / PUBLIC_NAME)
        return cls(folder)

    def seal(self, row_id: str, secret: str) -> str:
        """A secret that belongs to one row, sealed: `<key id>.<base64>`."""
        public = _read(self.folder / PUBLIC_NAME)
        box = SealedBox(PublicKey(public))
        return f"{key_id(public)}.{base64.b64encode(box.encrypt(canonical({'row': row_id, 'secret': secret}))).decode()}"


class Opener:
    """Opens what was sealed; only the worker has the private keys. A key that was added later is found when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boxes: dict[str, tuple[Path, SealedBox[PrivateKey]]] = {}
        self._load()

    @classmethod
    def from_folder(cls, folder: Path) -> Opener:
        """Reads the private keys. Refusal where there is none."""
        return cls(folder)

    def open(self, row_id: str, sealed: str) -> str:
        """The secret. Refusal when it was sealed for another row or with a key that is not here."""
        name, _, text = sealed.rpartition(".")
        for box in self._named(name):
            try:
                content = loads(box.decrypt(base64.b64decode(text, validate=True)))
            except (CryptoError, ValueError):
                continue
            if content["row"] == row_id:
                return str(content["secret"])
        raise Refusal(
            "This server's credential cannot be opened with the worker's key.",
            "Enter the credential again; it is then sealed to the present key.",
            code="credential-unreadable",
        )

    def _named(self, name: str) -> list[SealedBox[PrivateKey]]:
        known = self._boxes.get(name)
        if known is None or not known[0].exists():
            self._load()
        found = [self._boxes[name]] if name in self._boxes else list(self._boxes.values()) if not name else []
        return [box for _, box in found]

    def _load(self) -> None:
        found = readable_keys(self._folder)
        if not found:
            _read(self._folder / PRIVATE_NAME)  # says what is wrong with it
        keys = {name: (path, _present(path)) for name, path in found.items()}
        self._boxes = {name: (path, SealedBox(private)) for name, (path, private) in keys.items() if private is not None}


def _private(path: Path) -> PrivateKey:
    return PrivateKey(_read(path))


def _present(path: Path) -> PrivateKey | None:
    """The key of a file; None where it was destroyed since the folder was looked at."""
    try:
        return _private(path)
    except Refusal:
        if path.exists():
            raise
        return None


def _read(path: Path) -> bytes:
    try:
        return keyfiles.read_key(path)
    except (OSError, ValueError) as error:
        raise Refusal(
            f"The sealing key {path.name} is missing or damaged.",
            "Restore it from your backup, or create new keys and enter every credential again.",
            code="sealing-key",
        ) from error
