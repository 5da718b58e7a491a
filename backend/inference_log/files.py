"""The folder that the log lies in: on this machine, or anywhere that fsspec reaches (`s3://`). A file appears whole or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from backend.core.errors import ExternalFailure
from backend.core.failpoints import reach

if TYPE_CHECKING:
    import duckdb

SYSTEM = "The inference log"
BEFORE_RENAME = "inference-log.rename"


@dataclass(frozen=True)
class Engine:
    """What one reading or compaction may use of this machine.

    Args:
        threads: of DuckDB.
        memory: most that it holds, such as `1GB`. Beyond that a query spills to a temporary folder, or fails alone.
    """

    threads: int = 2
    memory: str = "1GB"


class Files:
    """Folders and files below the log's root; paths are relative to it, with `/`. Failures are ExternalFailure, retryable.

    Args:
        root: a folder, or an fsspec URL. Nothing is opened before the first use.
    """

    def __init__(self, root: str | Path) -> None:
        self._url = root.absolute().as_uri() if isinstance(root, Path) else root
        self._opened: tuple[Any, str] | None = None

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        protocol = self._open()[0].protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, sorted; empty when there is no such folder."""
        store, root = self._open()
        with failures("cannot be listed"):
            try:
                found = os.listdir(f"{root}/{folder}") if self.is_local else store.ls(f"{root}/{folder}", detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def read(self, path: str) -> bytes | None:
        """A file's content; None when there is no such file."""
        store, root = self._open()
        with failures("cannot be read"):
            try:
                content: bytes = store.cat_file(f"{root}/{path}")
            except FileNotFoundError:
                return None
        return content

    def columns(self, path: str) -> list[str]:
        """The columns of a Parquet file, from its footer; none where there is no such file any more."""
        store, root = self._open()
        with failures("has files that cannot be read", pa.ArrowException):
            try:
                with store.open(f"{root}/{path}", "rb") as stream:
                    names: list[str] = pq.read_schema(stream).names
            except FileNotFoundError:
                return []
        return names

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        store, root = self._open()
        with failures("cannot be tidied"), suppress(FileNotFoundError):
            store.rm_file(f"{root}/{path}")

    def remove_folder(self, folder: str) -> None:
        """Removes a folder with all that lies in it, if it is there."""
        store, root = self._open()
        with failures("cannot be tidied"), suppress(FileNotFoundError):
            store.rm(f"{root}/{folder}", recursive=True)

    def touched_folders(self, folder: str, since: datetime) -> list[str]:
        """Names of the folders in a folder in which a file may have appeared since a time: of all, where that is not told."""
        _store, root = self._open()
        if not self.is_local:
            return self.names(folder)
        with failures("cannot be listed"):
            try:
                with os.scandir(f"{root}/{folder}") as found:
                    return sorted(one.name for one in found if one.stat().st_mtime >= since.timestamp())
            except FileNotFoundError:
                return []

    def put(self, folder: str, name: str, content: bytes) -> None:
        """A new file: written beside and renamed, or sent in one piece to a store that has no half files."""
        store, root = self._open()
        with failures("cannot be written"):
            if self.is_local:
                with _beside(Path(root, folder), name) as unfinished:
                    unfinished.write_bytes(content)
            else:
                store.pipe_file(f"{root}/{folder}/{name}", content)

    def put_file(self, folder: str, name: str, source: Path) -> None:
        """As `put`, with the content of a local file."""
        store, root = self._open()
        with failures("cannot be written"):
            if self.is_local:
                with _beside(Path(root, folder), name) as unfinished:
                    shutil.copyfile(source, unfinished)
            else:
                store.put_file(str(source), f"{root}/{folder}/{name}")

    def address(self, path: str) -> str:
        """The address by which a connection that `connect` gave opens a file."""
        store, root = self._open()
        return f"{root}/{path}" if self.is_local else str(store.unstrip_protocol(f"{root}/{path}"))

    def connect(self, engine: Engine, spill: Path) -> duckdb.DuckDBPyConnection:
        """A DuckDB of its own that reads these files and installs nothing. `spill`: folder for what does not fit in memory."""
        import duckdb  # a tenth of a second: every process has a log, and most of them never read it

        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": str(engine.threads),
                "memory_limit": engine.memory,
                "temp_directory": str(spill),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            },
        )
        connection.execute("SET TimeZone = 'UTC'")
        if not self.is_local:
            connection.register_filesystem(self._open()[0])
        return connection

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            with failures("cannot be opened", ValueError, ImportError):  # an unknown scheme; a package that is not installed
                store, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, use_listings_cache=False)
            self._opened = store, root.rstrip("/")
        return self._opened


@contextmanager
def failures(what: str, *besides: type[Exception]) -> Iterator[None]:
    """Turns what a file system or DuckDB (or `besides`) raises into an ExternalFailure that says `what` the log cannot do.

    A statement that DuckDB does not understand is a defect of ours and stays one.
    """
    import duckdb

    kinds: tuple[type[Exception], ...] = (OSError, duckdb.Error, *besides)
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.SyntaxException):
        raise
    except kinds as error:
        raise ExternalFailure(SYSTEM, what, retryable=True) from error


@contextmanager
def _beside(folder: Path, name: str) -> Iterator[Path]:
    """A hidden path beside the final one, which takes the final name once it lies on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}"
    try:
        yield unfinished
        _sync(unfinished)
        reach(BEFORE_RENAME)
        os.replace(unfinished, folder / name)
        _sync(folder)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
