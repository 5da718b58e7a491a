"""`python -m app`: the web app and the API on one port, until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from app.bind import believe_no_proxy, check_bind
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
        settings = bootstrap.read_settings()
        sign_in = bootstrap.read_sign_in(settings)
        check_bind(chosen.host, signs_in=sign_in is not None, demo=settings.demo_identities)
        secrets = [*logs.secrets_of(settings), *(sign_in.secrets if sign_in else ())]
        logs.configure(settings.log_level, worker="web", secrets=secrets)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    believe_no_proxy(os.environ)
    from app import outside  # only now: importing Streamlit takes a second
    from app.asgi import app

    app.run(config={"server.address": chosen.host, "server.port": chosen.port, **outside.options(sign_in)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
