"""The supervisor's loop: commands from the owner, output and ends of children, restarts, the final clean-up.

One thread does it all, because PDEATHSIG follows the thread that forked a child.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.embedded.children import Child, end_session
from backend.embedded.logs import BoundedLog
from backend.embedded.processes import Identity, end_descendants, reaped
from backend.embedded.specs import Spec
from backend.embedded.state import GroupState, write_state

_ORPHAN_GRACE_SECONDS = 1.0
_LOG_CHECK_SECONDS = 2.0
_CHUNK = 65536


class Group:
    """The children of one owner, from the first start to the last end."""

    def __init__(self, folder: Path, channel: socket.socket, owner: int, keeper: Identity, log_bytes: int) -> None:
        self._folder = folder
        self._channel = channel
        self._keeper = keeper
        self._log_bytes = log_bytes
        self._journal = BoundedLog(folder / "supervisor.log", log_bytes)
        self._children: dict[str, Child] = {}
        self._kept = False
        self._stopping = False
        self._published: GroupState | None = None
        self._inbox = b""
        self._logs_checked = time.monotonic()
        self._wakeup = _signal_pipe()
        self._selector = selectors.DefaultSelector()
        self._watch(channel.fileno(), self._hear)
        self._watch(owner, lambda: self._owner_gone(owner))
        self._watch(self._wakeup, self._signalled)

    def run(self) -> None:
        """Serve until the group was stopped, then end everything below this process."""
        self._say("supervising")
        self._publish()
        self._reply({"ok": True, "keeper": vars(self._keeper)})
        while not self._over():
            for key, _ in self._selector.select(self._pause()):
                key.data()
            self._reap()
            self._restart_due()
            self._kill_overdue()
            self._turn_logs()
            self._publish()
        self._clean_up()

    # -- the owner's commands

    def _hear(self) -> None:
        data = self._receive()
        if not data:
            self._owner_gone(self._channel.fileno())
            return
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            self._reply({**self._obey(request), "number": request["number"]})

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "start":
                return self._start(Spec.from_wire(request["spec"]))
            case "stop-child":
                self._children[request["name"]].stop()
            case "keep":
                self._kept = True
                self._say("kept: the group outlives its owner")
            case "stop":
                self._stop("the owner asked for it")
        self._publish()
        return {"ok": True, "children": [vars(child.seen()) for child in self._children.values()]}

    def _start(self, spec: Spec) -> dict[str, Any]:
        known = self._children.get(spec.name)
        if self._stopping or (known is not None and known.state not in ("stopped", "failed")):
            return {"ok": False, "why": "stopping" if self._stopping else "running"}
        log = known.log if known else BoundedLog(self._folder / f"{spec.name}.log", self._log_bytes)
        child = Child(spec, log, self._log_bytes)
        self._children[spec.name] = child
        try:
            self._follow(child, child.spawn())
        except OSError as error:
            child.could_not_start()
            return {"ok": False, "why": "program", "detail": error.strerror or type(error).__name__}
        self._publish()
        return {"ok": True, "pid": child.pid}

    def _owner_gone(self, handle: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(handle)
        if not self._kept:
            self._stop("the owner has gone")

    def _stop(self, why: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._say(f"stopping: {why}")
        for child in reversed(self._children.values()):
            child.stop()

    # -- what happens to children

    def _follow(self, child: Child, reader: int) -> None:
        self._say(f"{child.spec.name} runs as process {child.pid}")
        self._watch(reader, lambda: self._pump(child, reader))

    def _pump(self, child: Child, reader: int) -> None:
        try:
            chunk = os.read(reader, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            child.log.write(chunk)
        else:
            self._selector.unregister(reader)
            os.close(reader)

    def _reap(self) -> None:
        for pid, code in reaped():
            child = next((child for child in self._children.values() if child.pid == pid), None)
            if child is None:
                continue  # an orphan that fell to us
            child.ended(code)
            self._say(f"{child.spec.name} (process {pid}) ended with {code}: {child.state}")
            if not self._stopping:  # the final clean-up gives orphans a grace of their own
                end_session(pid)
                child.remove_shared_memory()

    def _restart_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is not None and now >= child.restart_at and not self._stopping:
                try:
                    self._follow(child, child.respawn())
                except OSError:
                    child.could_not_start()

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kill_at is not None and now >= child.kill_at:
                self._say(f"{child.spec.name} did not end in time: killed")
                child.kill()

    def _turn_logs(self) -> None:
        now = time.monotonic()
        if now - self._logs_checked >= _LOG_CHECK_SECONDS:
            self._logs_checked = now
            for child in self._children.values():
                child.turn_logs()

    def _over(self) -> bool:
        return self._stopping and all(child.pid is None for child in self._children.values())

    def _clean_up(self) -> None:
        end_descendants(os.getpid(), _ORPHAN_GRACE_SECONDS, reap=reaped)
        for child in self._children.values():
            child.remove_shared_memory()
        for key, _ in self._selector.select(0):
            if key.fd != self._channel.fileno():
                key.data()
        self._say("stopped")
        self._publish()

    # -- the loop's parts

    def _pause(self) -> float | None:
        due = [at for child in self._children.values() for at in (child.restart_at, child.kill_at) if at is not None]
        if any(child.spec.reopened_logs for child in self._children.values()):
            due.append(self._logs_checked + _LOG_CHECK_SECONDS)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _watch(self, handle: int, act: Callable[[], None]) -> None:
        self._selector.register(handle, selectors.EVENT_READ, act)

    def _signalled(self) -> None:
        numbers = os.read(self._wakeup, _CHUNK)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stop("it was told to by a signal")

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(_CHUNK)
        except OSError:
            return b""

    def _reply(self, reply: dict[str, Any]) -> None:
        with suppress(OSError):  # an owner that has gone is noticed by the loop
            self._channel.sendall(json.dumps(reply).encode() + b"\n")

    def _publish(self) -> None:
        state = GroupState(self._keeper, self._kept, tuple(child.seen() for child in self._children.values()))
        if state != self._published:
            with suppress(OSError):  # a full disk must not end the servers; the next turn of the loop tries again
                write_state(self._folder, state)
                self._published = state

    def _say(self, what: str) -> None:
        self._journal.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {what}\n".encode())


def _signal_pipe() -> int:
    """A pipe that receives the number of each signal that matters here, so that the loop wakes up for it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader
