"""One ASGI process: the pages (`app`) and, under `/api`, the REST API (`api`).

    python -m app [--host 127.0.0.1] [--port 8501]
    streamlit run app/asgi.py
    uvicorn app.asgi:app

One worker a process: sessions live in memory. Streamlit puts this folder, not the repository, on the import path.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from streamlit.config import set_option  # noqa: E402

from app import outside, report_door, wiring  # noqa: E402
from app.bind import check_bind  # noqa: E402
from app.edge import Edge  # noqa: E402
from app.kit import feedback  # noqa: E402
from backend import bootstrap  # noqa: E402
from backend.api.app import build  # noqa: E402
from backend.core import memory  # noqa: E402

settings = bootstrap.read_settings()
sign_in = bootstrap.read_sign_in(settings)
api = build(wiring.backend)
for name, value in outside.options(sign_in).items():
    set_option(name, value)


@asynccontextmanager
async def _lifespan(_app: st.App) -> AsyncIterator[dict[str, Any] | None]:
    """Refuses to start where anybody could reach it; returns the backend's connections at the end."""
    check_bind(st.get_option("server.address"), signs_in=sign_in is not None, demo=settings.demo_identities)
    memory.settle()
    yield None
    wiring.forget()


app = st.App(
    ROOT / "app" / "main.py",
    secrets=outside.secrets(sign_in),
    # Below the path that browsers see, and at the root for whoever looks after the process itself.
    routes=[
        *(Mount(path, app=api) for path in sorted({f"{outside.base_path(sign_in)}/api", "/api"})),
        Route(f"{outside.base_path(sign_in)}{report_door.PATH}", report_door.opened, methods=["GET"]),
    ],
    lifespan=_lifespan,
    middleware=[
        Middleware(
            Edge,
            only_loopback=sign_in is None or settings.demo_identities,
            outside=outside.seen_as(sign_in),
            leaving=outside.leave,
            admits=outside.is_signed_in if sign_in is not None and not settings.demo_identities else None,
        ),
    ],
    on_script_error=feedback.tell,
)
