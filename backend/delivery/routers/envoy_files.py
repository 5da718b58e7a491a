"""The two files that an Envoy watches, and its log: replaced by renaming, read within bounds."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.routers.envoy_render import Json, digest_of, text_of

MAX_FILE_BYTES = 64 << 20
_LOG_TAIL_BYTES = 64 << 10
_MAX_REASON = 300
_REFUSED = re.compile(r"(?:update rejected|[Uu]nable to (?:parse|read|convert)[^:]*|update failed): *(.*)")


@dataclass(frozen=True)
class Written:
    """What a file holds now. `version` is "" and `resources` is empty when it is missing or not what Envoy reads."""

    version: str
    resources: tuple[Json, ...]
    renamed_at: float
    """Seconds since the epoch; 0.0 when there is no file."""


class WatchedFile:
    """One discovery file. Envoy looks when a file is renamed into its folder; a write in place would go unnoticed."""

    def __init__(self, path: str, system: str) -> None:
        self.path = Path(path)
        self._system = system

    def read(self) -> Written:
        """Its content, whoever wrote it."""
        try:
            with self.path.open("rb") as stream:
                renamed_at = os.fstat(stream.fileno()).st_ctime
                content = stream.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return Written("", (), 0.0)
        except OSError as error:
            raise self._failure("read", error) from error
        return _parsed(content, renamed_at)

    def replace(self, resources: Iterable[Json]) -> str:
        """Puts these resources in place in one step; returns the version that names them, a digest of them."""
        listed = list(resources)
        version = version_of(listed)
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        try:
            _write(fresh, text_of({"version_info": version, "resources": listed}), self.path)
            os.replace(fresh, self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._failure("replace", error) from error
        return version

    def _failure(self, verb: str, error: OSError) -> ExternalFailure:
        message = f"cannot be told its routes: could not {verb} {self.path.name} ({error.strerror})"
        return ExternalFailure(self._system, message, retryable=True)


def version_of(resources: Iterable[Json]) -> str:
    """The version under which Envoy reports these resources."""
    return digest_of(list(resources))


def last_reason(log_file: str | None) -> str:
    """Why Envoy refused a configuration the last time that its log says so, in one bounded line; "" when it is not known."""
    if log_file is None:
        return ""
    try:
        with Path(log_file).open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LOG_TAIL_BYTES))
            lines = stream.read(_LOG_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = [match[1] for line in lines if (match := _REFUSED.search(line))]
    return one_line(found[-1]) if found else ""


def one_line(text: str) -> str:
    """A text of another system, printable, in one line of at most 300 characters."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:_MAX_REASON]


def _parsed(content: bytes, renamed_at: float) -> Written:
    try:
        found: Any = loads(content) if len(content) <= MAX_FILE_BYTES else None
        resources = tuple(dict(each) for each in found["resources"])
        return Written(str(found["version_info"]), resources, renamed_at)
    except (Refusal, KeyError, TypeError, ValueError):
        return Written("", (), renamed_at)


def _write(fresh: Path, text: str, like: Path) -> None:
    """A whole, durable file that whoever could read the old one can read too."""
    with fresh.open("x") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
        if like.exists():
            os.fchmod(stream.fileno(), like.stat().st_mode & 0o777)
