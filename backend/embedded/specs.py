"""What a supervised child is, and how that crosses the pipe to the supervisor process."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_SHM_PREFIX = re.compile(r"[a-z][a-z0-9-]{7,60}")


@dataclass(frozen=True)
class Restart:
    """When a child that ended by itself is started again.

    The pause begins at `first_seconds`, doubles up to `cap_seconds`, and begins anew after a run of `healthy_seconds`.
    After `limit` ends without a healthy run between them the child is left `failed`. A limit of 0 means never.
    """

    limit: int = 0
    first_seconds: float = 0.5
    cap_seconds: float = 30.0
    healthy_seconds: float = 60.0

    def pause(self, ends: int) -> float | None:
        """Seconds to wait after the `ends`-th end in a row (1 is the first), or `None` to leave it."""
        if ends > self.limit:
            return None
        return float(min(self.cap_seconds, self.first_seconds * 2 ** (ends - 1)))


@dataclass(frozen=True)
class Spec:
    """One child.

    Args:
        name: lower-case word; its log is `NAME.log` in the group's folder.
        argv: program and arguments; the program is an absolute path.
        env: the whole environment; nothing is inherited.
        cwd: working directory.
        stop_signal: sent first when it is to end; SIGKILL follows after `stop_grace_seconds`.
        restart: what happens when it ends by itself.
        reopened_logs: files that the child writes itself; when one outgrows the log limit it is renamed to `*.1` and
            the child is sent `reopen_signal` so that it opens a new one.
        shm_prefix: its files under /dev/shm begin with this; they are removed once it has ended, since a killed process
            leaves them behind.
        address: where it answers, for readers of the group's state.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 5.0
    restart: Restart = Restart()
    reopened_logs: tuple[Path, ...] = ()
    reopen_signal: signal.Signals = signal.SIGUSR1
    shm_prefix: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a child's name is a lower-case word, not {self.name!r}")
        if not self.argv or not Path(self.argv[0]).is_absolute():
            raise ValueError(f"{self.name}: the program must be an absolute path")
        if self.shm_prefix and not _SHM_PREFIX.fullmatch(self.shm_prefix):
            raise ValueError(f"{self.name}: a shared-memory prefix must be long enough to be nobody else's")

    def restarting(self, restart: Restart) -> Spec:
        """The same child under another restart rule."""
        return replace(self, restart=restart)

    def to_wire(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "name": self.name,
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": str(self.cwd),
            "stop_signal": int(self.stop_signal),
            "stop_grace_seconds": self.stop_grace_seconds,
            "restart": vars(self.restart),
            "reopened_logs": [str(path) for path in self.reopened_logs],
            "reopen_signal": int(self.reopen_signal),
            "shm_prefix": self.shm_prefix,
            "address": self.address,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Spec:
        """The inverse of `to_wire`."""
        return cls(
            name=wire["name"],
            argv=tuple(wire["argv"]),
            env=wire["env"],
            cwd=Path(wire["cwd"]),
            stop_signal=signal.Signals(wire["stop_signal"]),
            stop_grace_seconds=wire["stop_grace_seconds"],
            restart=Restart(**wire["restart"]),
            reopened_logs=tuple(Path(path) for path in wire["reopened_logs"]),
            reopen_signal=signal.Signals(wire["reopen_signal"]),
            shm_prefix=wire["shm_prefix"],
            address=wire["address"],
        )
