"""MLflow 3.17 over its REST API 2.0. Never imports mlflow (5 s of CPU, 170 MB): httpx and the documented endpoints do.

Source: mlflow.org/docs/latest/api_reference/rest-api.html and the routes of `mlflow.server.handlers` 3.17. Artifacts are
listed and fetched where the server resolves them itself, so that its own storage credentials never come here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from backend.core.canonical import tree_files
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.outbound import Guard
from backend.registry import mlflow_wire as wire
from backend.registry.mlflow_http import SYSTEM, MlflowHttp
from backend.registry.paths import safe_path, shown
from backend.registry.port import ArtifactFile, ModelFacts, ModelOrder, Page, RunFacts, VersionFacts

_API = "/api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_MODEL_PAGE = 500
_VERSION_PAGE = 2000
_UPLOADS = "countersign-uploads"
_ORDERS: Mapping[ModelOrder, str] = {"name": "name ASC", "newest": "last_updated_timestamp DESC"}


@dataclass(frozen=True)
class _Root:
    """Where an artifact is listed and fetched: a path and parameter for each, and the folder below which it lies."""

    listing: str
    folder_key: str
    params: Mapping[str, str]
    download: str
    file_key: str | None
    below: str = ""

    def inside(self, path: str) -> str:
        return "/".join(part for part in (self.below, path) if part)


class MlflowRegistry:
    """The port's adapter for a team's own MLflow server.

    Args:
        url: COUNTERSIGN_MLFLOW_URL.
        guard: outgoing-URL guard; the address must be public or allow-listed.
        token: COUNTERSIGN_MLFLOW_TOKEN, or None.
    """

    def __init__(self, url: str, guard: Guard, *, token: str | None = None) -> None:
        self._http = MlflowHttp(url, token, guard)

    def models(self, page: str | None = None, *, order: ModelOrder = "name") -> Page[ModelFacts]:
        """`registered-models/search`; prompts, which MLflow keeps in the same table, are left out by the server."""
        params: dict[str, str | int] = {"max_results": _MODEL_PAGE, "order_by": _ORDERS[order], **_token(page)}
        answer = self._http.get(f"{_API}/registered-models/search", wire.ModelPage, what="list of models", **params)
        return Page(tuple(one.facts() for one in answer.registered_models), answer.next_page_token or None)

    def model(self, name: str) -> ModelFacts:
        """`registered-models/get`, which also reads back the aliases."""
        answer = self._http.get(f"{_API}/registered-models/get", wire.OneModel, what=f"model {shown(name)}", name=name)
        return _same(answer.registered_model.facts(), name)

    def versions(self, model: str | None = None, page: str | None = None) -> Page[VersionFacts]:
        """`model-versions/search`: one model's, highest number first, or all, grouped by model."""
        chosen = {} if model is None else {"filter": f"name = {_literal(model)}"}
        order = "version_number DESC" if model else "name ASC"
        params: dict[str, str | int] = {"max_results": _VERSION_PAGE, "order_by": order, **chosen, **_token(page)}
        answer = self._http.get(f"{_API}/model-versions/search", wire.VersionPage, what="list of versions", **params)
        return Page(tuple(one.facts() for one in answer.model_versions), answer.next_page_token or None)

    def version(self, model: str, number: int) -> VersionFacts:
        """`model-versions/get`."""
        what = f"version {number} of {shown(model)}"
        answer = self._http.get(f"{_API}/model-versions/get", wire.OneVersion, what=what, name=model, version=str(number))
        facts = answer.model_version.facts()
        if (facts.model, facts.number) != (model, number):
            raise ExternalFailure(SYSTEM, f"answered with another version than asked for ({what})", retryable=False)
        return facts

    def run(self, version: VersionFacts) -> RunFacts | None:
        """`runs/get`."""
        if version.run_id is None:
            return None
        try:
            return self._run(version.run_id).facts()
        except NotFound:
            return None

    def set_alias(self, model: str, alias: str, number: int | None) -> None:
        """`registered-models/alias` by POST, or DELETE for None."""
        what = f"alias {shown(alias)} of {shown(model)}"
        body = {"name": model, "alias": alias} | ({} if number is None else {"version": str(number)})
        method = "DELETE" if number is None else "POST"
        self._http.send(method, f"{_API}/registered-models/alias", wire.Nothing, what=what, body=body)

    def files(self, version: VersionFacts, *, limit: int) -> Sequence[ArtifactFile]:
        """Walks the folders; MLflow lists one level at a time."""
        root = self._root(version)
        found: list[ArtifactFile] = []
        folders, seen = [""], 0
        while folders:
            for entry in self._listed(root, folders.pop()):
                seen += 1
                if seen > limit:
                    raise _too_many(limit)
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found.append(ArtifactFile(entry.path, entry.file_size))
        return sorted(found, key=lambda file: file.path)

    def download(self, version: VersionFacts, path: str, *, limit: int) -> AbstractContextManager[Iterator[bytes]]:
        """One artifact file through the server."""
        root = self._root(version)
        inside = root.inside(safe_path(path))
        what = f"file {shown(path)} of version {version.number}"
        if root.file_key is None:
            return self._http.stream(f"{root.download}/{quote(inside)}", what=what, limit=limit)
        return self._http.stream(root.download, what=what, limit=limit, **root.params, **{root.file_key: inside})

    def log_version(self, model: str, folder: Path, *, description: str, tags: Mapping[str, str]) -> VersionFacts:
        """A run, its artifacts through the mlflow-artifacts proxy, then the version, all over REST."""
        files = tree_files(folder)
        run = self._create_run(tags)
        root = _proxied(run.info.artifact_uri)
        if root is None:
            self._end_run(run.info.run_id, "FAILED")
            raise Refusal(
                "This MLflow server does not take artifacts over HTTP.",
                "Start it with --serve-artifacts, or log the model with the mlflow client and register its number.",
                code="registry-cannot-upload",
            )
        try:
            for file in files:
                self._http.put_file(
                    f"{_PROXY}/{quote(f'{root}/model/{file.path}')}", folder / file.path, what=f"upload of {shown(file.path)}"
                )
        except Exception:
            self._end_run(run.info.run_id, "FAILED")
            raise
        self._end_run(run.info.run_id, "FINISHED")
        return self._create_version(model, f"{run.info.artifact_uri}/model", run.info.run_id, description, tags)

    def _listed(self, root: _Root, folder: str) -> Iterator[wire.FileAnswer]:
        where = root.inside(folder)
        token = ""
        while True:
            params = {**root.params, **({root.folder_key: where} if where else {}), **_token(token or None)}
            answer = self._http.get(root.listing, wire.FilePage, what="list of artifact files", **params)
            for entry in answer.files:
                yield _relative(entry, root, folder)
            if answer.next_page_token in ("", token):
                return
            token = answer.next_page_token

    def _root(self, version: VersionFacts) -> _Root:
        """Logged models (MLflow 3), runs, or plain proxied storage: whichever way the server can resolve by itself."""
        source = urlsplit(version.source)
        first = source.path.lstrip("/")
        if source.scheme == "models" and first.startswith("m-") and "/" not in first:
            return _logged_model(first)
        if source.scheme == "runs":
            run_id, _, below = first.partition("/")
            return _run_root(run_id, below)
        what = f"storage of version {version.number} of {shown(version.model)}"
        uri = self._http.get(
            f"{_API}/model-versions/get-download-uri",
            wire.DownloadUri,
            what=what,
            name=version.model,
            version=str(version.number),
        ).artifact_uri
        if uri and (proxied := _proxied(uri)) is not None:
            return _Root(_PROXY, "path", {}, _PROXY, None, proxied)
        return self._root_in_run(version, uri or "")

    def _root_in_run(self, version: VersionFacts, uri: str) -> _Root:
        base = self._run(version.run_id).info.artifact_uri.rstrip("/") if version.run_id else ""
        if version.run_id and base and uri.startswith(base + "/"):
            return _run_root(version.run_id, uri.removeprefix(base + "/").strip("/"))
        raise Refusal(
            f"Version {version.number} of {version.model} lies outside the storage that MLflow serves.",
            "Log it again with a run on this MLflow server, or upload it.",
            code="artifact-elsewhere",
        )

    def _run(self, run_id: str) -> wire.RunAnswer:
        return self._http.get(f"{_API}/runs/get", wire.OneRun, what=f"run {shown(run_id)}", run_id=run_id).run

    def _create_run(self, tags: Mapping[str, str]) -> wire.RunAnswer:
        entries = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"experiment_id": self._experiment(), "run_name": "upload", "tags": entries}
        return self._http.send("POST", f"{_API}/runs/create", wire.OneRun, what="new run", body=body).run

    def _experiment(self) -> str:
        try:
            path = f"{_API}/experiments/get-by-name"
            found = self._http.get(path, wire.OneExperiment, what="experiment of uploads", experiment_name=_UPLOADS)
            return found.experiment.experiment_id
        except NotFound:
            made = self._http.send(
                "POST",
                f"{_API}/experiments/create",
                wire.ExperimentAnswer,
                what="experiment of uploads",
                body={"name": _UPLOADS},
            )
            return made.experiment_id

    def _end_run(self, run_id: str, status: str) -> None:
        body = {"run_id": run_id, "status": status}
        self._http.send("POST", f"{_API}/runs/update", wire.Nothing, what="end of the run", body=body)

    def _create_version(self, model: str, source: str, run_id: str, description: str, tags: Mapping[str, str]) -> VersionFacts:
        self._ensure_model(model)
        entries = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"name": model, "source": source, "run_id": run_id, "description": description, "tags": entries}
        path = f"{_API}/model-versions/create"
        made = self._http.send("POST", path, wire.OneVersion, what=f"new version of {shown(model)}", body=body)
        return self.version(model, made.model_version.version)

    def _ensure_model(self, model: str) -> None:
        try:
            self.model(model)
        except NotFound:
            what = f"new model {shown(model)}"
            self._http.send("POST", f"{_API}/registered-models/create", wire.OneModel, what=what, body={"name": model})


def _logged_model(identifier: str) -> _Root:
    name = quote(identifier, safe="")
    listing = f"{_API}/logged-models/{name}/artifacts/directories"
    download = f"/ajax-api/2.0/mlflow/logged-models/{name}/artifacts/files"
    return _Root(listing, "artifact_directory_path", {}, download, "artifact_file_path")


def _run_root(run_id: str, below: str) -> _Root:
    return _Root(f"{_API}/artifacts/list", "path", {"run_id": run_id}, "/get-artifact", "path", _plain(below))


def _plain(below: str) -> str:
    """A folder that a version's source names, which anybody who may write to the registry wrote. Servers decoded it twice
    (CVE-2024-1560), so that nothing encoded is handed on."""
    if "%" in below:
        raise Refusal(
            f"The source of this version names {shown(below)}, which is encoded.",
            "Log the version again under a plain folder name.",
            code="bad-path",
        )
    return safe_path(below) if below else ""


def _proxied(uri: str) -> str | None:
    """The path below the artifact proxy, or None for storage that the server does not proxy."""
    parsed = urlsplit(uri)
    path = parsed.path.strip("/")
    return _plain(path) if parsed.scheme == "mlflow-artifacts" and path else None


def _relative(entry: wire.FileAnswer, root: _Root, folder: str) -> wire.FileAnswer:
    """The entry with its path below the artifact's root, if it lies directly in the folder that was listed.

    The proxy lists bare names, the others whole paths; anything else is a server that would have us write elsewhere.
    """
    name = entry.path.rpartition("/")[2]
    path = f"{folder}/{name}" if folder else name
    expected = name if root.listing == _PROXY else root.inside(path)
    if entry.path != expected:
        raise Refusal(
            f"The registry lists {shown(entry.path)}, which is not in the folder that was asked for.",
            "Log the model again; if it stays, the MLflow server is not to be trusted.",
            code="bad-path",
        )
    return entry.model_copy(update={"path": safe_path(path)})


def _same(facts: ModelFacts, name: str) -> ModelFacts:
    if facts.name != name:
        raise ExternalFailure(SYSTEM, f"answered with another model than asked for ({shown(name)})", retryable=False)
    return facts


def _literal(name: str) -> str:
    """A name as a literal of MLflow's filter language, which has no escape: one kind of quote must be free."""
    quote_sign = "'" if "'" not in name else '"'
    if quote_sign in name:
        raise Refusal(f"{shown(name)} cannot be asked for.", "Rename the model in MLflow.", code="bad-name")
    return f"{quote_sign}{name}{quote_sign}"


def _token(page: str | None) -> dict[str, str]:
    return {} if page is None else {"page_token": page}


def _too_many(limit: int) -> Refusal:
    return Refusal(
        f"The artifact holds more than {limit} files and folders.",
        "Log a smaller artifact, or raise COUNTERSIGN_UPLOAD_MAX_ENTRIES.",
        code="too-many-files",
        limit=limit,
    )
