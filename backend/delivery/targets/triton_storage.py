"""What a version is loaded from: its package digest as it lies there now, and a copy of it as a package."""

from __future__ import annotations

from pathlib import Path

from backend.core.canonical import digest_tree, tree_files
from backend.core.errors import Refusal
from backend.delivery.packagers.contents import Contents
from backend.delivery.packagers.triton_entry import is_compiled, version_contents
from backend.delivery.packages import MANIFEST, read_manifest
from backend.delivery.targets.triton_folder import ModelFolder
from backend.delivery.targets.triton_look import Running


def storage_digest(folder: ModelFolder, running: Running, version: int) -> str | None:
    """Digest of the version folder as a package; None where nothing can be claimed.

    A folder that somebody made by hand is no package: its digest is that of the package which `copy_out` makes of it. Where
    Python left compiled code in it nothing is claimed, because that code is run instead of the source.
    """
    if not folder.has(running.name, version) or (folder.version(running.name, version) / MANIFEST).exists():
        return folder.digest(running.name, version)
    try:
        contents = _by_hand(folder, running, version)
    except Refusal:
        return None
    compiled = any(is_compiled(file.path) for file in folder.files(running.name, version) or ())
    return None if compiled else contents.digest()


def copy_out(folder: ModelFolder, running: Running, version: int, target: Path) -> None:
    """Writes what a version is loaded from into an empty folder, as a package tree. Refusal `not-importable` says why not."""
    if not folder.is_there() or not folder.version(running.name, version).is_dir():
        raise _not_importable(running.name, version, "its version folder cannot be read from here")
    if not (folder.version(running.name, version) / MANIFEST).exists():
        with folder.errors("read"):
            _by_hand(folder, running, version).write(target)
        return
    folder.copy(running.name, version, target)
    if digest_tree(tree_files(target)) != folder.digest(running.name, version):
        raise _not_importable(running.name, version, "it changed while it was copied, or holds more than files")
    try:
        read_manifest(target)
    except Refusal as refusal:
        raise _not_importable(running.name, version, refusal.message.rstrip(".")) from refusal


def _by_hand(folder: ModelFolder, running: Running, version: int) -> Contents:
    """The package of a hand-made version folder, with the configuration that the server runs it with."""
    files = folder.files(running.name, version)
    if running.config is None or files is None:
        reason = "the server does not tell its configuration, or its folder holds more than files"
        raise _not_importable(running.name, version, reason)
    try:
        return version_contents(folder.version(running.name, version), files, running.config)
    except Refusal as refusal:
        raise _not_importable(running.name, version, refusal.message.rstrip(".")) from refusal


def _not_importable(model: str, version: int, reason: str) -> Refusal:
    return Refusal(
        f"Version {version} of {model} cannot be taken over: {reason}.",
        "Register the model and promote that version instead.",
        code="not-importable",
    )
