"""The API on a port of this machine, by a real server in a thread of this process; with TLS where it gets a certificate."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp


@contextmanager
def serving(api: ASGIApp, *, certificate: Path | None = None, key: Path | None = None, port: int = 0) -> Iterator[str]:
    """The address under which `api` answers, below `/api` as in the web app."""
    listening = socket.create_server(("127.0.0.1", port))
    options: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": key} if certificate is not None else {}
    config = uvicorn.Config(Starlette(routes=[Mount("/api", app=api)]), log_level="critical", lifespan="off", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"{'https' if certificate is not None else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
