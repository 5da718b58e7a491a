"""Named places where a test can kill this process, to prove that a crash there leaves nothing half done.

Active only when COUNTERSIGN_FAILPOINT names one; the worker refuses the variable outside a loopback deployment.
"""

from __future__ import annotations

import os
import signal

DELIVERY = ("claim", "store", "load", "ready", "weight", "read-back", "commit")
ROTATION = ("rotate-key", "rotate-recorded", "rotate-published", "rotate-resealed", "rotate-destroyed", "ledger-key-recorded")


def reach(name: str) -> None:
    """Kills this process with SIGKILL when COUNTERSIGN_FAILPOINT is `name`, as a power cut would; else does nothing."""
    if os.environ.get("COUNTERSIGN_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
