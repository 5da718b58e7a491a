"""The key under which units and hashed columns have their pseudonyms: one an installation, outside the database."""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from backend.core import keyfiles
from backend.core.errors import ExternalFailure

NAME = "pseudonyms.key"
BYTES = 32


def key(folder: Path) -> bytes:
    """The key in this folder, made where there is none yet. ExternalFailure for one that cannot be read.

    Whoever loses it can tell no hashed value from another any more: it belongs into the backup, apart from the log.
    """
    return _key(folder.absolute() / NAME)


@lru_cache(maxsize=8)
def _key(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):  # another process was first
                keyfiles.write_once(path, base64.b64encode(secrets.token_bytes(BYTES)))
        found = keyfiles.read_key(path)
    except (OSError, ValueError) as error:
        raise ExternalFailure("The inference log's key", f"cannot be read or made in {path.parent}", retryable=True) from error
    if len(found) != BYTES:
        raise ExternalFailure("The inference log's key", f"in {path.parent} is damaged", retryable=False)
    return found
