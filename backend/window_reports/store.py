"""Where the pages of reports lie: by the digest of what they hold, packed, in a folder or anywhere that fsspec reaches."""

from __future__ import annotations

import contextlib
import gzip
import os
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from backend.core.canonical import digest_bytes, is_digest
from backend.core.errors import ExternalFailure, Refusal

MOST_BYTES = 64 << 20
"""Of one page, unpacked."""
_SUFFIX = ".html.gz"
_ONLY_OURS = 0o600


class ReportStore:
    """Pages by digest. The same page stored twice is stored once.

    Args:
        url: fsspec URL of the root. Nothing is opened before the first use.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: tuple[Any, str] | None = None

    def put(self, page: bytes) -> str:
        """Keeps a page; its digest."""
        digest = digest_bytes(page)
        packed = gzip.compress(page, compresslevel=6, mtime=0)
        with _failures("cannot be written"):
            self._write(self._path(digest), packed)
        return digest

    def read(self, digest: str) -> bytes:
        """A page, checked against its digest. Refusal `report-damaged` where it is not that page any more, or not there."""
        files, _ = self._open()
        try:
            with _failures("cannot be read", FileNotFoundError):
                packed: bytes = files.cat_file(self._path(digest))
            page = _unpacked(packed)
        except (FileNotFoundError, zlib.error, EOFError):
            raise _damaged() from None
        if digest_bytes(page) != digest:
            raise _damaged()
        return page

    def remove(self, digest: str) -> None:
        """Takes a page away; one that is not there is no error."""
        files, _ = self._open()
        with _failures("cannot be written"), contextlib.suppress(FileNotFoundError):
            files.rm_file(self._path(digest))

    def digests(self, before: datetime) -> list[str]:
        """Those pages that were written before a time."""
        files, root = self._open()
        with _failures("cannot be listed"):
            found = files.find(root, detail=True) if files.exists(root) else {}
        names = ((str(path).rsplit("/", 1)[-1].removesuffix(_SUFFIX), facts) for path, facts in found.items())
        told = ((f"sha256:{name}", facts) for name, facts in names)
        return sorted(digest for digest, facts in told if is_digest(digest) and _written(facts) < before)

    def _path(self, digest: str) -> str:
        if not is_digest(digest):
            raise Refusal(f"{digest[:80]!r} is no digest.", "Look at the list of reports.", code="bad-digest")
        name = digest.removeprefix("sha256:")
        return f"{self._open()[1]}/sha256/{name[:2]}/{name}{_SUFFIX}"

    def _write(self, path: str, content: bytes) -> None:
        files, _ = self._open()
        protocol = files.protocol
        if "file" not in ((protocol,) if isinstance(protocol, str) else protocol):
            files.pipe_file(path, content)
            return
        whole = Path(path)
        whole.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = whole.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ONLY_OURS), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, whole)
        finally:
            beside.unlink(missing_ok=True)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            files, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, use_listings_cache=False)
            self._opened = files, root.rstrip("/")
        return self._opened


def _unpacked(packed: bytes) -> bytes:
    """Up to the bound: what lies in a store may have been put there by others."""
    unpacker = zlib.decompressobj(wbits=31)
    page = unpacker.decompress(packed, MOST_BYTES)
    if not unpacker.eof:
        raise _damaged()
    return page


def _written(facts: dict[str, Any]) -> datetime:
    told = facts.get("mtime") or facts.get("LastModified") or facts.get("updated")
    if isinstance(told, datetime):
        return told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(told), UTC) if isinstance(told, int | float) else datetime.max.replace(tzinfo=UTC)


@contextlib.contextmanager
def _failures(what: str, *besides: type[OSError]) -> Iterator[None]:
    """`besides`: what the caller looks at itself."""
    try:
        yield
    except besides:
        raise
    except (OSError, ValueError) as error:
        raise ExternalFailure("The store of window reports", what, retryable=True) from error


def _damaged() -> Refusal:
    return Refusal(
        "What was kept of this report is damaged or gone.", "Remove it, and ask for another one.", code="report-damaged"
    )
