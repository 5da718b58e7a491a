"""The web app with a registry in memory in place of MLflow; started by the browser's tests with a folder for its notes.

Its first download waits until it is told to go on (SIGUSR2), so that somebody can look at a page meanwhile.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.__main__ import main
from backend import bootstrap
from tests.model_story import BAGS, files, registry

notes, made, told, first = Path(sys.argv[1]), registry(), threading.Event(), iter([True])
made.add_version(BAGS, files(9))  # the one that the story uploaded
at_once = made.download


@contextmanager
def download(*args: Any, **options: Any) -> Iterator[Iterator[bytes]]:
    """As the registry's, but for the first one."""
    if next(first, False):
        told.wait(60)
    with at_once(*args, **options) as stream:
        yield stream


made.download = download  # type: ignore[method-assign]
bootstrap._registry = lambda *_: made
signal.signal(signal.SIGUSR1, lambda *_: notes.write_text("\n".join(sorted(sys.modules))))
signal.signal(signal.SIGUSR2, lambda *_: told.set())
sys.exit(main(["--port", "0"]))
