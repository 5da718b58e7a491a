"""Shapes of MLflow 3.17's REST answers, and their translation into our facts. Everything in them is hostile until checked.

Source: MLflow's REST API reference and `model_registry.proto`; int64 arrives as a number, version numbers as text, and a
metric that is not finite as the text "NaN" or "Infinity".
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from backend.registry.port import ModelFacts, RunFacts, VersionFacts

_YEAR_9999_MS = 253_370_764_800_000
_COMMIT = "mlflow.source.git.commit"


def _clean(text: str) -> str:
    """PostgreSQL stores no NUL in text; the rest is kept as it came."""
    return text.replace("\x00", "\ufffd")


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


Text = Annotated[str, StringConstraints(max_length=1 << 16), AfterValidator(_clean), BeforeValidator(_or_empty)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00]+$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Millis = Annotated[int, Field(ge=0, le=_YEAR_9999_MS)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Answer(BaseModel):
    """Unknown keys are ignored: MLflow adds some with each release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Pair(Answer):
    key: Name
    value: Text = ""


Pairs = Annotated[tuple[Pair, ...], Field(max_length=2000)]


def as_dict(pairs: Pairs) -> dict[str, str]:
    """Tags or parameters as a mapping."""
    return {pair.key: pair.value for pair in pairs}


class AliasAnswer(Answer):
    alias: Name
    version: Number


class VersionAnswer(Answer):
    name: Name
    version: Number
    creation_timestamp: Millis = 0
    last_updated_timestamp: Millis = 0
    source: Text = ""
    run_id: Text = ""
    status: Text = "READY"
    description: Text = ""
    user_id: Text = ""
    tags: Pairs = ()

    def facts(self) -> VersionFacts:
        return VersionFacts(
            model=self.name,
            number=self.version,
            created_at=when(self.creation_timestamp),
            updated_at=when(self.last_updated_timestamp or self.creation_timestamp),
            source=self.source,
            run_id=self.run_id or None,
            status=self.status,
            description=self.description,
            author=self.user_id,
            tags=as_dict(self.tags),
        )


class ModelAnswer(Answer):
    name: Name
    creation_timestamp: Millis = 0
    last_updated_timestamp: Millis = 0
    description: Text = ""
    tags: Pairs = ()
    aliases: Annotated[tuple[AliasAnswer, ...], Field(max_length=10_000)] = ()
    latest_versions: Annotated[tuple[VersionAnswer, ...], Field(max_length=1000)] = ()

    def facts(self) -> ModelFacts:
        return ModelFacts(
            name=self.name,
            created_at=when(self.creation_timestamp),
            updated_at=when(self.last_updated_timestamp or self.creation_timestamp),
            description=self.description,
            tags=as_dict(self.tags),
            aliases={entry.alias: entry.version for entry in self.aliases},
            latest=max((entry.version for entry in self.latest_versions), default=0),
        )


class ModelPage(Answer):
    registered_models: tuple[ModelAnswer, ...] = ()
    next_page_token: Text = ""


class VersionPage(Answer):
    model_versions: tuple[VersionAnswer, ...] = ()
    next_page_token: Text = ""


class OneModel(Answer):
    registered_model: ModelAnswer


class OneVersion(Answer):
    model_version: VersionAnswer


class DownloadUri(Answer):
    artifact_uri: Text


class MetricAnswer(Answer):
    key: Name
    value: float = 0.0


class DatasetAnswer(Answer):
    name: Text = ""
    digest: Text = ""
    source_type: Text = ""


class DatasetInput(Answer):
    dataset: DatasetAnswer = DatasetAnswer()
    tags: Pairs = ()

    def facts(self) -> dict[str, Any]:
        """Without the source, which may hold an address with a key in it."""
        context = as_dict(self.tags).get("mlflow.data.context", "")
        return {**self.dataset.model_dump(), "context": context}


class RunInfo(Answer):
    run_id: Name
    experiment_id: Text = ""
    user_id: Text = ""
    artifact_uri: Text = ""


class RunData(Answer):
    metrics: Annotated[tuple[MetricAnswer, ...], Field(max_length=10_000)] = ()
    params: Annotated[tuple[Pair, ...], Field(max_length=10_000)] = ()
    tags: Pairs = ()


class RunInputs(Answer):
    dataset_inputs: Annotated[tuple[DatasetInput, ...], Field(max_length=1000)] = ()


class RunAnswer(Answer):
    info: RunInfo
    data: RunData = RunData()
    inputs: RunInputs = RunInputs()

    def facts(self) -> RunFacts:
        tags = as_dict(self.data.tags)
        return RunFacts(
            metrics={one.key: one.value for one in self.data.metrics if math.isfinite(one.value)},
            params=as_dict(self.data.params),
            tags=tags,
            datasets=tuple(one.facts() for one in self.inputs.dataset_inputs),
            author=tags.get("mlflow.user") or self.info.user_id,
            code_version=tags.get(_COMMIT, ""),
        )


class OneRun(Answer):
    run: RunAnswer


class FileAnswer(Answer):
    path: PathText
    is_dir: bool = False
    file_size: Annotated[int, Field(ge=0, le=2**53)] = 0


class FilePage(Answer):
    files: tuple[FileAnswer, ...] = ()
    next_page_token: Text = ""


class ExperimentAnswer(Answer):
    experiment_id: Name


class OneExperiment(Answer):
    experiment: ExperimentAnswer


class ErrorAnswer(Answer):
    error_code: Text = ""


class Nothing(Answer):
    """For answers of which only the success matters."""


def when(milliseconds: int) -> datetime:
    """MLflow's milliseconds since 1970 as an aware time, exact to the millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
