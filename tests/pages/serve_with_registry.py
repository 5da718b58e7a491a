"""The web app with a registry in memory in place of MLflow; started by the browser's tests with a folder for its notes."""

import signal
import sys
from pathlib import Path

from app.__main__ import main
from backend import bootstrap
from backend.registry.memory import Fault
from tests.model_story import BAGS, files, registry

notes, made = Path(sys.argv[1]), registry()
made.add_version(BAGS, files(9))  # the one that the story uploaded
made.script(Fault("download", seconds=3.0))
bootstrap._registry = lambda *_: made
signal.signal(signal.SIGUSR1, lambda *_: notes.write_text("\n".join(sorted(sys.modules))))
sys.exit(main(["--port", "0"]))
