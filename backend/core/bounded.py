"""Work in a process of its own: started without secrets in its arguments, listened to, bounded, ended with its whole group.

The process gets one order on its standard input and answers line by line; which lines are understood, and which of them is the
last, is its caller's to say. `confined.py` has the other side.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Trouble = Literal["", "too_long", "too_much_cpu", "killed", "crashed", "unreadable", "stopped"]

MAX_LINE = 1 << 20
"""Bytes of the longest line that is read."""
_BLOCK = 65_536
_TICK_SECONDS = 0.2
_TAIL_BYTES = 8_192
_EXIT_SECONDS = 5.0
"""How long a process that closed its end may take to end by itself, so that its exit status can be told."""


class Unreadable(ValueError):
    """The other side wrote what is no message."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How a process ended.

    Args:
        last: its last message; None where there was none, or where `trouble` says why it does not count.
        status: exit status, negative for a signal.
        tail: the end of what it wrote to stderr, for the log alone.
    """

    last: T | None = None
    trouble: Trouble = ""
    status: int = 0
    tail: str = ""


@dataclass(frozen=True)
class Talk(Generic[T]):
    """What is said to a process and how its answers are read.

    Args:
        order: one line.
        read: a message from a line; Unreadable for what is none.
        is_last: whether nothing is waited for after this message.
        tick: called about five times a second with the newest message; False ends the process. So does an exception, which
            goes on.
    """

    order: bytes
    read: Callable[[bytes], T]
    is_last: Callable[[T], bool]
    tick: Callable[[T | None], bool]


@dataclass
class _Listening(Generic[T]):
    """What was read so far."""

    last: T | None = None
    newest: T | None = None
    pending: bytes = b""
    tail: bytes = b""
    open: set[str] = field(default_factory=lambda: {"stdout", "stderr"})


def run(
    command: Sequence[str], environment: Mapping[str, str], talk: Talk[T], *, seconds: float, folder: Path | None = None
) -> Ended[T]:
    """Runs a process to its last message, to a limit, or until `tick` says False.

    Args:
        seconds: wall clock.
        folder: where it is started; by default where this process is.
    """
    deadline = time.monotonic() + seconds
    heard: _Listening[T] = _Listening()
    with _started(command, environment, folder) as process:
        try:
            trouble = _listen(process, talk, heard, deadline)
        except Unreadable:
            trouble = "unreadable"
        if not trouble and heard.last is None:
            _wait_for_exit(process)
            _read_the_rest(process, heard)
    tail = heard.tail.decode(errors="replace")
    if trouble or heard.last is None:
        return Ended(None, trouble or _why(process.returncode), process.returncode, tail)
    return Ended(heard.last, "", process.returncode, tail)


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str], folder: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """The process in a group of its own. At the end the whole group is gone, whatever it started."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(  # noqa: S603  our own module, no shell
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), cwd=folder, start_new_session=True
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


def _listen(process: subprocess.Popen[bytes], talk: Talk[T], heard: _Listening[T], deadline: float) -> Trouble:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    unsent = talk.order
    with selectors.DefaultSelector() as selector:
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr"), (process.stdin, "stdin")):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, name)
        while "stdout" in heard.open and heard.last is None:
            if time.monotonic() >= deadline:
                return "too_long"
            for key, _ in selector.select(_TICK_SECONDS):
                if key.data == "stdin":
                    unsent = _write(key.fd, unsent)
                    done = not unsent
                else:
                    done = not _read(key.fd, key.data, talk, heard)
                if done:
                    selector.unregister(key.fileobj)
            if not talk.tick(heard.newest):
                return "stopped"
    return ""


def _write(handle: int, unsent: bytes) -> bytes:
    """What is left to send; a process that is gone takes nothing."""
    try:
        return unsent[os.write(handle, unsent) :]
    except BrokenPipeError:
        return b""


def _read(handle: int, name: str, talk: Talk[T], heard: _Listening[T]) -> bool:
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
        message = talk.read(line)
        if talk.is_last(message):
            heard.last = message
            return True
        heard.newest = message
    return True


def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    """Lets a process that has closed its end come to its own, without reaping it yet."""
    until = time.monotonic() + _EXIT_SECONDS
    while time.monotonic() < until:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.02)


def _read_the_rest(process: subprocess.Popen[bytes], heard: _Listening[T]) -> None:
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
