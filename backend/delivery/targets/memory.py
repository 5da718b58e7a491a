"""A serving runtime in memory, held to the same contract as the real ones, that fails by script.

It behaves as Triton was measured to behave: a broken version is refused and the old one keeps serving, a restart forgets
what was loaded, models that are not ours stay. `MemoryServer` is the world behind the adapter: tests script its faults,
change it by hand, and read its journal, the witness of what was ever pushed. State lives in this process under a name, or
in a locked JSON file that several processes share.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from backend.core.canonical import digest_tree, tree_files
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.desired import DesiredModel, DesiredServer, Packaged
from backend.delivery.packages import read_manifest
from backend.delivery.targets.memory_server import Fault, MemoryServer, State
from backend.delivery.targets.port import (
    Abilities,
    Access,
    Answer,
    SeenModel,
    SeenServer,
    SeenVersion,
    Series,
    ServerFacts,
)


class MemorySettings(BaseModel):
    """Which server in memory: one of this process by `name`, or one in a JSON file that processes share by `path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("memory", title="Name", description="Which server in this process's memory.")
    path: str | None = Field(
        None, title="File", description="A JSON file in which processes share the server; without it, it lives in this process."
    )


class MemoryTarget:
    """The adapter. Everything it knows it reads from its server."""

    kind: ClassVar[str] = "memory"
    Settings: ClassVar[type[BaseModel]] = MemorySettings
    abilities: ClassVar[Abilities] = Abilities(
        versions_side_by_side=True,
        names_side_by_side=True,
        pin_a_version=True,
        split=False,
        mirror=False,
        read_back_versions=True,
        zero_downtime_switch=True,
        warm_up=True,
        proofs=frozenset({"answers", "configured", "bytes", "behaviour"}),
    )

    def __init__(self, server: MemoryServer, name: str = "memory") -> None:
        self.server = server
        self.system = f"server {name}"

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """The adapter for the server that the settings name."""
        chosen = MemorySettings.model_validate(settings)
        return cls(MemoryServer(chosen.name, chosen.path), access.name)

    def inspect(self) -> ServerFacts:
        """What the server is."""
        with self._call("inspect"):
            return ServerFacts("memory", "1", live=True)

    def push(self, desired: DesiredServer) -> None:
        """Loads and unloads in one locked step a model; nothing is journalled when everything is so already."""
        with self._call("push", desired) as fault:
            names = sorted(desired.models)
            for position, name in enumerate(names):
                self._load(desired.models[name], fault)
                if fault.does("partial") and position + 1 >= fault.after and position + 1 < len(names):
                    raise self._failure(f"failed after {position + 1} of {len(names)} models", applied_unknown=True)
            for name in sorted(desired.released - set(names)):
                self._release(name, fault)

    def observe(self, hash_storage: Sequence[str] = ()) -> SeenServer:
        """Everything that is loaded, ours or not, and what was not loaded since the server was started."""
        with self._call("observe") as fault, self.server.state() as state:
            models = {name: _seen(name, model, name in hash_storage) for name, model in state["models"].items()}
            fresh = {name: SeenModel(name, {}, fresh=True) for name in self.server.fresh_names(state)}
            return SeenServer(_without(fresh | models, fault))

    def answer(self, model: str, version: int, inputs: Mapping[str, Any]) -> Answer:
        """Evaluates the package's ONNX graph with onnx's own reference evaluator; without one, the recorded answer."""
        started = time.monotonic()
        with self._call("answer") as fault:
            package = self._package(model, version)
            outputs = self.server.evaluate(package, inputs)
            self.server.count(model, version)
            return Answer(fault.outputs if fault.does("lie") else outputs, time.monotonic() - started)

    def metrics(self) -> Sequence[Series]:
        """Requests counted by version since the version was loaded."""
        with self._call("metrics"), self.server.state() as state:
            return [
                Series("requests_total", name, int(version), float(loaded["requests"]))
                for name, model in sorted(state["models"].items())
                for version, loaded in sorted(model["versions"].items())
            ]

    def copy_out(self, model: str, version: int, folder: Path) -> None:
        """Copies the package folder that a version was loaded from."""
        with self._call("copy_out"):
            package = self._package(model, version)
            try:
                _copy(package, folder)
                read_manifest(folder)
            except (OSError, Refusal) as error:
                raise _not_importable(model, version) from error

    def _package(self, model: str, version: int) -> Path:
        """The folder that a served version was loaded from."""
        package = self.server.loaded_from(model, version)
        if package is None:
            raise self._failure(f"does not serve version {version} of {model}", retryable=False)
        return package

    @contextmanager
    def _call(self, verb: str, desired: DesiredServer | None = None) -> Iterator[Fault]:
        """One call under the next scripted fault for that verb: slow, refused, reset, or done and then timed out."""
        fault = self.server.next_fault(verb)
        if fault.seconds:
            time.sleep(fault.seconds)
        if not self.server.is_up or fault.does("reset"):
            raise self._failure("cannot be reached")
        if fault.does("error"):
            raise self._failure(f"answered 500 to {verb}")
        if fault.does("timeout"):
            raise self._failure(f"did not answer to {verb} in time", applied_unknown=True)
        if fault.does("refuse"):
            raise _broken("it was scripted to be", ", ".join(sorted(desired.models)) if desired else verb)
        yield fault
        if fault.does("apply_then_timeout"):
            raise self._failure(f"did not answer to {verb} in time", applied_unknown=True)

    def _load(self, desired: DesiredModel, fault: Fault) -> None:
        wanted = {version: _checked(desired.name, version, package) for version, package in desired.versions.items()}
        interfaces = {read_manifest(package.path).interface_digest for package in desired.versions.values()}
        if len(interfaces) > 1:
            raise Refusal(
                f"The versions of {desired.name} ask for different configurations, and a served name has only one.",
                "Give the version with the new interface a served name of its own.",
                code="interfaces-differ",
            )
        if not fault.does("lie"):
            self.server.load(desired.name, wanted, next(iter(interfaces), None))

    def _release(self, name: str, fault: Fault) -> None:
        if not fault.does("lie"):
            self.server.unload(name)

    def _failure(self, message: str, *, retryable: bool = True, applied_unknown: bool = False) -> ExternalFailure:
        return ExternalFailure(self.system, message, retryable=retryable, applied_unknown=applied_unknown)


def _checked(model: str, version: int, package: Packaged) -> Packaged:
    """What a real runtime meets when it loads: the bytes are read, and a graph that does not parse is refused."""
    if not package.path.is_dir() or digest_tree(tree_files(package.path)) != package.digest:
        raise Refusal(
            f"The stored package of {model} version {version} is missing or damaged.",
            "Package the version again; the server was not touched.",
            code="package-damaged",
        )
    if not MemoryServer.can_load(package.path):
        raise _broken(f"version {version}: the model cannot be parsed", model)
    return package


def _broken(reason: str, model: str) -> Refusal:
    return Refusal(
        f"The server could not load {model}: {reason}.",
        "The version that served before still serves. Correct the model and propose its new version.",
        code="not-loadable",
    )


def _copy(package: Path, folder: Path) -> None:
    """Regular files only: `tree_files` refuses a link, which could lead out of the package."""
    for file in tree_files(package):
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / file.path, target)


def _not_importable(model: str, version: int) -> Refusal:
    return Refusal(
        f"What version {version} of {model} is loaded from cannot be read as a package.",
        "Make the server's storage readable here, or register the model and propose it as a change.",
        code="not-importable",
    )


def _seen(name: str, model: State, with_storage: bool) -> SeenModel:
    versions = {
        int(version): SeenVersion(int(version), "ready", package_digest=_storage(loaded) if with_storage else None)
        for version, loaded in sorted(model["versions"].items())
    }
    return SeenModel(name, versions, model["config_digest"])


def _storage(loaded: State) -> str:
    return digest_tree([(path, size, content) for path, size, content in loaded["files"]])


def _without(models: dict[str, SeenModel], fault: Fault) -> dict[str, SeenModel]:
    return {} if fault.does("lie") else models
