"""What a file inside an artifact or an archive may be called: one rule for downloads and uploads. Pure."""

from __future__ import annotations

import re
import unicodedata

from backend.core.errors import Refusal

MAX_PATH = 512
MAX_DEPTH = 32
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10))}


def safe_path(path: str) -> str:
    """The POSIX path as it came, when every system can write it below a folder; else a Refusal that names what is wrong.

    Beyond traversal this refuses what another system would read differently: drive letters, backslashes, device names,
    trailing dots and blanks, text that is not valid Unicode.
    """
    reason = _objection(path)
    if reason:
        raise Refusal(
            f"{shown(path)} {reason}.",
            "Rename it to a short relative path of plain names, and try again.",
            code="bad-path",
            path=shown(path),
        )
    return path


def shown(path: str) -> str:
    """A hostile name as a short, printable quotation."""
    text = path if len(path) <= 80 else path[:77] + "..."
    return ascii(text)


def folded(path: str) -> str:
    """The key under which two paths would be one file on a system that ignores case or how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


class PathSet:
    """The paths of one tree, no two of which may be one place on any system."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, str] = {}

    def add_file(self, path: str) -> str:
        """The path, if it is safe and new. Refusal `bad-path`, `duplicate-path`."""
        key = folded(safe_path(path))
        if key in self._files or key in self._folders:
            raise _duplicate(path)
        self._files.add(key)
        self._add_folders(path.rpartition("/")[0])
        return path

    def add_folder(self, path: str) -> str:
        """The same for a folder; naming one folder again is harmless, naming it in another case is not."""
        self._add_folders(safe_path(path))
        return path

    def _add_folders(self, path: str) -> None:
        """Notes a folder and all above it."""
        while path:
            key = folded(path)
            known = self._folders.setdefault(key, path)
            if known != path or key in self._files:
                raise _duplicate(path)
            path = path.rpartition("/")[0]


def _duplicate(path: str) -> Refusal:
    return Refusal(
        f"{shown(path)} is there twice, or differs from another path only by case.",
        "Rename one of them; some systems would take both for one file.",
        code="duplicate-path",
        path=shown(path),
    )


def _objection(path: str) -> str:
    if not path or path.startswith("/") or path.endswith("/"):
        return "is not a relative path of a file"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if _FORBIDDEN.search(path) or not _is_unicode(path):
        return "holds characters that a file name cannot have everywhere"
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} folders"
    return next((reason for part in parts if (reason := _part_objection(part))), "")


def _part_objection(part: str) -> str:
    if part in ("", ".", ".."):
        return "would leave its folder"
    if part != part.rstrip(" ."):
        return "ends in a dot or a blank, which Windows drops"
    if part.split(".")[0].rstrip().casefold() in _DEVICES:
        return "has the name of a Windows device"
    return "is longer than 255 bytes in one part" if len(part.encode()) > 255 else ""


def _is_unicode(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
