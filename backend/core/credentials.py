"""Credentials that an administrator keeps beside the database and that a server refers to: `file:NAME` or `env:NAME`.

`file:NAME` is the file NAME in one folder that the settings name, `env:NAME` the variable COUNTERSIGN_CREDENTIAL_NAME of the
worker's process; nothing else can be referred to. Whoever registers a server also chooses where its credential is sent, so the
administrator says beside each one where it may go: in the file `NAME.origins`, or in COUNTERSIGN_CREDENTIAL_NAME_ORIGINS.
Without that it goes nowhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from backend.core.errors import Refusal

VARIABLE = "COUNTERSIGN_CREDENTIAL_"
_REFERENCE = re.compile(r"file:(?P<file>[A-Za-z0-9][A-Za-z0-9_-]{0,63})|env:(?P<env>[A-Z0-9][A-Z0-9_]{0,63})")
_LARGEST = 16 << 10


def is_reference(kept: str | None) -> bool:
    """Whether what a row keeps is a reference and no sealed secret."""
    return kept is not None and _REFERENCE.fullmatch(kept) is not None


def check_reference(text: str) -> str:
    """The reference, if it is one. Refusal `bad-credential`. Nothing is read: that is the worker's."""
    if not _REFERENCE.fullmatch(text):
        raise Refusal(
            "This is no reference to a credential.",
            "Write file:NAME or env:NAME, with the name that the administrator of this installation gave it.",
            code="bad-credential",
        )
    return text


class References:
    """Reads what is referred to, anew each time, so that a secret that was exchanged is the new one at the next use.

    Args:
        folder: where the files are; None where the settings name none.
    """

    def __init__(self, folder: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        self._folder, self._environment = folder, environment

    def read(self, reference: str, origins: Iterable[str]) -> str:
        """The credential, for these addresses.

        Refusal codes: credential-missing, credential-elsewhere for an address that the administrator did not name.
        """
        match = _REFERENCE.fullmatch(check_reference(reference))
        assert match is not None  # noqa: S101 - was just checked
        name = match["file"] or match["env"]
        secret, allowed = self._file(name) if match["file"] else self._variable(name)
        if secret is None or not secret.isprintable() or not secret.strip():
            _missing(reference, "is not there, or is not one line of text")
        permitted = {_origin(one) for one in re.split(r"[\s,]+", allowed or "") if one}
        strangers = sorted(one for one in origins if _origin(one) not in permitted)
        if strangers:
            raise Refusal(
                f"The credential {reference} may not be sent to {strangers[0]}.",
                "The administrator of this installation names the addresses of each credential (docs/secrets.md).",
                code="credential-elsewhere",
                origin=strangers[0],
            )
        return secret

    def _variable(self, name: str) -> tuple[str | None, str | None]:
        return self._environment.get(VARIABLE + name), self._environment.get(f"{VARIABLE}{name}_ORIGINS")

    def _file(self, name: str) -> tuple[str | None, str | None]:
        if self._folder is None:
            _missing(f"file:{name}", "cannot be found: COUNTERSIGN_CREDENTIALS_DIR is not set for the worker")
        return _text(self._folder, name), _text(self._folder, f"{name}.origins")


def _text(folder: Path, name: str) -> str | None:
    """The text of a plain file of this folder. A link may lead to another place in it, as Kubernetes mounts secrets."""
    try:
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(folder.resolve()) or not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, UnicodeError):
        return None
    return text.rstrip("\r\n") if len(text) <= _LARGEST else None


def _origin(text: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(text)
        return parts.scheme.lower(), parts.hostname or "", parts.port or (443 if parts.scheme.lower() == "https" else 80)
    except ValueError:
        return "", text, 0


def _missing(reference: str, why: str) -> NoReturn:
    raise Refusal(
        f"The credential {reference} {why}.",
        "Ask the administrator of this installation to put it there, or enter the credential itself.",
        code="credential-missing",
    )
