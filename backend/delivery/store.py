"""The package store: content-addressed and write-once. Runtimes load from it and from nowhere else.

A package lies at `sha256/<first two>/<hex>/`, and its list of files at `sha256/<first two>/<hex>.json`, written last: a package
without a list does not exist, so that a crash at any moment leaves either all of a package or nothing. The same bytes have the
same address, so that two who store one package at once write the same thing. Any fsspec URL will do (`file://`, `s3://`,
`gs://`); packages of stores that are not on this machine are copied into a cache folder, and hashed each time they are handed
out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from backend.core.canonical import TreeFile, canonical, digest_bytes, digest_tree, is_digest, loads, tree_files
from backend.core.errors import ExternalFailure, Refusal

MAX_FILES = 10_000
MAX_BYTES = 32 << 30
_READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_FAILURES = (OSError, ValueError)


class PackageStore:
    """Packages by digest.

    Args:
        url: fsspec URL of the store's root.
        cache: folder for local copies of packages from a store that is not a local folder.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url
        self._cache = cache
        self._opened: tuple[Any, str] | None = None

    def put(self, folder: Path) -> str:
        """Stores a package folder and returns its digest. Storing it again checks what is there and keeps it.

        Raises Refusal for links, special files, too many files, and for a stored package that was damaged.
        """
        files = _checked(tree_files(folder))
        digest = digest_tree(files)
        if self.holds(digest):
            self._demand_whole(digest)
            return digest
        with _store_errors("took a package only in part"):
            self._copy_in(folder, files, digest)
        self._demand_whole(digest)
        return digest

    def holds(self, digest: str) -> bool:
        """Whether a package of that digest was ever stored whole. Says nothing of its bytes: `verify` does."""
        files, root = self._open()
        with _store_errors("cannot be read"):
            return bool(files.exists(f"{root}/{_list_path(digest)}"))

    def files(self, digest: str) -> list[TreeFile]:
        """The package's list of files, which hashes to the digest. Refusal `package-damaged` when it does not."""
        store, root = self._open()
        path = f"{root}/{_list_path(digest)}"
        try:
            listed = [TreeFile(*entry) for entry in loads(store.cat_file(path))]
        except FileNotFoundError:
            raise _absent(digest) from None
        except (TypeError, Refusal) as error:
            raise _damaged(digest) from error
        except _FAILURES as error:
            raise _failed("cannot be read") from error
        if digest_tree(listed) != digest:
            raise _damaged(digest)
        return listed

    def verify(self, digest: str) -> bool:
        """Whether every stored byte still hashes to the digest, with no file more and none less."""
        try:
            listed = self.files(digest)
        except Refusal:
            return False
        store, root = self._open()
        with _store_errors("cannot be read"):
            prefix = f"{root}/{_tree_path(digest)}"
            names = {str(path)[len(prefix) + 1 :] for path in store.find(prefix)}
            if names != {file.path for file in listed}:
                return False
            return all(self._content_digest(f"{prefix}/{file.path}") == file.digest for file in listed)

    def local(self, digest: str) -> Path:
        """A local read-only folder with the package, for a runtime to load from. Refusal when it is absent or damaged.

        A cached copy is hashed each time, since `verify` speaks of the store's bytes and not of the copy's. The bytes of a
        local store are those that `verify` hashes.
        """
        listed = self.files(digest)
        if self._is_local():
            folder = Path(self._open()[1]) / _tree_path(digest)
            if not folder.is_dir():
                raise _damaged(digest)
            return folder
        return self._cached(digest, listed)

    def read(self, digest: str, path: str, limit: int) -> bytes:
        """One file of a package, checked against its hash. Refusal when the package has no such file or it is over `limit`."""
        wanted = next((file for file in self.files(digest) if file.path == path), None)
        if wanted is None:
            raise Refusal(f"The package has no {path}.", "Package the version again.", code="not-found")
        if wanted.size > limit:
            raise Refusal(f"{path} is larger than {limit} bytes.", "Shorten it and register a new version.", code="too-large")
        store, root = self._open()
        with _store_errors("cannot be read"):
            try:
                content: bytes = store.cat_file(f"{root}/{_tree_path(digest)}/{path}")
            except FileNotFoundError:
                raise _damaged(digest) from None
        if digest_bytes(content) != wanted.digest:
            raise _damaged(digest)
        return content

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            store, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, use_listings_cache=False)
            self._opened = store, root.rstrip("/")
        return self._opened

    def _is_local(self) -> bool:
        protocol = self._open()[0].protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _copy_in(self, folder: Path, files: list[TreeFile], digest: str) -> None:
        store, root = self._open()
        tree = f"{root}/{_tree_path(digest)}"
        if self._is_local():
            _place(folder, files, Path(root), Path(tree))
        else:
            for file in files:
                store.put_file(str(folder / file.path), f"{tree}/{file.path}")
        self._write_list(canonical([list(file) for file in files]), f"{root}/{_list_path(digest)}")

    def _write_list(self, content: bytes, path: str) -> None:
        store, _ = self._open()
        if not self._is_local():
            store.pipe_file(path, content)
            return
        beside = Path(f"{path}.{uuid.uuid4().hex}.part")
        beside.write_bytes(content)
        beside.chmod(_READ_ONLY)
        os.replace(beside, path)

    def _cached(self, digest: str, files: list[TreeFile]) -> Path:
        """A whole copy in the cache; copies that differ are removed.

        What replaces one has a name of its own, so that links into the old copy are seen to be old and are loaded anew.
        """
        name = _hex(digest)
        copies = sorted(self._cache.glob(f"{name}*"))
        for copy in copies:
            if _is_whole(copy, digest):
                return copy
            _evict(copy)
        fresh = self._cache / (f"{name}.{uuid.uuid4().hex}" if copies else name)
        self._copy_out(digest, files, fresh)
        if not _is_whole(fresh, digest):
            raise _damaged(digest)
        return fresh

    def _copy_out(self, digest: str, files: list[TreeFile], folder: Path) -> None:
        """Into the cache: beside it first, hashed, then renamed; of two at once the first stays."""
        store, root = self._open()
        beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            with _store_errors("cannot be read"):
                for file in files:
                    target = beside / file.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    store.get_file(f"{root}/{_tree_path(digest)}/{file.path}", str(target))
            if digest_tree(tree_files(beside)) != digest:
                raise _damaged(digest)
            _freeze(beside)
            _rename_unless_there(beside, folder)
        finally:
            _remove(beside)

    def _content_digest(self, path: str) -> str:
        store, _ = self._open()
        with store.open(path, "rb") as stream:
            found = hashlib.sha256()
            while block := stream.read(1 << 20):
                found.update(block)
            return f"sha256:{found.hexdigest()}"

    def _demand_whole(self, digest: str) -> None:
        if not self.verify(digest):
            raise _damaged(digest)


def _place(folder: Path, files: list[TreeFile], root: Path, tree: Path) -> None:
    """A copy under a name of its own in the same file system, then one rename. What a crash leaves is never looked at."""
    staging = root / "staging" / uuid.uuid4().hex
    try:
        for file in files:
            target = staging / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file.path, target)
        if tree_files(staging) != files:
            raise Refusal("The package changed while it was stored.", "Package the version again.", code="package-changed")
        _freeze(staging)
        tree.parent.mkdir(parents=True, exist_ok=True)
        _rename_unless_there(staging, tree)
    finally:
        _remove(staging)


def _freeze(folder: Path) -> None:
    """Read-only files, so that neither a runtime nor a slip of hand changes an approved package."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(_READ_ONLY)


def _rename_unless_there(source: Path, target: Path) -> None:
    """Renaming onto a folder that is not empty fails, so of two at once the first stays; its bytes are the same."""
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        try:
            os.rename(source, target)
        except OSError:
            if not target.is_dir():
                raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(folder: Path, digest: str) -> bool:
    """Whether a cached copy is the package. A link in it, or what cannot be read, makes it another one."""
    try:
        return folder.is_dir() and not folder.is_symlink() and digest_tree(tree_files(folder)) == digest
    except (Refusal, OSError):
        return False


def _evict(copy: Path) -> None:
    """Away in one step, so that nothing loads from it while it is removed; another worker may have been faster."""
    aside = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
    with _store_errors("has a cache that cannot be written"), contextlib.suppress(FileNotFoundError):
        os.rename(copy, aside)
    if aside.is_symlink() or aside.is_file():
        aside.unlink()
    _remove(aside)


def _checked(files: list[TreeFile]) -> list[TreeFile]:
    if not files:
        raise Refusal("The package is empty.", "Package the version again.", code="bad-package")
    if len(files) > MAX_FILES or sum(file.size for file in files) > MAX_BYTES:
        raise Refusal(
            f"The package has {len(files)} files; at most {MAX_FILES} files and 32 GiB are stored.",
            "Leave out of the artifact what the runtime does not need.",
            code="too-large",
        )
    return files


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise Refusal(f"{digest!r} is not a package digest.", "Give `sha256:` and 64 hex digits.", code="bad-digest")
    return digest.removeprefix("sha256:")


def _tree_path(digest: str) -> str:
    name = _hex(digest)
    return f"sha256/{name[:2]}/{name}"


def _list_path(digest: str) -> str:
    return f"{_tree_path(digest)}.json"


@contextlib.contextmanager
def _store_errors(what: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise _failed(what) from error


def _failed(what: str) -> ExternalFailure:
    return ExternalFailure("The package store", what, retryable=True)


def _absent(digest: str) -> Refusal:
    return Refusal(
        f"The package store has no package {digest[:19]}.",
        "Propose the change again; that packages its versions anew.",
        code="package-missing",
        digest=digest,
    )


def _damaged(digest: str) -> Refusal:
    return Refusal(
        f"The stored package {digest[:19]} no longer hashes to its digest.",
        "Restore the package store from your backup; nothing is loaded from a damaged package.",
        code="package-damaged",
        digest=digest,
    )
