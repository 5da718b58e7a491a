"""The process of one check: `python -P -m backend.evidence.child`, one order on stdin, progress and one result on stdout.

Settings come by the environment, never by arguments. Whatever the gate's libraries print goes to stderr. When the worker goes
away its end of stdin closes, and this process ends its whole group: nobody would read the result.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.plan import Plan, parse_plan
from backend.evidence.gates.names import gate_type
from backend.evidence.port import GateContext, GateResult
from backend.evidence.wire import MAX_LINE, MAX_SAYS, Doing, Message, Order, line_of, parse_order, result_of
from backend.settings import Settings

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_GRACE_SECONDS = 5
"""From the signal that the processor time is used up to the one that cannot be caught."""


def main() -> int:
    """Runs one check. Returns the exit status; a check that failed or could not run is a result, and 0."""
    channel = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    order = parse_order(_read_line())
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    limit(order)
    plan = parse_plan(order.plan)
    result = run(order, plan, lambda fraction, says: _send(channel, _doing(fraction, says)))
    _send(channel, result_of(plan.digest(), result))
    return 0


def run(order: Order, plan: Plan, progress: Callable[[float, str], None]) -> GateResult:
    """The gate's result; whatever it raises becomes `error`, with what to do next."""
    try:
        context = _factory(order.factory)(Settings())
        return gate_type(order.gate)(context).run(plan, progress)
    except Refusal as refusal:
        return GateResult("error", str(refusal))
    except ExternalFailure as failure:
        return GateResult("error", f"{failure}. Check again when it answers.")
    except MemoryError:
        return GateResult("error", f"The check needs more than {order.address_space >> 20} MiB. Give it a smaller version.")
    except Exception as error:
        traceback.print_exc()
        says = f"The check ended by a defect of ours ({type(error).__name__}). Check again; the worker's log has the details."
        return GateResult("error", says)


def limit(order: Order) -> None:
    """Bounds on processor time and address space, and no core dump; the wall clock is the worker's."""
    _at_most(resource.RLIMIT_CPU, order.cpu_seconds, order.cpu_seconds + _GRACE_SECONDS)
    _at_most(resource.RLIMIT_AS, order.address_space, order.address_space)
    _at_most(resource.RLIMIT_CORE, 0, 0)


def _at_most(which: int, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(which)
    ceiling = hard if allowed == resource.RLIM_INFINITY else min(hard, allowed)
    resource.setrlimit(which, (min(soft, ceiling), ceiling))


def _factory(name: str) -> Callable[[Settings], GateContext]:
    module, _, function = name.partition(":")
    found: Callable[[Settings], GateContext] = getattr(importlib.import_module(module), function)
    return found


def _doing(fraction: float, says: str) -> Doing:
    return Doing(fraction=min(max(float(fraction), 0.0), 1.0), says=says[:MAX_SAYS])


def _send(channel: int, message: Message) -> None:
    left = memoryview(line_of(message))
    while left:
        left = left[os.write(channel, left) :]


def _read_line() -> bytes:
    """The order, read without buffering so that the thread below can wait for the end of stdin."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= MAX_LINE:
        block = os.read(_STDIN, 65_536)
        if not block:
            break
        line += block
    return line


def _end_with_the_worker() -> None:
    while os.read(_STDIN, 1_024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a thread of some library must not keep a finished check alive
