"""What the settings files of sign-in and of bearer tokens have in common: how one is read, and what is said of an issuer."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, ValidationError

from backend.core.errors import Refusal

METADATA = "/.well-known/openid-configuration"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures by a key that only the issuer has. `none` and the HS family are not among them and cannot be chosen."""
USUAL = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_name(text: str) -> bool:
    """Whether an issuer may be called so: small letters, digits and dashes."""
    return _NAME.fullmatch(text) is not None


def table(path: Path) -> dict[str, Any]:
    """What stands in a TOML file. Refusal (`bad-setting`), which repeats nothing of the file: it may hold secrets."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise bad(f"{path} cannot be read.", "Name a file that this process may read.") from error
    except tomllib.TOMLDecodeError:
        raise bad(f"{path} is not TOML.", "Correct it; `python -m tomllib`-like tools say where.") from None


def bad(message: str, remedy: str) -> Refusal:
    """The refusal of a setting."""
    return Refusal(message, remedy, code="bad-setting")


def first_fault(error: ValidationError, *above: str) -> tuple[str, str]:
    """(field, what is wrong with it) of the first fault, without the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join((*above, *(str(part) for part in first["loc"]))), first["msg"]


def address(url: str) -> SplitResult:
    """An address of a host and a path. ValueError for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("it is no address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("it is an address with http(s)://, a host and a path, and nothing else")
    return parts


def safe_address(url: str) -> SplitResult:
    """The same, by TLS or on this machine."""
    parts = address(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ValueError("it begins with https://, except on this machine")
    return parts


def _asymmetric(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not set(names) <= set(ALGORITHMS):
        raise ValueError(f"choose among {', '.join(ALGORITHMS)}")
    return names


Algorithms = Annotated[tuple[str, ...], AfterValidator(_asymmetric)]
"""How an issuer may sign."""
