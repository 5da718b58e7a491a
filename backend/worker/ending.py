"""How a process of the backend ends: by an exit code of the command line, and one line of its log that says why.

0 stopped as it was told; 1 a defect of ours; 2 refused; 3 another system failed. Apart from `process`, so that a process that
needs no database loads nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from backend.core.configured import read_settings
from backend.core.errors import ExternalFailure, Refusal
from backend.settings import Settings
from backend.worker import logs

REFUSED, EXTERNAL = 2, 3
log = structlog.get_logger()


def ended(kind: str, name: str, run: Callable[[Settings], None]) -> int:
    """Runs until it ends, and tells by the exit code how. What refuses or fails is one line of the log, `KIND.refused`."""
    logs.configure("INFO", worker=name)
    try:
        run(read_settings())
    except Refusal as refusal:
        log.error(f"{kind}.refused", code=refusal.code, problem=refusal.message, remedy=refusal.remedy)
        return REFUSED
    except ExternalFailure as failure:
        log.error(f"{kind}.refused", code="external-failure", problem=str(failure), remedy="Correct it, then start again.")
        return EXTERNAL
    return 0
