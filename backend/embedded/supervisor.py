"""The owner's side of a process group that never outlives its owner, not even one that is killed by SIGKILL.

    with Supervisor(data / "runtimes") as group:
        child = group.start(spec)
        ...

Leaving the block ends every process of the group. `group.keep()` lets them live on; `state.stop_group(folder)` ends
exactly those later. How no death leaves anything behind is told in supervise.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import backend
from backend.core.errors import ExternalFailure, Refusal
from backend.embedded.kept_ports import KeptPorts
from backend.embedded.logs import LOG_BYTES
from backend.embedded.ports import Ports
from backend.embedded.processes import Identity, end_tree, identify
from backend.embedded.specs import Spec
from backend.embedded.state import ChildState, stop_command

_SYSTEM = "The supervisor of the local runtimes"
_ANSWER_SECONDS = 20.0
_STOP_MARGIN_SECONDS = 10.0
_ROOT = Path(backend.__file__).parent.parent


@dataclass(frozen=True)
class Child:
    """One started child, as its owner sees it."""

    name: str
    log: Path
    _group: Supervisor

    @property
    def state(self) -> ChildState:
        """What the supervisor says about it now."""
        return self._group.status()[self.name]

    @property
    def pid(self) -> int | None:
        """Its present process, another one after a restart; `None` while there is none."""
        return self.state.pid

    def alive(self) -> bool:
        """Whether it runs. False once the group has been stopped."""
        return self._group.running and self.state.state == "running"

    def stop(self, seconds: float = 30.0) -> None:
        """End this child alone; `group.start` may start it again."""
        self._group.ask({"do": "stop-child", "name": self.name})
        until = time.monotonic() + seconds
        while self.state.pid is not None:
            if time.monotonic() > until:
                raise ExternalFailure(self.name, f"did not end; see {self.log}", retryable=True)
            time.sleep(0.02)


class Supervisor:
    """A process group in `folder` (created if need be), which holds its logs and its state. Any thread may use it.

    `log_bytes` bounds each log file; two older ones are kept beside it.
    """

    def __init__(self, folder: Path, *, log_bytes: int = LOG_BYTES) -> None:
        self.folder = folder.absolute()
        self._log_bytes = log_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._keeper: Identity | None = None
        self._inbox = b""
        self._asked = 0
        self._grace_seconds = 0.0
        self._kept = False
        self._ports: dict[str, Ports] = {}
        self._kept_ports = KeptPorts(self.folder)
        self._moves: list[str] = []

    def __enter__(self) -> Supervisor:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._kept:
            self.leave()
        else:
            self.stop()

    @property
    def running(self) -> bool:
        """Whether the supervisor process lives."""
        return self._process is not None and self._process.poll() is None

    def open(self) -> None:
        """Start the supervisor process. Refused where another group runs in the same folder."""
        if not sys.platform.startswith("linux"):
            raise Refusal(
                "The local runtimes need Linux.",
                "Add servers that run elsewhere by their addresses.",
                code="runtimes-platform",
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._launch()
        hello = self._hear()
        if not hello["ok"]:
            self.stop()
            raise Refusal(
                f"A group of local runtimes already runs in {self.folder}.",
                f"Use another data folder, or end that group: {stop_command(self.folder)}",
                code="group-running",
            )
        self._keeper = Identity(**hello["keeper"])

    def start(self, spec: Spec) -> Child:
        """Start one child. It is running, not yet ready, when this returns."""
        reply = self.ask({"do": "start", "spec": spec.to_wire()})
        if not reply["ok"]:
            raise _start_failure(spec, reply)
        self._grace_seconds = max(self._grace_seconds, spec.stop_grace_seconds)
        return Child(spec.name, self.folder / f"{spec.name}.log", self)

    def reserve(self, name: str, count: int, *, others: bool = False) -> Ports:
        """Ports for a child, claimed for as long as the group lives, so that a restart finds them free.

        They are those that it had when a group in this folder last ran, where nobody has them; with `others` new ones.
        """
        if (earlier := self._ports.pop(name, None)) is not None:
            earlier.close()
        self._ports[name] = Ports(count, () if others else self._kept_ports.of(name))
        return self._ports[name]

    def remember(self, name: str, numbers: tuple[int, ...]) -> None:
        """A child answers at these ports: it gets them again the next time."""
        before = self._kept_ports.of(name)
        self._moves += [_moved(name, *pair) for pair in zip(before, numbers, strict=False) if pair[0] != pair[1]]
        self._kept_ports.keep(name, numbers)

    def moves(self) -> list[str]:
        """Which children are at other ports than the last time, as sentences, each told once."""
        told, self._moves = self._moves, []
        return told

    def status(self) -> dict[str, ChildState]:
        """Every child by name."""
        return {child["name"]: ChildState(**child) for child in self.ask({"do": "status"})["children"]}

    def keep(self) -> str:
        """Let the group outlive its owner, and return the command that ends it."""
        self.ask({"do": "keep"})
        self._kept = True
        return stop_command(self.folder)

    def leave(self) -> None:
        """Part from a group that is kept; from here on `state.stop_group` is the way to end it."""
        if self._process is not None and self._kept:
            self._hang_up()
            self._process.returncode = 0  # its end is nobody's business here, so Python shall not warn about it
            self._process = None

    def stop(self) -> None:
        """End every process of the group; by force after each child's grace. Does nothing the second time."""
        if self._process is None:
            return
        self._hang_up(order="stop")
        try:
            self._process.wait(self._grace_seconds + _STOP_MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            end_tree(self._keeper or _known(self._process.pid))
            self._process.wait()
        self._process = None
        for ports in self._ports.values():
            ports.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request to the supervisor process and its answer."""
        with self._lock:
            if self._channel is None:
                raise Refusal("This group has been stopped.", "Open a new one.", code="group-stopped")
            self._asked += 1
            try:
                self._channel.sendall(json.dumps({**request, "number": self._asked}).encode() + b"\n")
            except OSError as error:
                raise self._lost() from error
            while (answer := self._hear())["number"] != self._asked:
                pass  # the late answer to a request that was given up
            return answer

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        owner = os.pidfd_open(os.getpid())
        arguments = [str(self.folder), str(theirs.fileno()), str(owner), str(self._log_bytes)]
        errors = (self.folder / "supervisor.err").open("wb")
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
                [sys.executable, "-P", "-m", "backend.embedded.supervise", *arguments],
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(theirs.fileno(), owner),
                start_new_session=True,  # Ctrl-C reaches the owner alone, who then ends the group in order
            )
        finally:
            theirs.close()
            os.close(owner)
            errors.close()
        ours.settimeout(_ANSWER_SECONDS)
        self._channel = ours

    def _hear(self) -> dict[str, Any]:
        assert self._channel is not None  # noqa: S101  callers looked
        while b"\n" not in self._inbox:
            try:
                data = self._channel.recv(65536)
            except OSError as error:
                raise self._lost() from error
            if not data:
                raise self._lost()
            self._inbox += data
        line, self._inbox = self._inbox.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _hang_up(self, order: str = "") -> None:
        """Close the channel, after a last order. To the supervisor that means: end the group, unless it is to be kept."""
        with self._lock:
            if self._channel is None:
                return
            if order:
                with suppress(OSError):  # one that does not listen is ended by force
                    self._channel.sendall(json.dumps({"do": order, "number": 0}).encode() + b"\n")
            self._channel.close()
            self._channel = None

    def _lost(self) -> ExternalFailure:
        return ExternalFailure(_SYSTEM, f"does not answer; see {self.folder / 'supervisor.log'}", retryable=False)


def _known(pid: int) -> Identity:
    """The identity of our own unreaped child process, whose id cannot have been reused."""
    return identify(pid) or Identity(pid, 0, "")


def _moved(name: str, before: int, now: int) -> str:
    return f"Somebody else has port {before}, where {name} was: it is at {now} from now on."


def _start_failure(spec: Spec, reply: dict[str, Any]) -> Exception:
    if reply["why"] == "program":
        return ExternalFailure(spec.name, f"could not be started ({reply['detail']}): {spec.argv[0]}", retryable=False)
    if reply["why"] == "stopping":
        return Refusal("This group is being stopped.", "Open a new one.", code="group-stopped")
    return Refusal(f"{spec.name} already runs in this group.", "Stop it first.", code="child-running")
