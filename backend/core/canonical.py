"""Canonical JSON (RFC 8785) and SHA-256 digests: two parties that agree on a value agree on its bytes.

Everything that a person approves, or that the ledger chains, is hashed through this file and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rfc8785

from backend.core.errors import Refusal

DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_BLOCK = 1 << 20


class TreeFile(NamedTuple):
    """One file of a tree: POSIX path relative to the root, size in bytes, `sha256:` digest of its content."""

    path: str
    size: int
    digest: str


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value. Raises Refusal for NaN, infinities, and integers beyond 2**53."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise Refusal(
            f"This value has no canonical JSON form: {error}.",
            "Use finite numbers, integers below 2^53 and plain text.",
            code="not-canonical",
        ) from error


def digest(value: Any) -> str:
    """`sha256:<hex>` over the canonical JSON of a value."""
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> str:
    """`sha256:<hex>` over raw bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`sha256:<hex>` over a file's content, read in blocks of 1 MiB."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def tree_files(root: Path) -> list[TreeFile]:
    """Every regular file under `root`, sorted by path. A link or special file inside is a Refusal: it could point away."""
    files = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Refusal(
                f"{path.relative_to(root)} is a link or a special file.",
                "Replace it by a regular file; only those can be hashed and copied.",
                code="not-a-regular-file",
            )
        if path.is_file():
            files.append(TreeFile(path.relative_to(root).as_posix(), path.stat().st_size, digest_file(path)))
    return sorted(files)


def digest_tree(files: Iterable[TreeFile | tuple[str, int, str]]) -> str:
    """Artifact or package digest: canonical JSON of the sorted list of [path, size, sha256] (product.md, Words)."""
    return digest([list(entry) for entry in sorted(tuple(file) for file in files)])


def is_digest(text: str) -> bool:
    """Whether `text` is a full `sha256:<64 hex>` digest."""
    return DIGEST.fullmatch(text) is not None


def loads(text: str | bytes) -> Any:
    """JSON from outside, with duplicate keys and NaN refused: what was approved must not depend on the parser."""
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except RecursionError as error:
        raise Refusal("This JSON is nested too deeply.", "Send a flatter document.", code="bad-json") from error
    except ValueError as error:
        raise Refusal(f"This is not valid JSON: {error}.", "Correct it and send it again.", code="bad-json") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names the same key twice")
    return found


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
