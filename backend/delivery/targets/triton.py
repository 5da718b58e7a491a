"""Triton over HTTP, in explicit model control, with a model repository that the worker shares.

What runs is set by one load per served name with the whole configuration, since a load's override replaces it entirely: one
that names only the versions answers 200 and breaks every inference. A load brings new versions up before it takes others down
and changes nothing when one of them fails (github.com/triton-inference-server/server, docs/user_guide/model_management;
seen with 2.51). Whatever a load answers, only `observe` says what runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
from pydantic import BaseModel

from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.desired import DesiredServer
from backend.delivery.packagers.triton_config import whole_config
from backend.delivery.probes import PROBES, parse_probes
from backend.delivery.targets.port import Abilities, Access, Answer, SeenModel, SeenServer, Series, ServerFacts
from backend.delivery.targets.triton_folder import ModelFolder
from backend.delivery.targets.triton_http import Reply, TritonHttp, model_path
from backend.delivery.targets.triton_look import Listed, Looker, Running
from backend.delivery.targets.triton_metrics import read_series
from backend.delivery.targets.triton_settings import TritonSettings
from backend.delivery.targets.triton_storage import copy_out, storage_digest
from backend.delivery.targets.triton_tensors import outputs_of, request_body
from backend.delivery.targets.triton_wanted import Wanted, check, served_name

# What answers everybody unless --http-restricted-api names it, and for each a request that only looks.
_OPEN = {
    "model repository": ("POST", "/v2/repository/index"),
    "shared memory": ("GET", "/v2/systemsharedmemory/status"),
    "logging": ("GET", "/v2/logging"),
    "trace": ("GET", "/v2/trace/setting"),
}


class TritonTarget:
    """The adapter. It keeps no state: everything is read from the server and the folder."""

    kind: ClassVar[str] = "triton"
    Settings: ClassVar[type[BaseModel]] = TritonSettings
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

    def __init__(self, settings: TritonSettings, access: Access) -> None:
        self._settings = settings
        self._guard = access.guard
        self.system = f"Triton {access.name}"
        credential = {settings.credential_header: access.credential} if access.credential else {}
        self._http = self._connection(settings.url, credential)
        copies = settings.repository_on_server is not None
        self._folder = ModelFolder(settings.model_repository, copies=copies, system=self.system)
        self._looker = Looker(self._http, self._folder)

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """The adapter for the Triton that the settings name."""
        return cls(TritonSettings.model_validate(settings), access)

    def inspect(self) -> ServerFacts:
        """What the server is; warnings where its management is open, or its repository is not the folder of the settings."""
        what = "what it is"
        facts = self._http.get("/v2", what=what)
        if not isinstance(facts, dict):
            raise self._http.strange(what)
        live = self._http.holds("/v2/health/live", what="whether it is live")
        extensions = facts.get("extensions")
        return ServerFacts(
            "Triton Inference Server",
            str(facts.get("version", ""))[:64],
            live,
            tuple(sorted(str(one)[:64] for one in extensions[:100])) if isinstance(extensions, list) else (),
            (*self._open_interfaces(), *self._wrong_folder()),
        )

    def push(self, desired: DesiredServer) -> None:
        """One load a served name where anything differs, none where all is so. Nothing is touched until all was checked."""
        wanted = [check(desired.models[name]) for name in sorted(desired.models)]
        released = [served_name(name) for name in sorted(desired.released - set(desired.models))]
        listed = self._looker.listed()
        for one in wanted:
            self._make_so(one, self._looker.running(one.name, listed.get(one.name)))
        for name in released:
            self._release(self._looker.running(name, listed.get(name)))

    def observe(self, hash_storage: Sequence[str] = ()) -> SeenServer:
        """Everything that the server lists or serves, each version asked itself whether it is ready."""
        found = {}
        for name, listed in sorted(self._looker.listed().items()):
            running = self._looker.running(name, listed)
            versions = running.versions if name not in hash_storage else self._hashed(running)
            found[name] = SeenModel(name, versions, running.config_digest, fresh=running.fresh)
        return SeenServer(found)

    def answer(self, model: str, version: int, inputs: Mapping[str, Any]) -> Answer:
        """One row, typed by the configuration with which that very version runs."""
        reply, seconds = self._infer(served_name(model), version, inputs)
        what = f"an answer of version {version} of {model}"
        self._http.expect(reply, what)
        try:
            return Answer(outputs_of(reply.body), seconds)
        except ValueError as error:
            raise self._http.strange(what) from error

    def metrics(self) -> Sequence[Series]:
        """From the address of the metrics; none where the settings name none."""
        if self._settings.metrics_url is None:
            return ()
        url = httpx.URL(self._settings.metrics_url)
        http = self._connection(str(url.join("/")), {})
        reply = http.expect(http.ask("GET", url.raw_path.decode(), what="its metrics"), "its metrics")
        return read_series(reply.body.decode(errors="replace"))

    def copy_out(self, model: str, version: int, folder: Path) -> None:
        """Copies what the version is loaded from into an empty folder, as a package tree.

        Refusal `not-importable` where its storage cannot be read, or holds what a package cannot.
        """
        running = self._looker.running(served_name(model), self._looker.listed().get(model))
        if version not in running.ready:
            raise self._not_served(model, version)
        copy_out(self._folder, running, version, folder)

    def _connection(self, url: str, headers: Mapping[str, str]) -> TritonHttp:
        return TritonHttp(url, headers, self._guard, seconds=self._settings.timeout_seconds, system=self.system)

    def _make_so(self, wanted: Wanted, before: Running) -> None:
        placed = {number for number, one in sorted(wanted.versions.items()) if self._folder.place(wanted.name, number, one)}
        if wanted.is_so(before) and not self._folder.is_changed(wanted.name):
            return
        try:
            self._load(wanted.name, wanted.config, wanted.versions)
            self._warm_up(wanted, sorted(wanted.fresh(before) | placed), before)
        except Refusal:
            for number in placed - before.ready:
                self._folder.clear(wanted.name, number)
            raise
        self._folder.settle(wanted.name, wanted.versions)

    def _load(self, name: str, config: Mapping[str, Any], versions: Iterable[int]) -> None:
        override = {"parameters": {"config": whole_config(config, name, list(versions))}}
        self._command(name, "load", json.dumps(override).encode())

    def _release(self, running: Running) -> None:
        """Unloading an unknown name answers 200 too; it is left out where nothing of it is there."""
        if any(one.state not in ("not_loaded", "unloading") for one in running.versions.values()):
            self._command(running.name, "unload", b"{}")
        self._folder.forget(running.name)

    def _command(self, name: str, verb: str, content: bytes) -> None:
        what = f"the {verb} of {name}"
        reply = self._http.ask(
            "POST",
            f"/v2/repository/{model_path(name).removeprefix('/v2/')}/{verb}",
            what=what,
            content=content,
            writes=True,
            seconds=self._settings.load_timeout_seconds,
        )
        if reply.status == httpx.codes.BAD_REQUEST:
            raise _not_loadable(name, reply.reason or "it gives no reason")
        if reply.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            self._explain(name, reply.reason)
        self._http.expect(reply, what, writes=True)

    def _explain(self, name: str, reason: str) -> None:
        """The two server errors that only a person can do something about."""
        if "failed to poll" in reason:
            raise Refusal(
                f"{self.system} does not find the model {name} in its repository, or cannot read its configuration.",
                f"Check that it loads from {self._settings.repository_on_server or self._settings.model_repository}, and that "
                "this is the folder that the server's settings name.",
                code="not-in-repository",
            )
        if "explicit model load" in reason:
            raise Refusal(
                f"{self.system} does not take loads.",
                "Start it with --model-control-mode=explicit.",
                code="control-mode",
            )

    def _warm_up(self, wanted: Wanted, versions: Iterable[int], before: Running) -> None:
        """Sends each new version its first recorded request, so that no caller pays for it.

        A version that is loaded and cannot answer is taken back, and refused as one that cannot be loaded.
        """
        for number in versions:
            if reason := self._first_answer(wanted, number):
                self._take_back(before)
                raise _not_loadable(wanted.name, f"version {number} does not answer its first recorded request: {reason}")

    def _first_answer(self, wanted: Wanted, number: int) -> str:
        """Why a version does not answer; "" when it does, or when no request was recorded."""
        probes = wanted.versions[number].path / PROBES
        if not probes.exists():
            return ""
        try:
            reply, _ = self._infer(wanted.name, number, parse_probes(probes.read_bytes())[0][0])
        except Refusal as refusal:
            return refusal.message.rstrip(".")
        return "" if reply.status == httpx.codes.OK else reply.reason or f"status {reply.status}"

    def _take_back(self, before: Running) -> None:
        if before.config is not None and before.ready:
            self._load(before.name, before.config, before.ready)
        else:
            self._command(before.name, "unload", b"{}")

    def _infer(self, model: str, version: int, inputs: Mapping[str, Any]) -> tuple[Reply, float]:
        path = model_path(model, version)
        config = self._http.find(f"{path}/config", what=f"the configuration of version {version} of {model}")
        if not isinstance(config, dict):
            raise self._not_served(model, version)
        body = request_body(config, inputs)
        started = time.monotonic()
        reply = self._http.ask("POST", f"{path}/infer", what=f"an answer of version {version} of {model}", content=body)
        return reply, time.monotonic() - started

    def _not_served(self, model: str, version: int) -> ExternalFailure:
        return ExternalFailure(self.system, f"does not serve version {version} of {model}", retryable=False)

    def _hashed(self, running: Running) -> dict[int, Any]:
        return {
            number: replace(one, package_digest=storage_digest(self._folder, running, number))
            for number, one in running.versions.items()
        }

    def _open_interfaces(self) -> list[str]:
        """Asks without the credential: what answers all the same is open to everybody who reaches the server."""
        stranger = self._connection(self._settings.url, {})
        content = {"POST": b"{}"}
        found = [
            name
            for name, (method, path) in _OPEN.items()
            if stranger.ask(method, path, what=f"{name} without a credential", content=content.get(method)).status == 200
        ]
        if not found:
            return []
        return [f"These interfaces answer without a credential: {', '.join(found)}. Close them with --http-restricted-api."]

    def _wrong_folder(self) -> list[str]:
        if not self._folder.is_writable():
            return [f"The model repository {self._settings.model_repository} cannot be written from here."]
        listed: dict[str, Listed] = self._looker.listed()
        if listed and not set(listed) & self._folder.names():
            return [f"None of the server's models lies in {self._settings.model_repository}; is it the folder it loads from?"]
        return []


def _not_loadable(name: str, reason: str) -> Refusal:
    return Refusal(
        f"The server could not load {name}: {reason}.",
        "The version that served before still serves. Correct the model and propose its new version.",
        code="not-loadable",
    )
