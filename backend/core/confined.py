"""The inside of a process that works with what is not trusted: its order, its limits, and what it may not do.

Limits are the kernel's (`setrlimit`). What Python does is refused by an audit hook, which cannot be taken away again: no
connection, no other process, nothing written, nothing read but the program and the system (Python's documentation, "Audit
events table"). Where the kernel lets us, the process has no network at all besides (`unshare`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import ssl
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

REFUSED_EVENTS = frozenset(
    {"socket.sendto", "socket.sendmsg", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
     "os.fork", "os.forkpty", "pty.spawn", "ctypes.dlopen", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink",
     "os.link", "os.chmod", "os.chown", "os.truncate"}
)  # fmt: skip
"""What Python asks about before it does it, and is refused."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SYSTEM = ("/etc/ssl", "/etc/pki", "/usr/share/zoneinfo", "/usr/lib/ssl", "/usr/share/ca-certificates", "/etc/mime.types",
           "/usr/lib/locale", "/usr/share/locale")  # fmt: skip
_STDIN = 0
_GRACE_SECONDS = 5
"""From the signal that the processor time is used up to the one that cannot be caught."""
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000


class Confinement:
    """An audit hook: `sys.addaudithook(Confinement())`.

    Args:
        besides: files and folders that may be read too.
        purpose: what the process is for, in its refusals.
    """

    def __init__(self, besides: Iterable[str] = (), *, purpose: str) -> None:
        self._readable = tuple(_real(one) for one in (*_program(), *_certificates(), *_SYSTEM, *besides))
        self._purpose = purpose

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Raises PermissionError where something is not let happen."""
        if event == "socket.connect":
            self.connect(args[1])
        elif event == "open":
            self._open(args[0], args[2])
        elif event in REFUSED_EVENTS:
            raise PermissionError(f"{event} is not for {self._purpose}")

    def connect(self, _address: Any) -> None:
        """Raises PermissionError for an address that may not be connected to: here, for any."""
        raise PermissionError(f"connections are not for {self._purpose}")

    def _open(self, path: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        name = _real(os.fsdecode(path))
        inside = any(name == one or name.startswith(one + os.sep) for one in self._readable)
        if not inside or (isinstance(flags, int) and flags & _WRITES):
            raise PermissionError(f"this file is not for {self._purpose}")


def read_order(limit: int) -> bytes:
    """The one line on standard input, read without buffering, so that `end_with_the_parent` can wait for the end of it."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= limit:
        block = os.read(_STDIN, 65_536)
        if not block:
            break
        line += block
    return line


def end_with_the_parent() -> None:
    """Ends this whole group once the other end of standard input is gone: nobody would read what it answers."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    while os.read(_STDIN, 1_024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def limit(*, cpu_seconds: int, address_space: int, file_bytes: int | None = None) -> None:
    """Bounds on processor time, address space and the size of a file, and no core dump; the wall clock is the parent's."""
    _at_most(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + _GRACE_SECONDS)
    _at_most(resource.RLIMIT_AS, address_space, address_space)
    _at_most(resource.RLIMIT_CORE, 0, 0)
    if file_bytes is not None:
        _at_most(resource.RLIMIT_FSIZE, file_bytes, file_bytes)


def _at_most(which: int, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(which)
    ceiling = hard if allowed == resource.RLIM_INFINITY else min(hard, allowed)
    resource.setrlimit(which, (min(soft, ceiling), ceiling))


def leave_the_network() -> bool:
    """Goes where there is no network, not even this machine's own; whether the kernel lets us. Call it before any thread.

    The hook refuses connections as well: this is for libraries that make theirs past Python.
    """
    with suppress(OSError, AttributeError):
        unshare = ctypes.CDLL(None, use_errno=True).unshare
        return bool(unshare(_NEW_NET) == 0 or unshare(_NEW_USER | _NEW_NET) == 0)
    return False


def _real(path: str) -> str:
    return os.path.realpath(path)


def _program() -> Iterable[str]:
    return (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[1]))


def _certificates() -> Iterable[str]:
    paths = ssl.get_default_verify_paths()
    return [one for one in (paths.cafile, paths.capath, paths.openssl_cafile, paths.openssl_capath) if one]
