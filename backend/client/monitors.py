"""`client.monitors` and `client.profiles`: what is watched at endpoints, and what versions were made from."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.client.pages import Pages
from backend.client.results import Monitor, MonitorAsked, MonitorLine, Page, Profile
from backend.client.shapes import read
from backend.client.wire import Answer, Wire


class Monitors:
    """Monitors, each known by its endpoint and its name there."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, endpoint: str = "", after: str | None = None, limit: int = 100) -> Page[MonitorLine]:
        """One page of all of them, or of an endpoint's, as they fare."""
        return Pages(self._wire, MonitorLine, "monitors").page(after=after, limit=limit, endpoint=endpoint)

    def show(self, endpoint: str, monitor: str) -> Monitor:
        """One whole, with the `etag` that setting it anew is bound to."""
        return _one(self._wire.get("endpoints", endpoint, "monitors", monitor))

    def set(
        self, endpoint: str, monitor: str, spec: Mapping[str, Any], *, since: datetime | None = None, if_match: str = ""
    ) -> Monitor:
        """Watches an endpoint, or in another way than before.

        Args:
            since: of a new one: windows that ended since then are judged too.
            if_match: the `etag` of what was looked at; without it there must be no such monitor yet.
        """
        sent = {"spec": dict(spec), "since": since.isoformat() if since is not None else None}
        path = ("endpoints", endpoint, "monitors", monitor)
        return _one(self._wire.send("PUT", path, sent=sent, if_match=if_match, only_new=not if_match))

    def remove(self, endpoint: str, monitor: str) -> None:
        """Watches that no more."""
        self._wire.send("DELETE", ("endpoints", endpoint, "monitors", monitor), again=False)

    def pause(self, endpoint: str, monitor: str, reason: str) -> Monitor:
        """Looks no more until it is resumed."""
        return self._act(endpoint, monitor, "pause", {"reason": reason})

    def resume(self, endpoint: str, monitor: str) -> Monitor:
        """Looks again."""
        return self._act(endpoint, monitor, "resume", None)

    def run(self, endpoint: str, monitor: str) -> datetime:
        """Has the latest window judged now; the end of it."""
        told = self._wire.send("POST", ("endpoints", endpoint, "monitors", monitor, "run"), again=True).content
        return read(MonitorAsked, told).slot

    def _act(self, endpoint: str, monitor: str, verb: str, sent: Any) -> Monitor:
        return _one(self._wire.send("POST", ("endpoints", endpoint, "monitors", monitor, verb), sent=sent, again=True))


class Profiles:
    """Reference profiles of versions."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, model: str, *, after: str | None = None, limit: int = 100) -> Page[Profile]:
        """What the versions of a model were made from."""
        return Pages(self._wire, Profile, "models", model, "profiles").page(after=after, limit=limit)

    def show(self, model: str, version: int) -> Profile:
        """What a version was made from, with the `etag` that setting it anew is bound to."""
        return _profile(self._wire.get("models", model, "versions", version, "profile"))

    def set(self, model: str, version: int, content: bytes, *, source: str = "", if_match: str = "") -> Profile:
        """Says what a version was made from.

        Args:
            content: as `backend.drift.stored.profile_bytes` makes it; `countersign monitor profile` does.
            if_match: the `etag` of what was looked at; without it there must be none yet.
        """
        sent = {"content": base64.b64encode(content).decode(), "source": source}
        path = ("models", model, "versions", version, "profile")
        return _profile(self._wire.send("PUT", path, sent=sent, if_match=if_match, only_new=not if_match))


def _profile(answer: Answer) -> Profile:
    return replace(read(Profile, answer.content), etag=answer.etag)


def _one(answer: Answer) -> Monitor:
    return replace(read(Monitor, answer.content), etag=answer.etag)
