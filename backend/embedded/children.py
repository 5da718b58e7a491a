"""One child inside the supervisor process: its spec, its present process, what happens when that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from backend.embedded.logs import BoundedLog, outgrown, shift
from backend.embedded.processes import descendants, die_with_parent, send
from backend.embedded.specs import Spec
from backend.embedded.state import ChildState

_SHARED_MEMORY = Path("/dev/shm")
_LOST_PARENT = 3


class Child:
    """A spec and the process that runs it now. Times inside are monotonic seconds."""

    def __init__(self, spec: Spec, log: BoundedLog, log_limit: int) -> None:
        self.spec = spec
        self.log = log
        self.state = "stopped"
        self.restart_at: float | None = None
        self.kill_at: float | None = None
        self._log_limit = log_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._exit: int | None = None
        self._ends = 0  # in a row, without a healthy run between them
        self._restarts = 0
        self._started = 0.0
        self._since = time.time()

    @property
    def pid(self) -> int | None:
        """The process id while the process has not been reaped."""
        return self._process.pid if self._process else None

    def spawn(self) -> int:
        """Start the process and return the reading end of its log pipe. OSError when the program cannot be run."""
        reader, writer = os.pipe()
        try:
            self._process = self._popen(writer)
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        os.set_blocking(reader, False)
        self._started, self.restart_at = time.monotonic(), None
        self._enter("running")
        return reader

    def respawn(self) -> int:
        """`spawn` once more after an end."""
        self._restarts += 1
        return self.spawn()

    def stop(self) -> None:
        """Ask the process to end, and note when it will be forced to."""
        self.restart_at = None
        if self._process is None:
            self._enter("stopped")
        elif self.state != "stopping":
            self.kill_at = time.monotonic() + self.spec.stop_grace_seconds
            self._enter("stopping")
            send(self._process.pid, self.spec.stop_signal)

    def kill(self) -> None:
        """Force the process to end."""
        self.kill_at = None
        if self._process is not None:
            send(self._process.pid, signal.SIGKILL)

    def ended(self, code: int) -> None:
        """The process has been reaped with `code` (negative: by that signal): decide what comes next."""
        if self._process is not None:
            self._process.returncode = code
        self._process, self._exit, self.kill_at = None, code, None
        if self.state == "stopping":
            self._enter("stopped")
            return
        now = time.monotonic()
        healthy = now - self._started >= self.spec.restart.healthy_seconds
        self._ends = 1 if healthy else self._ends + 1
        pause = self.spec.restart.pause(self._ends)
        self.restart_at = None if pause is None else now + pause
        self._enter("failed" if pause is None else "waiting")

    def could_not_start(self) -> None:
        """A respawn failed because the program cannot be run any more."""
        self.restart_at = None
        self._enter("failed")

    def turn_logs(self) -> None:
        """Begin new files in place of those that the process writes itself and that have outgrown the limit."""
        grown = [path for path in self.spec.reopened_logs if outgrown(path, self._log_limit)]
        if not grown or self._process is None:
            return
        for path in grown:
            shift(path)
        send(self._process.pid, self.spec.reopen_signal)

    def remove_shared_memory(self) -> None:
        """Remove what a killed process left in /dev/shm."""
        if self.spec.shm_prefix:
            for path in _SHARED_MEMORY.glob(f"{self.spec.shm_prefix}*"):
                path.unlink(missing_ok=True)

    def seen(self) -> ChildState:
        """What others may know."""
        return ChildState(
            name=self.spec.name,
            state=self.state,
            pid=self.pid,
            exit=self._exit,
            restarts=self._restarts,
            since=self._since,
            log=str(self.log.path),
            address=self.spec.address,
        )

    def _enter(self, state: str) -> None:
        self.state, self._since = state, time.time()

    def _popen(self, writer: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.spec.argv,
            env=dict(self.spec.env),
            cwd=self.spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_tied_to(os.getpid()),  # safe: the supervisor has one thread
        )


def end_session(leader: int) -> None:
    """Kill what a dead child left behind: the processes below this one that belong to its session."""
    for process in descendants(os.getpid()):
        if process.session == leader:
            send(process.pid, signal.SIGKILL)


def _tied_to(parent: int) -> Callable[[], None]:
    def tie() -> None:
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above took effect
            os._exit(_LOST_PARENT)

    return tie
