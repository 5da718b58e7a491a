"""A side of a benchmark in a process of its own, so that neither side pays for what the other imported.

The parent sends one line of JSON for each piece of work, `{"call": name, ...}`, and gets one back. What the child prints by
itself goes to its standard error.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

_ROOT = Path(__file__).resolve().parent.parent
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")

Call = Callable[..., Any]
OUT_OF_MEMORY = 12
"""The exit code of a child that could not get the memory that it asked for."""


class Child:
    """A process that does what the `CALLS` of a module say. Used as a context, it is ended at the end.

    Args:
        module: its name.
        python: the interpreter, for a peer that has an environment of its own.
    """

    def __init__(self, module: str, *, python: Path | None = None) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", __name__, module],
            cwd=_ROOT,
            env={**environment, **_QUIET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._asks, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def call_within(self, seconds: float, name: str, **arguments: Any) -> Any:
        """As `call`; TimeoutError when the child has not answered by then, which ends it."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            return self.call(name, **arguments)
        except RuntimeError:
            if timer.is_alive():
                raise
            raise TimeoutError(f"{name} took longer than {seconds:.0f} s, after which it was ended") from None
        finally:
            timer.cancel()

    def call(self, name: str, **arguments: Any) -> Any:
        """What the child's function of that name returned. RuntimeError when the child failed; its own words are on stderr."""
        answer = ""
        with suppress(BrokenPipeError):
            self._asks.write(json.dumps({"call": name, **arguments}) + "\n")
            self._asks.flush()
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"it ended during {name}: {self._why()}")
        return json.loads(answer)

    def _why(self) -> str:
        code = self._process.wait(timeout=60)
        if code == OUT_OF_MEMORY:
            return "it ran out of memory"
        if code == -signal.SIGKILL:
            return "it was killed, as the system does where memory runs out"
        return f"exit code {code}, its own words are on standard error"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(BrokenPipeError):
            self._asks.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def serve(calls: Mapping[str, Call]) -> None:
    """The child's side: answers each line until there are no more, and ends with a traceback where a call fails."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(OSError):  # where memory runs out, the system shall end this process and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = calls[asked.pop("call")](**asked)
        except MemoryError:
            traceback.print_exc()
            sys.exit(OUT_OF_MEMORY)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def per_call(work: Callable[[int], object], times: int) -> float:
    """CPU seconds of this process for each of `times` calls of `work(number)`."""
    started = time.process_time()
    for number in range(times):
        work(number)
    return (time.process_time() - started) / times


if __name__ == "__main__":
    serve(import_module(sys.argv[1]).CALLS)
