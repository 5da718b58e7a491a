"""The state of a process group, written by its supervisor for anybody to read: `group.json` in the group's folder."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.core.errors import Refusal
from backend.embedded.processes import Identity, end_tree, is_alive, tell, wait_gone

STATE_FILE = "group.json"
SCHEMA = 1
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class ChildState:
    """One child as the supervisor sees it.

    `state` is `running`, `waiting` (ended, will be started again), `stopping`, `stopped` (as asked) or `failed` (ended
    by itself and was left so). `exit` is the last exit code, negative for a signal. `since` is Unix time in seconds.
    """

    name: str
    state: str
    pid: int | None
    exit: int | None
    restarts: int
    since: float
    log: str
    address: str


@dataclass(frozen=True)
class GroupState:
    """The group: its outermost process, whether it outlives its owner, and its children in the order of their start."""

    keeper: Identity
    kept: bool
    children: tuple[ChildState, ...]

    @property
    def alive(self) -> bool:
        """Whether the group still runs; the file stays behind when everything was killed at once."""
        return is_alive(self.keeper)


def write_state(folder: Path, state: GroupState) -> None:
    """Replace the state file in one step."""
    fresh = folder / f".{STATE_FILE}.new"
    fresh.write_text(json.dumps({"schema": SCHEMA, **asdict(state)}, indent=1) + "\n")
    os.replace(fresh, folder / STATE_FILE)


def read_state(folder: Path) -> GroupState | None:
    """The last state written in `folder`, or `None` if no group was ever started there."""
    try:
        wire = json.loads((folder / STATE_FILE).read_text())
    except FileNotFoundError:
        return None
    if wire.get("schema") != SCHEMA:
        raise Refusal(
            f"{folder / STATE_FILE} was written by another release.",
            "Stop that group with the release that started it.",
            code="group-schema",
        )
    children = tuple(ChildState(**child) for child in wire["children"])
    return GroupState(Identity(**wire["keeper"]), wire["kept"], children)


def stop_group(folder: Path, seconds: float = STOP_SECONDS) -> bool:
    """End the group that was started in `folder`, and only that. False when none runs any more.

    The group is recognised by process id, start time and boot, so a stale file never hits a stranger. One that does not
    end within `seconds` is killed.
    """
    state = read_state(folder)
    if state is None or not tell(state.keeper, signal.SIGTERM):
        return False
    if not wait_gone(state.keeper, seconds):
        end_tree(state.keeper)
    return True


def stop_command(folder: Path) -> str:
    """The shell command that ends a group that was kept."""
    return f"{sys.executable} -m backend.embedded.stop {folder.absolute()}"
