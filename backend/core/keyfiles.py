"""Small files that must be whole or not there at all, whenever the process is killed: keys and what is said about them."""

from __future__ import annotations

import base64
import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

DUE = timedelta(days=366)
"""How long a key may be in force before another one is due (docs/secrets.md)."""


def is_due(since: datetime | None, now: datetime) -> bool:
    """Whether a key that is in force since then should give way; of the first one nobody may know since when."""
    return since is not None and now - since >= DUE


def write_once(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Makes a file of that mode from its first byte on. FileExistsError where the name is taken."""
    part = _part(path)
    try:
        _write(part, content, mode)
        os.link(part, path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Puts a file in the place of another at once: whoever reads it reads the old one or the new one."""
    part = _part(path)
    _write(part, content, mode)
    part.replace(path)
    _sync_folder(path.parent)


def read_key(path: Path) -> bytes:
    """The key in a file, which is base64. OSError or ValueError where there is none."""
    return base64.b64decode(path.read_bytes(), validate=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
