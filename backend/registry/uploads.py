"""Unpacks an uploaded archive into a folder, with nothing in it that was not meant to be a plain file below that folder."""

from __future__ import annotations

from pathlib import Path

from backend.registry.archives import require_archive
from backend.registry.files import pour, room_on_disk
from backend.registry.members import bad_archive
from backend.registry.paths import PathSet
from backend.registry.rules import Limits, Progress

_MARKERS = ("MLmodel", "model.onnx")


def unpack(archive: Path, folder: Path, limits: Limits, progress: Progress) -> Path:
    """Unpacks a zip, tar or tar.gz into an empty folder and returns the artifact's root.

    That is the folder itself, or the one folder in it when the archive was made of a folder that holds a model. Refusal for
    whatever `members` and `paths` refuse; what was unpacked until then is left to the caller to remove.
    """
    opened, names = require_archive(archive), PathSet()
    packed = max(1, archive.stat().st_size)
    with room_on_disk():
        for entry in opened.entries(limits):
            progress(min(1.0, max(0, entry.at) / packed), "unpacking")
            if entry.is_folder:
                (folder / names.add_folder(entry.path)).mkdir(parents=True, exist_ok=True)
            else:
                pour(entry.blocks, folder / names.add_file(entry.path))
    return _root(folder)


def _root(folder: Path) -> Path:
    inside = list(folder.iterdir())
    if not any(path.is_file() for path in folder.rglob("*")):
        raise bad_archive("holds no files")
    if len(inside) == 1 and any((inside[0] / marker).is_file() for marker in _MARKERS):
        return inside[0]
    return folder
