"""Train the demo's delay models and register them in MLflow, as a process of its own.

    python -m backend.demo.training --tracking-uri http://127.0.0.1:5000 --model-name flight-delay --cache DIR --json

Prints one JSON object (`TrainingReport`); progress goes to stderr. This is the only module that imports MLflow, whose import
takes seconds and hundreds of megabytes. It uses MLflow's ONNX flavour (https://mlflow.org/docs/latest/ml/deep-learning/onnx/),
which stores no pickle. A training whose data, code and libraries have not changed is taken from the cache and logged again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.core.canonical import digest, digest_file
from backend.core.errors import CountersignError, ExternalFailure
from backend.demo.delay_models import OUTPUT, RECIPES, Exported, Samples, make
from backend.demo.flights import FEATURES, NUMERIC_FEATURES, PACKAGE_HOME, TEXT_FEATURES, Flights
from backend.demo.training_report import PROGRESS, TrainedVersion, TrainingReport

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import ModelSignature

MODEL_DESCRIPTION = "Probability that a flight out of New York arrives more than 15 minutes late, or is cancelled."
DATASET_NAME = "nyc-flights-2013-january-to-march"
MODULES = ("table_digest.py", "flights.py", "delay_models.py")
LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")

# MLflow's column for a data set's digest holds 36 characters; the whole digest is a tag beside it.
_MLFLOW_DIGEST = 32
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "GIT_PYTHON_REFRESH": "quiet",
    # One thread: the same sums in the same order, and so the same bytes, on every number of cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One call's arguments. `rows` limits the training flights (evenly spread); None takes all."""

    tracking_uri: str
    model: str
    cache: Path
    rows: int | None
    author: str | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """The training flights and what identifies them and the code that used them. The held-out ones are the rest of `frame`."""

    frame: pd.DataFrame
    trained_on: int
    digest: str
    code_version: str
    example: pd.DataFrame


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0 only when everything is registered."""
    os.environ.update(_ENVIRONMENT)
    options = _parse(arguments)
    job = Job(options.tracking_uri, options.model_name, options.cache, options.rows, options.author)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # MLflow prints links
            report = train(job)
    except CountersignError as error:
        print(error, file=sys.stderr)
        return 1
    print(report.to_json() if options.json else json.dumps(json.loads(report.to_json()), indent=2))
    return 0


def train(job: Job) -> TrainingReport:
    """Train or find all exports, log one MLflow run for each, and register them in the order of `RECIPES`."""
    started = time.perf_counter()
    flights = Flights.open(job.cache)
    quarter = flights.training_frame(rows=job.rows)
    samples = Samples.split(quarter, flights.training_frame((7,), rows=job.rows))
    data = DataSet(
        frame=quarter,
        trained_on=len(samples.train),
        digest=flights.digest(rows=job.rows),
        code_version=code_version(),
        example=samples.heldout.dropna().head(2)[list(FEATURES)],
    )
    folder = job.cache / "models" / _cache_key(data)
    exports = [make(recipe, samples, folder, _progress) for recipe in RECIPES]
    with _mlflow_errors():
        experiment_id, versions = _log_all(job, data, exports)
    seconds = time.perf_counter() - started
    return TrainingReport(job.model, experiment_id, data.digest, len(quarter), data.code_version, versions, seconds)


def code_version() -> str:
    """`sha256:<hex>` over the modules that decide what a model becomes."""
    return digest([[name, digest_file(Path(__file__).with_name(name))] for name in MODULES])


def _cache_key(data: DataSet) -> str:
    libraries = {name: installed(name) for name in LIBRARIES}
    return digest([data.digest, data.code_version, libraries]).removeprefix("sha256:")[:16]


def _log_all(job: Job, data: DataSet, exports: Sequence[Exported]) -> tuple[str, tuple[TrainedVersion, ...]]:
    import mlflow

    mlflow.set_tracking_uri(job.tracking_uri)
    experiment_id = mlflow.set_experiment(job.model).experiment_id
    _describe_model(job.model)
    return experiment_id, tuple(_log(job, data, exported) for exported in exports)


def _describe_model(model: str) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(model, description=MODEL_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log(job: Job, data: DataSet, exported: Exported) -> TrainedVersion:
    import mlflow

    recipe = exported.recipe
    _progress(f"{recipe.title}: logging to MLflow")
    with mlflow.start_run(run_name=recipe.title, tags=_run_tags(job, data)) as run:
        mlflow.log_params({"algorithm": recipe.key, **recipe.params, "training_rows": data.trained_on})
        mlflow.log_metrics({**exported.metrics, "onnx_agreement": exported.agreement, "training_seconds": exported.seconds})
        mlflow.log_input(_dataset(data), context="training", tags={"countersign.digest": data.digest})
        model_id = _log_model(run, exported, data)
    registered = _register(job.model, model_id, run.info.run_id, exported, data)
    _progress(f"{recipe.title}: registered as {job.model} version {registered.version}")
    return TrainedVersion(
        version=str(registered.version),
        recipe=recipe.key,
        run_id=run.info.run_id,
        model_id=model_id,
        source=registered.source,
        onnx_digest=exported.onnx_digest,
        size=exported.size,
        agreement=exported.agreement,
        metrics=exported.metrics,
        seconds=exported.seconds,
        cached=exported.cached,
    )


def _run_tags(job: Job, data: DataSet) -> dict[str, str]:
    tags = {
        "mlflow.source.name": "backend.demo.training",  # the module, not this machine's path
        "countersign.code_version": data.code_version,
        "countersign.dataset_digest": data.digest,
    }
    return tags | ({"mlflow.user": job.author} if job.author else {})


def _dataset(data: DataSet) -> Any:
    import mlflow.data
    from mlflow.data.http_dataset_source import HTTPDatasetSource

    return mlflow.data.from_pandas(  # type: ignore[attr-defined]  # made at import, from MLflow's registry of data sets
        data.frame[[*FEATURES, "late"]].astype({"late": bool}),
        source=HTTPDatasetSource(PACKAGE_HOME),  # type: ignore[no-untyped-call]
        targets="late",
        name=DATASET_NAME,
        digest=data.digest.removeprefix("sha256:")[:_MLFLOW_DIGEST],
    )


def _log_model(run: Run, exported: Exported, data: DataSet) -> str:
    """Log the ONNX flavour and the recorded answers as one folder. Returns MLflow's id of the logged model.

    `mlflow.onnx.log_model` is not used: it would add a trial through MLflow's own scoring, which cannot feed texts of shape
    `[batch, 1]` to ONNX and so warns about every such model.
    """
    import mlflow
    from mlflow.entities import LoggedModelOutput

    client = mlflow.MlflowClient()
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        _save_model(folder, logged, run, exported, data)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged.model_id


def _save_model(folder: Path, logged: LoggedModel, run: Run, exported: Exported, data: DataSet) -> None:
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    mlflow.onnx.save_model(
        onnx.load(exported.folder / "model.onnx"),
        str(folder),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=run.info.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        signature=_signature(),
        input_example=data.example,
        pip_requirements=[f"{name}=={installed(name)}" for name in ("onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    # MLflow writes the model anew; what is registered has to be, byte for byte, what was verified.
    for name in ("model.onnx", "probes.json"):
        shutil.copyfile(exported.folder / name, folder / name)


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.float, name) for name in NUMERIC_FEATURES]
    inputs += [ColSpec(DataType.string, name) for name in TEXT_FEATURES]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(DataType.float, OUTPUT)]))


def _register(model: str, model_id: str, run_id: str, exported: Exported, data: DataSet) -> Any:
    import mlflow

    return mlflow.MlflowClient().create_model_version(
        model,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        description=exported.recipe.description,
        tags={
            "algorithm": exported.recipe.key,
            "countersign.onnx_digest": exported.onnx_digest,
            "countersign.dataset_digest": data.digest,
            "countersign.code_version": data.code_version,
        },
    )


@contextlib.contextmanager
def _mlflow_errors() -> Iterator[None]:
    """Translate MLflow's errors once; its message may carry an upstream body, its code does not."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        code = str(error.error_code)
        raise ExternalFailure("MLflow", f"refused the training log ({code})", retryable=code == "INTERNAL_ERROR") from error


def _progress(line: str) -> None:
    print(f"{PROGRESS}{line}", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backend.demo.training", description=__doc__.splitlines()[0])
    parser.add_argument("--tracking-uri", required=True, help="address of the MLflow server")
    parser.add_argument("--model-name", default="flight-delay", help="registered model and experiment")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps prepared flights and trained exports")
    parser.add_argument("--rows", type=int, help="train on this many flights, evenly spread over the period, instead of all")
    parser.add_argument("--author", help="who the runs say made them; by default the operating system's user")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
