"""`python -m app`: the web app and the API on one port, until it is told to stop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app.bind import check_bind
from backend import bootstrap
from backend.core.errors import Refusal
from backend.worker import logs


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until stopped; exit code 2 with the reason where it may not listen."""
    parser = argparse.ArgumentParser(prog="python -m app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8501, help="port; 0 takes a free one (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    try:
        check_bind(chosen.host)
        settings = bootstrap.read_settings()
        logs.configure(settings.log_level, worker="web", secrets=logs.secrets_of(settings))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    from app.asgi import app  # only now: importing Streamlit takes a second

    app.run(config={"server.address": chosen.host, "server.port": chosen.port})
    return 0


if __name__ == "__main__":
    sys.exit(main())
