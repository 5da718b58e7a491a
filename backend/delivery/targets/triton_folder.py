"""The model repository: the folder that the worker and a Triton share, and from which Triton loads.

A version folder of ours is a real folder with one link a file into the package store (or copies, where the server sees other
paths). A link to the whole package would let Python write compiled code into the store, and Triton, which compares times of
change, would not notice a folder that was exchanged for an older one: it would go on serving what somebody put there before.
What we did not make is never deleted: it is moved aside within its model's folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from backend.core.canonical import TreeFile, digest_file, digest_tree, tree_files
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.desired import Packaged
from backend.delivery.packages import MANIFEST

_FOLDER_MODE = 0o755
_CHANGED = ".changed"
_SECOND_NS = 1_000_000_000  # the coarsest clock of a file system that is shared
_UNFINISHED = re.compile(r"\.\d+\.[0-9a-f]{32}")


class ModelFolder:
    """One Triton's model repository as this machine sees it.

    Args:
        root: the repository.
        copies: whether version folders hold copies; else links.
        system: the server in the user's words, for messages.
    """

    def __init__(self, root: Path, *, copies: bool, system: str) -> None:
        self._root = root
        self._copies = copies
        self._system = system

    def is_there(self) -> bool:
        """Whether the repository can be looked into from here."""
        return os.access(self._root, os.R_OK | os.X_OK) and self._root.is_dir()

    def is_writable(self) -> bool:
        """Whether version folders can be made in it."""
        return self.is_there() and os.access(self._root, os.W_OK)

    def names(self) -> set[str]:
        """The names of the folders in it, each of which Triton takes for a model."""
        with self.errors("read"):
            return {path.name for path in self._root.iterdir() if path.is_dir()} if self.is_there() else set()

    def version(self, model: str, version: int) -> Path:
        """The folder that a version is loaded from, there or not."""
        return self._root / model / str(version)

    def has(self, model: str, version: int) -> bool:
        """Whether a version folder is there, or could be: a repository that cannot be looked into may have it."""
        return not self.is_there() or (_is_plain(model) and self.version(model, version).exists())

    def place(self, model: str, version: int, package: Packaged) -> bool:
        """Makes the version folder hold exactly the package; whether anything had to be done.

        It is made beside and renamed, so that it is never half there. It is newer than what was there before, whatever time
        that claims, so that Triton loads it anew.
        """
        folder = self.version(model, version)
        with self.errors("written"):
            if folder.is_dir() and not folder.is_symlink() and self._is(folder, package):
                return False
            self._make_model(folder.parent)
            fresh = folder.with_name(f".{version}.{uuid.uuid4().hex}")
            try:
                self._fill(fresh, package)
                later = max(time.time_ns(), _newest(folder) + _SECOND_NS)
                (folder.parent / _CHANGED).touch()
                self.clear(model, version)
                os.utime(fresh, ns=(later, later))
                os.rename(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return True

    def is_changed(self, model: str) -> bool:
        """Whether a version folder was placed and no load has followed: what runs may still be what was there before."""
        return (self._root / model / _CHANGED).exists()

    def settle(self, model: str, wanted: Collection[int]) -> None:
        """After a load: the version folders of ours that nobody wants any more go, and nothing waits to be loaded."""
        for version in set(self.versions_of_ours(model)) - set(wanted):
            self.clear(model, version)
        with self.errors("written"):
            (self._root / model / _CHANGED).unlink(missing_ok=True)

    def clear(self, model: str, version: int) -> None:
        """Takes a version folder away: ours is removed, anybody else's is moved aside under a name that Triton ignores."""
        folder = self.version(model, version)
        aside = folder.with_name(f".{version}.replaced.{uuid.uuid4().hex[:8]}")
        with self.errors("written"):
            ours = (folder / MANIFEST).exists() and not folder.is_symlink()
            try:
                os.rename(folder, aside)
            except FileNotFoundError:
                return
            if ours:
                shutil.rmtree(aside)

    def versions_of_ours(self, model: str) -> list[int]:
        """Numbers of the version folders that hold a package."""
        folder = self._root / model
        with self.errors("read"):
            numbered = [path for path in folder.glob("[1-9]*") if path.name.isascii() and path.name.isdigit()]
            return sorted(int(path.name) for path in numbered if (path / MANIFEST).exists())

    def forget(self, model: str) -> None:
        """Removes all that is ours of a model, and its folder when nothing else lies in it."""
        for version in self.versions_of_ours(model):
            self.clear(model, version)
        folder = self._root / model
        with self.errors("written"):
            for left in folder.glob(".*") if folder.is_dir() else ():
                if _UNFINISHED.fullmatch(left.name) or (left / MANIFEST).exists():
                    shutil.rmtree(left)
            (folder / _CHANGED).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def digest(self, model: str, version: int) -> str | None:
        """Digest of what the version folder resolves to; None when the repository cannot be looked into from here."""
        if not self.is_there() or not _is_plain(model):
            return None
        with self.errors("read"):
            return digest_tree(_entries(self.version(model, version)))

    def files(self, model: str, version: int) -> list[TreeFile] | None:
        """The files that a version folder resolves to; None where it holds anything that is no file."""
        with self.errors("read"):
            found = _entries(self.version(model, version))
        return found if all(file.size >= 0 for file in found) else None

    def copy(self, model: str, version: int, target: Path) -> None:
        """Copies the files that a version folder resolves to into an empty folder."""
        with self.errors("read"):
            for file in self.files(model, version) or ():
                place = target / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.version(model, version) / file.path, place)

    def _make_model(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True, mode=_FOLDER_MODE)
        if folder.is_symlink():
            raise Refusal(
                f"The model folder {folder.name} of {self._system} is a link to another place.",
                "Remove the link; Countersign writes only into the model repository itself.",
                code="folder-is-a-link",
            )

    def _is(self, folder: Path, package: Packaged) -> bool:
        """The package itself was hashed before, so that links into it need no second look."""
        wanted = {file.relative_to(package.path): file for file in package.path.rglob("*") if file.is_file()}
        found = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir()}
        if self._copies and any(file.is_symlink() for file in found.values()):
            return False
        if not self._copies and wanted.keys() == found.keys():
            linked = all(file.is_symlink() and file.readlink() == wanted[path].absolute() for path, file in found.items())
            if linked:
                return True
        return digest_tree(_entries(folder)) == package.digest

    def _fill(self, fresh: Path, package: Packaged) -> None:
        fresh.mkdir(mode=_FOLDER_MODE)
        for file in sorted(package.path.rglob("*")):
            target = fresh / file.relative_to(package.path)
            if file.is_dir():
                target.mkdir(mode=_FOLDER_MODE)
            elif self._copies:
                shutil.copyfile(file, target)
                target.chmod(0o444)
            else:
                target.symlink_to(file.absolute())
        if self._copies and digest_tree(tree_files(fresh)) != package.digest:
            raise Refusal(
                "The stored package changed while it was copied to the server.",
                "Package the version again; the server was not touched.",
                code="package-damaged",
            )

    @contextlib.contextmanager
    def errors(self, verb: str) -> Iterator[None]:
        """A shared folder is another system: what goes wrong with it is translated here. `verb`: read or written."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or "input/output error").lower()
            raise ExternalFailure(
                f"The model repository of {self._system}", f"cannot be {verb}: {reason}", retryable=True
            ) from error


def _entries(folder: Path) -> list[TreeFile]:
    """What lies below a folder. Whatever cannot be hashed stands in the list with size -1: no package has such a file."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_file():
            found.append(TreeFile(name, path.stat().st_size, digest_file(path)))
        else:
            found.append(TreeFile(name, -1, "not a file"))
    return found


def _is_plain(name: str) -> bool:
    """Whether a name, which may come from the server, stays inside the repository as a path."""
    return name not in (".", "..") and not set(name) & {"/", "\0"}


def _newest(folder: Path) -> int:
    """The latest time of change in and below a folder, in ns, links followed as Triton does; 0 when it is not there."""
    times = [0]
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            times += [path.lstat().st_mtime_ns, path.stat().st_mtime_ns]
    return max(times)
