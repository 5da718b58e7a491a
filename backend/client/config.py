"""`client.config` and `client.ramps`: what there shall be as files, and steps under a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import ConfigApplied, ConfigExport, ConfigPlan, NamedRamp
from backend.client.shapes import read
from backend.client.wire import Answer, Wire

Files = Mapping[str, str] | Iterable[tuple[str, str]]
"""Names, as answers call them, and texts."""
_SECONDS = 300.0
"""Ten thousand objects take seconds, and one apply waits for another's locks."""


class Config:
    """Configuration as code: see docs/config.md."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def plan(self, files: Files, *, prune: bool = False, renew_credentials: bool = False) -> ConfigPlan:
        """What applying them would do, field by field, and what of it would be refused. Nothing is written.

        Refused with `errors` at `FILE:LINE:COLUMN` for files that cannot be read.
        """
        sent = _declared(files, prune, renew_credentials)
        return read(ConfigPlan, self._wire.send("POST", ("config", "plan"), sent=sent, again=True, seconds=_SECONDS).content)

    def apply(
        self,
        files: Files,
        *,
        plan: str,
        prune: bool = False,
        renew_credentials: bool = False,
        title: str = "",
        reason: str = "",
        credentials: Mapping[str, str] | None = None,
    ) -> ConfigApplied:
        """Makes it so: all of it or nothing, but for changes, which are proposed one by one at the end.

        Never sent again by itself: where the answer was lost, plan anew, which tells what is left to do.

        Args:
            plan: the `digest` of the plan that was looked at; Conflict where something moved since then.
            title, reason: of the changes that are proposed.
            credentials: `KIND/NAME` -> what the file says is read where `apply` runs.
        """
        sent = {**_declared(files, prune, renew_credentials), "plan": plan, "title": title, "reason": reason}
        sent["credentials"] = dict(credentials or {})
        return read(
            ConfigApplied, self._wire.send("POST", ("config", "apply"), sent=sent, again=False, seconds=_SECONDS).content
        )

    def export(self, *, kinds: Sequence[str] = (), names: Sequence[str] = ()) -> ConfigExport:
        """What is there as files that `apply` takes, as far as one sees it. No credential is ever told."""
        return read(
            ConfigExport, self._wire.get("config", "export", kind=list(kinds) or None, name=list(names) or None).content
        )


class Ramps:
    """Ramps by name, which proposals take over and policies ask for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[NamedRamp, ...]:
        """All of them, by name."""
        return tuple(Pages(self._wire, NamedRamp, "ramps").all(limit=MOST))

    def show(self, name: str) -> NamedRamp:
        """One of them, with the `etag` that setting it anew is bound to."""
        return _ramp(self._wire.get("ramps", name))

    def set(self, name: str, steps: Sequence[Mapping[str, Any]], *, if_match: str = "") -> NamedRamp:
        """Names a ramp, or changes its steps; each has `share_percent` (left out where `shadow` is true), `hold_seconds`,
        `min_units`, `statistics` and `person`.

        Args:
            if_match: the `etag` of the one that was looked at; without it there must be none of that name yet.
        """
        sent = {"steps": [dict(one) for one in steps]}
        answer = self._wire.send("PUT", ("ramps", name), sent=sent, if_match=if_match, only_new=not if_match)
        return _ramp(answer)

    def remove(self, name: str) -> None:
        """Forgets one that no policy asks for."""
        self._wire.send("DELETE", ("ramps", name), again=False)


def _declared(files: Files, prune: bool, renew: bool) -> dict[str, Any]:
    pairs = files.items() if isinstance(files, Mapping) else files
    told = [{"name": name, "text": text} for name, text in pairs]
    return {"files": told, "prune": prune, "renew_credentials": renew}


def _ramp(answer: Answer) -> NamedRamp:
    return replace(read(NamedRamp, answer.content), etag=answer.etag)
