"""The supervisor process: `python -m backend.embedded.supervise FOLDER CHANNEL_FD OWNER_FD LOG_BYTES`.

Two processes share the work, so that no single death, not even by SIGKILL, leaves anything behind:

    owner ---- channel ----> supervisor ---> children ---> their children
      \\__ starts __> keeper __/ parent of the supervisor

- the *owner* dies: the supervisor sees the end of the channel and the owner's pidfd, and ends the group;
- the *supervisor* dies: its direct children get SIGKILL (PDEATHSIG), the orphans below fall to the keeper (a
  subreaper), which ends them all;
- the *keeper* dies: the supervisor gets SIGTERM (PDEATHSIG) and ends the group;
- a *child* dies: what it left behind falls to the supervisor (a subreaper too), which ends it before a restart.

A kept group ignores only the first of these.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from backend.embedded.group import Group
from backend.embedded.processes import (
    Identity,
    become_subreaper,
    die_with_parent,
    end_descendants,
    myself,
    reaped,
    send,
)

LOCK_FILE = "group.lock"
_ORPHAN_GRACE_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Become keeper and supervisor of one group. `OWNER_FD` is the owner's pidfd."""
    folder, channel = Path(arguments[0]), socket.socket(fileno=int(arguments[1]))
    owner, log_bytes = int(arguments[2]), int(arguments[3])
    if not _lock(folder):
        channel.sendall(json.dumps({"ok": False, "why": "held"}).encode() + b"\n")
        return 1
    keeper = myself()
    become_subreaper()
    supervisor = os.fork()
    if supervisor == 0:
        os._exit(_supervise(folder, channel, owner, keeper, log_bytes))
    channel.close()
    return _keep(supervisor)


def _lock(folder: Path) -> bool:
    """Take the folder; both processes hold it until the later of them has ended."""
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _supervise(folder: Path, channel: socket.socket, owner: int, keeper: Identity, log_bytes: int) -> int:
    try:
        die_with_parent(signal.SIGTERM)
        if os.getppid() != keeper.pid:
            return 1
        become_subreaper()
        Group(folder, channel, owner, keeper, log_bytes).run()
    except BaseException:  # a defect: say so, then leave, and the keeper ends what is left
        traceback.print_exc()
        return 1
    return 0


def _keep(supervisor: int) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: send(supervisor, signal.SIGTERM))
    while os.wait()[0] != supervisor:
        pass  # an orphan that fell to this process
    end_descendants(os.getpid(), _ORPHAN_GRACE_SECONDS, reap=reaped)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
