"""One check in a process of its own: started without secrets in its arguments, listened to, bounded, ended with its group."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from pydantic import SecretStr

from backend.evidence.wire import MAX_LINE, Doing, Order, Result, Unreadable, line_of, parse_answer
from backend.settings import Settings

Trouble = Literal["", "too_long", "too_much_cpu", "killed", "crashed", "unreadable", "stopped"]

_COMMAND = (sys.executable, "-P", "-m", "backend.evidence.child")
_BLOCK = 65_536
_TICK_SECONDS = 0.2
_TAIL_BYTES = 8_192
_EXIT_SECONDS = 5.0
"""How long a process that closed its end may take to end by itself, so that its exit status can be told."""
_PREFIX = "COUNTERSIGN_"


@dataclass
class Outcome:
    """How a check's process ended.

    Args:
        result: what it answered last; None where it did not answer or `trouble` says why the answer does not count.
        status: exit status, negative for a signal.
        tail: the end of what it wrote to stderr, for the log alone.
    """

    result: Result | None = None
    trouble: Trouble = ""
    status: int = 0
    tail: str = ""


@dataclass
class _Listening:
    """What was read so far."""

    result: Result | None = None
    doing: Doing | None = None
    pending: bytes = b""
    tail: bytes = b""
    open: set[str] = field(default_factory=lambda: {"stdout", "stderr"})


def run(order: Order, environment: Mapping[str, str], *, seconds: float, tick: Callable[[Doing | None], bool]) -> Outcome:
    """Runs one check to its end, to a limit, or until `tick` says False.

    Args:
        seconds: wall clock.
        tick: called about five times a second with the newest progress. An exception of it ends the process and goes on.
    """
    deadline = time.monotonic() + seconds
    heard = _Listening()
    with _started(environment) as process:
        try:
            trouble = _listen(process, order, heard, deadline, tick)
        except Unreadable:
            trouble = "unreadable"
        if not trouble and heard.result is None:
            _wait_for_exit(process)
            _read_the_rest(process, heard)
    tail = heard.tail.decode(errors="replace")
    if trouble or heard.result is None:
        return Outcome(None, trouble or _why(process.returncode), process.returncode, tail)
    return Outcome(heard.result, "", process.returncode, tail)


def environment_of(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment from which `Settings()` reads exactly these settings; nothing else of ours is handed on."""
    kept = {name: value for name, value in inherited.items() if not name.upper().startswith(_PREFIX)}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            told = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            kept[f"{_PREFIX}{name.upper()}"] = told
    return kept


@contextmanager
def _started(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process in a group of its own. At the end the whole group is gone, whatever the check started."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(  # noqa: S603  our own module, no shell
        _COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), start_new_session=True
    )
    try:
        yield process
    finally:
        # The group is ended before its leader is reaped: until then nobody else can have its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()


def _listen(
    process: subprocess.Popen[bytes],
    order: Order,
    heard: _Listening,
    deadline: float,
    tick: Callable[[Doing | None], bool],
) -> Trouble:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    unsent = line_of(order)
    with selectors.DefaultSelector() as selector:
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr"), (process.stdin, "stdin")):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, name)
        while "stdout" in heard.open and heard.result is None:
            if time.monotonic() >= deadline:
                return "too_long"
            for key, _ in selector.select(_TICK_SECONDS):
                if key.data == "stdin":
                    unsent = _write(key.fd, unsent)
                    done = not unsent
                else:
                    done = not _read(key.fd, key.data, heard)
                if done:
                    selector.unregister(key.fileobj)
            if not tick(heard.doing):
                return "stopped"
    return ""


def _write(handle: int, unsent: bytes) -> bytes:
    """What is left to send; a process that is gone takes nothing."""
    try:
        return unsent[os.write(handle, unsent) :]
    except BrokenPipeError:
        return b""


def _read(handle: int, name: str, heard: _Listening) -> bool:
    """Takes in one block; False at the end of the stream."""
    block = os.read(handle, _BLOCK)
    if not block:
        heard.open.discard(name)
        return False
    if name == "stderr":
        heard.tail = (heard.tail + block)[-_TAIL_BYTES:]
        return True
    *lines, heard.pending = (heard.pending + block).split(b"\n")
    if len(heard.pending) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
        raise Unreadable
    for line in lines:
        answer = parse_answer(line)
        if isinstance(answer, Result):
            heard.result = answer
            return True
        heard.doing = answer
    return True


def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    """Lets a process that has closed its end come to its own, without reaping it yet."""
    until = time.monotonic() + _EXIT_SECONDS
    while time.monotonic() < until:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.02)


def _read_the_rest(process: subprocess.Popen[bytes], heard: _Listening) -> None:
    """The last words on stderr of a process that ended; a grandchild that holds the pipe is not waited for."""
    if process.stderr is None or "stderr" not in heard.open:
        return
    with suppress(BlockingIOError):
        while block := os.read(process.stderr.fileno(), _BLOCK):
            heard.tail = (heard.tail + block)[-_TAIL_BYTES:]


def _why(status: int) -> Trouble:
    if status == -signal.SIGXCPU:
        return "too_much_cpu"
    return "killed" if status == -signal.SIGKILL else "crashed"
