"""What runs on a Triton, put together from several of its answers, because none of them tells the whole.

Seen with 2.51: the index names only models that have a folder in the repository, so that a model whose folder was removed goes
on serving unseen, while the statistics name it; the index keeps the reason of a failed load until the model is unloaded; after
some failures it says READY where the version itself does not. Of a model that is in the repository and was not loaded since the
process was started the index names no version, while one that was unloaded keeps its versions there, as unloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from backend.delivery.packagers.triton_config import seen_digest
from backend.delivery.seen import ModelState, SeenVersion
from backend.delivery.targets.triton_folder import ModelFolder
from backend.delivery.targets.triton_http import LIST_BYTES, TritonHttp, is_absent, model_path, short, without_inner

MAX_ENTRIES = 50_000
_STATES: Mapping[str, ModelState] = {"READY": "ready", "LOADING": "loading", "UNLOADING": "unloading"}
_GONE = "unloaded"
_LIST = "/v2/repository/index"
_STATISTICS = "/v2/models/stats"

# Of dots alone it would lead elsewhere as a part of a URL; no folder has such a name.
Name = Annotated[str, Field(pattern=r"[^.]", max_length=1024)]


class _Entry(BaseModel):
    """One line of the index: a model, or one version of it."""

    name: Name
    version: str | None = None
    state: str = ""
    reason: str = ""


class _Counted(BaseModel):
    """One line of the statistics: a version that is loaded."""

    name: Name
    version: str


class _Statistics(BaseModel):
    model_stats: list[_Counted]


_ENTRIES = TypeAdapter(list[_Entry])


@dataclass
class Listed:
    """What the lists say of one model: state and reason by version. `bare`: they name it without any version."""

    versions: dict[int, tuple[str, str]] = field(default_factory=dict)
    bare: bool = True


@dataclass(frozen=True)
class Running:
    """One model as it runs. `config` is what the server reports, None when no version of it is there to report.

    `fresh`: the server lists the model, and has loaded nothing of it since it was started.
    """

    name: str
    versions: Mapping[int, SeenVersion]
    config: Mapping[str, Any] | None
    fresh: bool = False

    @property
    def config_digest(self) -> str | None:
        """In the same form as a package's interface digest."""
        return seen_digest(self.config) if self.config is not None else None

    @property
    def ready(self) -> set[int]:
        """Versions that answer."""
        return {number for number, one in self.versions.items() if one.state == "ready"}

    @property
    def present(self) -> set[int]:
        """Versions that take memory, whether they answer or not."""
        return {number for number, one in self.versions.items() if one.state in ("ready", "loading", "unknown")}


class Looker:
    """Reads back one Triton."""

    def __init__(self, http: TritonHttp, folder: ModelFolder) -> None:
        self._http = http
        self._folder = folder

    def listed(self) -> dict[str, Listed]:
        """Every model that the index or the statistics name."""
        found: dict[str, Listed] = {}
        for entry in self._index():
            listed = found.setdefault(entry.name, Listed())
            versions, listed.bare = listed.versions, listed.bare and entry.version is None
            if (number := _number(entry.version)) is not None:
                versions[number] = entry.state, entry.reason
        for counted in self._statistics():
            number = _number(counted.version)
            found.setdefault(counted.name, Listed()).bare = False
            if number is not None and found[counted.name].versions.get(number, ("",))[0] not in _STATES:
                found[counted.name].versions[number] = "READY", ""
        return found

    def running(self, name: str, listed: Listed | None) -> Running:
        """One model in detail. It may vanish between two calls, which is no error."""
        versions = listed.versions if listed else {}
        seen = {number: self._version(name, number, *versions[number]) for number in sorted(versions)}
        loaded = any(one.state in ("ready", "loading") for one in seen.values())
        config = self._http.find(f"{model_path(name)}/config", what=f"the configuration of {short(name)}") if loaded else None
        if config is not None and not isinstance(config, dict):
            raise self._http.strange(f"the configuration of {short(name)}")
        return Running(name, seen, config, fresh=listed is not None and listed.bare)

    def _version(self, name: str, number: int, state: str, reason: str) -> SeenVersion:
        if state == "READY":
            what = f"whether version {number} of {short(name)} is ready"
            if self._http.holds(f"{model_path(name, number)}/ready", what=what):
                return SeenVersion(number, "ready")
            return SeenVersion(number, "failed", "the server lists it as ready, but it does not answer as ready")
        if state in _STATES:
            return SeenVersion(number, _STATES[state])
        if state not in ("", "UNAVAILABLE"):
            return SeenVersion(number, "unknown", short(state))
        if reason in ("", _GONE):
            return SeenVersion(number, "not_loaded")
        # The reason of a failed load stays listed when the folder is gone and nothing can load it any more.
        return SeenVersion(number, "failed" if self._folder.has(name, number) else "not_loaded", without_inner(reason))

    def _index(self) -> list[_Entry]:
        what = "the model repository's index"
        reply = self._http.expect(self._http.ask("POST", _LIST, what=what, content=b"{}", limit=LIST_BYTES), what)
        try:
            entries = _ENTRIES.validate_python(self._http.json(reply, what))
        except ValidationError as error:
            raise self._http.strange(what) from error
        if len(entries) > MAX_ENTRIES:
            raise self._http.strange(what)
        return entries

    def _statistics(self) -> Iterator[_Counted]:
        """Nothing where a Triton was built without them, or keeps them to somebody else."""
        what = "the statistics"
        reply = self._http.ask("GET", _STATISTICS, what=what, limit=LIST_BYTES)
        if is_absent(reply) or reply.status in (401, 403, 501):
            return
        try:
            counted = _Statistics.model_validate(self._http.json(self._http.expect(reply, what), what)).model_stats
        except ValidationError as error:
            raise self._http.strange(what) from error
        yield from counted[:MAX_ENTRIES]


def _number(text: str | None) -> int | None:
    """A version as Triton writes it; None for what is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
