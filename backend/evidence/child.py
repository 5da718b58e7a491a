"""The process of one check: `python -P -m backend.evidence.child`, one order on stdin, progress and one result on stdout.

Settings come by the environment, never by arguments. Whatever the gate's libraries print goes to stderr. When the worker goes
away its end of stdin closes, and this process ends its whole group: nobody would read the result.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable

from backend.core import confined
from backend.core.bounded import MAX_LINE
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.plan import Plan, parse_plan
from backend.evidence.gates.names import gate_type
from backend.evidence.port import GateContext, GateResult
from backend.evidence.wire import MAX_SAYS, Doing, Message, Order, line_of, parse_order, result_of
from backend.settings import Settings

_STDOUT, _STDERR = 1, 2


def main() -> int:
    """Runs one check. Returns the exit status; a check that failed or could not run is a result, and 0."""
    channel = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    order = parse_order(confined.read_order(MAX_LINE))
    confined.end_with_the_parent()
    confined.limit(cpu_seconds=order.cpu_seconds, address_space=order.address_space)
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


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a thread of some library must not keep a finished check alive
