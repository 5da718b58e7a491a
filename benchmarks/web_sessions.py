"""Many live sessions of the web app at once, each of which does what a browser does: it opens the page and refreshes its live
parts when they are due. Measured is the time from asking for a run to the end of that run.

Streamlit 1.67 speaks protobuf over a websocket: a BackMsg asks for a run, ForwardMsgs bring what it drew, `script_finished`
ends it, `auto_rerun` names a live part and how often it refreshes (BackMsg.proto, ForwardMsg.proto). A browser that chose
an identity is known by its cookie, so that these sessions are further tabs of that browser.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

ROUND_SECONDS = 2.0
"""How often a page without a live part is asked for again."""


@dataclass
class Runs:
    """Seconds of every run of every session: the first, of the whole page, and those of its live parts."""

    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)


def measure(url: str, cookie: str, *, sessions: int, seconds: float) -> Runs:
    """Opens so many sessions on the default page, waits until all stand, then measures their refreshes for some seconds."""
    runs = Runs()
    asyncio.run(_all(url, cookie, sessions, seconds, runs))
    return runs


async def _all(url: str, cookie: str, sessions: int, seconds: float, runs: Runs) -> None:
    standing = asyncio.Barrier(sessions)
    async with asyncio.TaskGroup() as group:
        for number in range(sessions):
            group.create_task(_Session(url, cookie, runs).live(standing, seconds, number / sessions))


class _Session:
    def __init__(self, url: str, cookie: str, runs: Runs) -> None:
        self._url, self._cookie, self._runs = url, cookie, runs
        self._parts: dict[str, float] = {}

    async def live(self, standing: asyncio.Barrier, seconds: float, phase: float) -> None:
        """One session; `phase` spreads the refreshes, as people do not come at the same moment."""
        address = self._url.replace("http://", "ws://") + "/_stcore/stream"
        protocols = [Subprotocol("streamlit")]
        async with connect(
            address,
            origin=Origin(self._url),
            subprotocols=protocols,
            additional_headers={"Cookie": self._cookie},
            max_size=None,
            proxy=None,
        ) as socket:
            self._runs.first.append(await self._run(socket, ""))
            await standing.wait()
            await self._refresh(socket, seconds, phase)

    async def _refresh(self, socket: ClientConnection, seconds: float, phase: float) -> None:
        parts = dict(self._parts) or {"": ROUND_SECONDS}
        began = time.monotonic()
        due = {part: began + phase * interval for part, interval in parts.items()}
        while True:
            part = min(due, key=lambda one: due[one])
            if due[part] >= began + seconds:
                return
            await asyncio.sleep(max(0.0, due[part] - time.monotonic()))
            self._runs.later.append(await self._run(socket, part))
            due[part] = time.monotonic() + parts[part]

    async def _run(self, socket: ClientConnection, part: str) -> float:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        asked.rerun_script.fragment_id = part
        asked.rerun_script.is_auto_rerun = bool(part)
        began = time.perf_counter()
        await socket.send(asked.SerializeToString())
        while True:
            told = ForwardMsg()
            told.ParseFromString(bytes(await socket.recv(decode=False)))
            kind = told.WhichOneof("type")
            if kind == "auto_rerun":
                self._parts[told.auto_rerun.fragment_id] = float(told.auto_rerun.interval)
            elif kind == "script_finished":
                return time.perf_counter() - began
