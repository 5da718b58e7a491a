"""A registry in memory, held to the same contract as MLflow, that fails by script: for the tests of the rooms above.

The first half is the port; the second is the world behind it, in which tests do by hand what teams do in MLflow. Like every
adapter it refuses to be called inside a unit of work.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from backend.core.canonical import tree_files
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.unit import assert_outside_unit
from backend.registry import rules
from backend.registry.paths import safe_path, shown
from backend.registry.port import ArtifactFile, ModelFacts, ModelOrder, Page, RunFacts, VersionFacts

T = TypeVar("T")
Verb = Literal["models", "model", "versions", "version", "run", "set_alias", "files", "download", "log_version"]
FaultKind = Literal["", "unreachable", "error", "apply_then_timeout", "lie"]

SYSTEM = "the registry in memory"
_MODEL_PAGE = 500
_VERSION_PAGE = 2000
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next calls of one verb.

    Args:
        verb: the port's verb.
        kind: unreachable, error (500, nothing applied), apply_then_timeout (done, but nobody is told), lie (set_alias: says
            yes and does nothing). "" only waits.
        seconds: how long the call takes before anything happens, on top.
        times: for how many calls.
    """

    verb: Verb
    kind: FaultKind = ""
    seconds: float = 0.0
    times: int = 1


@dataclass
class _Version:
    facts: VersionFacts
    run: RunFacts | None
    files: dict[str, bytes]


@dataclass
class _Model:
    facts: ModelFacts
    numbers: int = 0
    versions: dict[int, _Version] = field(default_factory=dict)


class MemoryRegistry:
    """One registry of this process.

    Args:
        clock: what the registry takes for the time.

    Attributes:
        up: whether it can be reached.
        calls: how often each verb was called.
        journal: every move of an alias in order: (model, alias, number or None, "countersign" or who did it by hand).
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.up = True
        self.calls: Counter[str] = Counter()
        self.journal: list[tuple[str, str, int | None, str]] = []
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._faults: list[Fault] = []
        self._lock = threading.RLock()

    # -- the port

    def models(self, page: str | None = None, *, order: ModelOrder = "name") -> Page[ModelFacts]:
        """All models."""
        with self._call("models"):
            found = [_told(one) for _, one in sorted(self._models.items())]
            if order == "newest":
                found.sort(key=lambda one: one.updated_at, reverse=True)
            return _page(found, page, _MODEL_PAGE)

    def model(self, name: str) -> ModelFacts:
        """One model."""
        with self._call("model"):
            return _told(self._model(name))

    def versions(self, model: str | None = None, page: str | None = None) -> Page[VersionFacts]:
        """Versions, the highest number of each model first."""
        with self._call("versions"):
            names = sorted(self._models) if model is None else [model] if model in self._models else []
            found = [one.facts for name in names for _, one in sorted(self._models[name].versions.items(), reverse=True)]
            return _page(found, page, _VERSION_PAGE)

    def version(self, model: str, number: int) -> VersionFacts:
        """One version."""
        with self._call("version"):
            return self._version(model, number).facts

    def run(self, version: VersionFacts) -> RunFacts | None:
        """Its run."""
        with self._call("run"):
            return self._version(version.model, version.number).run if version.run_id else None

    def set_alias(self, model: str, alias: str, number: int | None) -> None:
        """Moves an alias."""
        with self._call("set_alias") as fault:
            if fault.kind != "lie":
                self._set_alias(model, alias, number, "countersign")

    def files(self, version: VersionFacts, *, limit: int) -> Sequence[ArtifactFile]:
        """Lists the artifact."""
        with self._call("files"):
            files = self._version(version.model, version.number).files
            if len(files) > limit:
                raise Refusal(f"The artifact holds more than {limit} files.", "Log a smaller one.", code="too-many-files")
            return [ArtifactFile(safe_path(path), len(content)) for path, content in sorted(files.items())]

    @contextmanager
    def download(self, version: VersionFacts, path: str, *, limit: int) -> Iterator[Iterator[bytes]]:
        """One file in blocks."""
        with self._call("download"):
            content = self._version(version.model, version.number).files.get(safe_path(path))
        if content is None:
            raise NotFound("file in the registry", shown(path))
        yield _blocks(content, limit)

    def log_version(self, model: str, folder: Path, *, description: str, tags: Mapping[str, str]) -> VersionFacts:
        """Keeps a copy of the folder's files as a new version."""
        files = {file.path: (folder / file.path).read_bytes() for file in tree_files(folder)}
        with self._call("log_version"):
            return self.add_version(model, files, description=description, tags=tags, run=RunFacts(tags=dict(tags)))

    # -- the world

    def script(self, *faults: Fault) -> None:
        """Appends faults; calls of a verb meet its faults in this order."""
        with self._lock:
            self._faults.extend(faults)

    def add_model(self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> None:
        """Somebody makes a model."""
        with self._lock:
            now = self._clock()
            rules.check_model_name(name)
            self._models[name] = _Model(ModelFacts(name, now, now, description, dict(tags or {})))

    def add_version(
        self,
        model: str,
        files: Mapping[str, bytes],
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        author: str = "",
        run: RunFacts | None = None,
    ) -> VersionFacts:
        """Somebody logs a version, with a run where one is given; the model is made where it is missing."""
        with self._lock:
            if model not in self._models:
                self.add_model(model)
            owner, now = self._models[model], self._clock()
            owner.numbers += 1
            facts = VersionFacts(
                model=model,
                number=owner.numbers,
                created_at=now,
                updated_at=now,
                source=f"memory:/{model}/{owner.numbers}",
                run_id=f"run-{model}-{owner.numbers}" if run is not None else None,
                description=description,
                author=author,
                tags=dict(tags or {}),
            )
            owner.versions[facts.number] = _Version(facts, run, dict(files))
            owner.facts = replace(owner.facts, updated_at=now)
            return facts

    def edit_version(self, model: str, number: int, *, description: str | None = None, status: str | None = None) -> None:
        """Somebody edits a version."""
        with self._lock:
            version = self._version(model, number)
            version.facts = replace(
                version.facts,
                description=version.facts.description if description is None else description,
                status=status or version.facts.status,
                updated_at=self._clock(),
            )

    def change_byte(self, model: str, number: int, path: str | None = None) -> None:
        """Somebody changes one byte of a version's artifact, in its first file unless one is named."""
        with self._lock:
            files = self._version(model, number).files
            chosen = path or min(files)
            files[chosen] = bytes([files[chosen][0] ^ 1]) + files[chosen][1:] if files[chosen] else b"\x01"

    def move_alias(self, model: str, alias: str, number: int | None, *, by: str = "somebody") -> None:
        """Somebody moves an alias by hand."""
        with self._lock:
            self._set_alias(model, alias, number, by)

    def remove_version(self, model: str, number: int) -> None:
        """Somebody deletes a version; its number is never used again."""
        with self._lock:
            del self._models[model].versions[number]
            kept = {alias: there for alias, there in self._models[model].facts.aliases.items() if there != number}
            self._models[model].facts = replace(self._models[model].facts, aliases=kept)

    def remove_model(self, name: str) -> None:
        """Somebody deletes a model with all its versions."""
        with self._lock:
            del self._models[name]

    def _set_alias(self, model: str, alias: str, number: int | None, by: str) -> None:
        owner = self._model(model)
        aliases = {key: there for key, there in owner.facts.aliases.items() if key != alias}
        if number is not None:
            aliases[alias] = self._version(model, number).facts.number
        owner.facts = replace(owner.facts, aliases=aliases)
        self.journal.append((model, alias, number, by))

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            raise NotFound("model in the registry", name)
        return self._models[name]

    def _version(self, model: str, number: int) -> _Version:
        versions = self._model(model).versions
        if number not in versions:
            raise NotFound("version in the registry", f"{model} {number}")
        return versions[number]

    @contextmanager
    def _call(self, verb: Verb) -> Iterator[Fault]:
        """One call under the next scripted fault of its verb, and alone."""
        assert_outside_unit(f"a call to {SYSTEM}")
        fault = self._next_fault(verb)
        if fault.seconds:
            time.sleep(fault.seconds)
        if not self.up or fault.kind == "unreachable":
            raise ExternalFailure(SYSTEM, f"cannot be reached ({verb})", retryable=True)
        if fault.kind == "error":
            raise ExternalFailure(SYSTEM, f"answered 500 ({verb})", retryable=True)
        with self._lock:
            yield fault
        if fault.kind == "apply_then_timeout":
            raise ExternalFailure(SYSTEM, f"did not answer in time ({verb})", retryable=True, applied_unknown=True)

    def _next_fault(self, verb: Verb) -> Fault:
        with self._lock:
            self.calls[verb] += 1
            position = next((at for at, fault in enumerate(self._faults) if fault.verb == verb), None)
            if position is None:
                return Fault(verb)
            fault = self._faults[position]
            left = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            self._faults[position : position + 1] = left
            return fault


def _told(model: _Model) -> ModelFacts:
    return replace(model.facts, latest=max(model.versions, default=0))


def _page(items: Sequence[T], page: str | None, size: int) -> Page[T]:
    start = int(page or 0)
    end = start + size
    return Page(tuple(items[start:end]), str(end) if end < len(items) else None)


def _blocks(content: bytes, limit: int) -> Iterator[bytes]:
    for start in range(0, len(content), _BLOCK):
        if start + len(content[start : start + _BLOCK]) > limit:
            raise Refusal(f"The artifact is larger than {limit} bytes.", "Log a smaller one.", code="too-large", limit=limit)
        yield content[start : start + _BLOCK]
