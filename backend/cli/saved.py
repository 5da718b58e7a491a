"""The servers that one logged in at: their addresses and tokens, in a file that its owner alone can read.

`$XDG_CONFIG_HOME/countersign/servers.json`, by default under `~/.config`; `COUNTERSIGN_CONFIG_DIR` names another folder.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.core.errors import Refusal

FOLDER = "COUNTERSIGN_CONFIG_DIR"
_MOST_BYTES = 1 << 20


def file(environment: Mapping[str, str] | None = None) -> Path:
    """Where they are kept."""
    told = os.environ if environment is None else environment
    if told.get(FOLDER):
        return Path(told[FOLDER]) / "servers.json"
    root = Path(told["XDG_CONFIG_HOME"]) if told.get("XDG_CONFIG_HOME") else Path.home() / ".config"
    return root / "countersign" / "servers.json"


def current(environment: Mapping[str, str] | None = None) -> str | None:
    """The server that was logged in at last, or None."""
    url = _read(file(environment)).get("current")
    return url if isinstance(url, str) else None


def token(url: str) -> str | None:
    """The token that was kept for a server; of no other one."""
    kept = _servers(_read(file())).get(url)
    return kept if isinstance(kept, str) else None


def keep(url: str, text: str) -> Path:
    """Keeps a server's token, and makes it the server that commands act at."""
    path = file()
    _write(path, {"current": url, "servers": {**_servers(_read(path)), url: text}})
    return path


def forget(url: str) -> bool:
    """Whether there was a token of that server; it is gone now."""
    path = file()
    told = _read(path)
    servers = dict(_servers(told))
    if servers.pop(url, None) is None:
        return False
    left = None if told.get("current") == url else told.get("current")
    _write(path, {"current": left, "servers": servers})
    return True


def _servers(told: Mapping[str, Any]) -> Mapping[str, Any]:
    servers = told.get("servers")
    return servers if isinstance(servers, dict) else {}


def _read(path: Path) -> Mapping[str, Any]:
    """What is kept; nothing where there is no file. Refusal for one that others can read or write."""
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno())
            if mode.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or mode.st_uid != os.geteuid():
                raise Refusal(
                    f"Others can read {path}, which holds tokens.",
                    f"Make it yours alone: `chmod 600 {path}`. If others may have read it, make new tokens.",
                    code="open-file",
                )
            found = json.loads(opened.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be read.", "Remove it and log in again.", code="bad-file") from error
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """In one step and readable by nobody else from its first byte on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(content, opened)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
