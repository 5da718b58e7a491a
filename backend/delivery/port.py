"""What delivery needs of the package store. `store.PackageStore` is one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Packages(Protocol):
    """Content-addressed, write-once packages."""

    def verify(self, digest: str) -> bool:
        """Whether the stored bytes are there and still hash to the digest."""
        ...

    def local(self, digest: str) -> Path:
        """The local read-only folder that runtimes load the package from."""
        ...

    def read(self, digest: str, path: str, limit: int) -> bytes:
        """One file of a package, of at most `limit` bytes."""
        ...
