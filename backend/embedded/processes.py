"""Linux process facts and signals: who descends from whom, is it still the same process, end a whole tree.

Process ids are reused, so a process is named by its id, its start time and the boot that both belong to.
Sources: proc(5), prctl(2) (PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG), pidfd_open(2).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """One process for ever: its id, its start in clock ticks since boot, and the boot's id."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat, as far as it is needed here."""

    pid: int
    parent: int
    session: int
    started: int
    zombie: bool


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's, so that none gets out of sight."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signum: int) -> None:
    """Receive `signum` when the *thread* that forked this process ends. Survives exec, is not inherited by fork."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def look(pid: int) -> Process | None:
    """What /proc says about `pid`, or `None` if there is no such process."""
    try:
        text = Path("/proc", str(pid), "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command may hold spaces and brackets, nothing after it does
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in "ZX")


def running() -> list[Process]:
    """Every process of this machine that is visible from here, without zombies."""
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None and not process.zombie]


def descendants(pid: int) -> list[Process]:
    """Children, grandchildren and so on of `pid`, nearest first, without zombies and without itself."""
    everyone = running()
    found: list[Process] = []
    parents = {pid}
    while parents:
        generation = [process for process in everyone if process.parent in parents]
        found += generation
        parents = {process.pid for process in generation}
    return found


def identify(pid: int) -> Identity | None:
    """The identity of the live process `pid`, or `None`."""
    process = look(pid)
    if process is None or process.zombie:
        return None
    return Identity(pid, process.started, Path("/proc/sys/kernel/random/boot_id").read_text().strip())


def myself() -> Identity:
    """The identity of this process."""
    identity = identify(os.getpid())
    if identity is None:
        raise OSError("/proc does not show this process")
    return identity


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process, not a later one with its id, still runs."""
    return identify(identity.pid) == identity


def send(pid: int, signum: int) -> None:
    """Signal one process; one that has gone is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def tell(identity: Identity, signum: int) -> bool:
    """Signal exactly this process, never a later one with its id. False when it has ended."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):  # asked after opening: from here on the handle cannot mean a later process
            return False
        signal.pidfd_send_signal(handle, signum)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_gone(identity: Identity, seconds: float) -> bool:
    """Wait until that process has ended (a zombie counts as ended). False when the time is over first."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(identity):
            return True
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def reaped() -> list[tuple[int, int]]:
    """Every child process that has ended since the last look, with its exit code (negative: the signal)."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def end_descendants(pid: int, grace_seconds: float, reap: Callable[[], object] = lambda: None) -> None:
    """Terminate all that descends from `pid`: SIGTERM, then SIGKILL once `grace_seconds` are over.

    Repeats until none is left, because a process may fork while it is looked at. `reap` is called between the looks,
    for a caller that is the parent.
    """
    kill_at = time.monotonic() + grace_seconds
    told: set[int] = set()
    while left := descendants(pid):
        for process in left:
            if time.monotonic() >= kill_at:
                send(process.pid, signal.SIGKILL)
            elif process.pid not in told:
                send(process.pid, signal.SIGTERM)
                told.add(process.pid)
        time.sleep(0.02)
        reap()


def end_tree(identity: Identity, grace_seconds: float = 0.0) -> None:
    """Terminate a process and all that descends from it, by force where needed. For one that does not obey."""
    if is_alive(identity):
        end_descendants(identity.pid, grace_seconds)
        tell(identity, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
