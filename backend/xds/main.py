"""The process of `countersign xds` (see `worker/ending`): it needs its data folder, and no database."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

from backend.settings import Settings
from backend.worker import ending, logs
from backend.xds import server

log = structlog.get_logger()


def main() -> int:
    """Runs until SIGTERM or SIGINT; the second of them ends it at once."""
    name = f"xds-{os.getpid()}"
    return ending.ended("xds", name, lambda settings: run(settings, name))


def run(settings: Settings, name: str) -> None:
    """Checks what must hold, then serves until it is told to stop."""
    logs.configure(settings.log_level, worker=name, secrets=logs.secrets_of(settings))
    asyncio.run(_until_told(server.wanted(settings)))


async def _until_told(want: server.Wanted) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def obey(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, obey, number)
    async with server.running(want) as running:
        state = running.hub.state()
        log.info("xds.started", ads=str(running.ads), door=str(running.door), number=state["number"], given=state["given"])
        await stop.wait()
