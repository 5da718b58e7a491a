"""Training end to end against a real MLflow server, on a sample of the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml

from backend.core.canonical import digest_bytes, digest_file, loads
from backend.core.errors import ExternalFailure
from backend.demo.delay_models import AGREEMENT, OUTPUT, Samples, answer, verify
from backend.demo.flights import FEATURES, NUMERIC_FEATURES, TEXT_FEATURES, Flights
from backend.demo.training_report import TrainingReport, run_training
from tests.rules.demo.conftest import free_port

ROWS = 4_000
MODEL = "demo-flight-delay"  # its own on the shared server
FILES = {
    "MLmodel",
    "conda.yaml",
    "input_example.json",
    "model.onnx",
    "probes.json",
    "python_env.yaml",
    "requirements.txt",
    "serving_input_example.json",
}


@pytest.fixture(scope="module")
def progress() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(mlflow_url: str, flights_cache: Path, progress: list[str]) -> TrainingReport:
    return run_training(
        tracking_uri=mlflow_url,
        model=MODEL,
        cache=flights_cache,
        rows=ROWS,
        author="dana",
        on_progress=progress.append,
    )


@pytest.fixture(scope="module")
def mlflow(mlflow_url: str, report: TrainingReport) -> Iterator[httpx.Client]:
    """MLflow's REST API, after the training."""
    with httpx.Client(base_url=f"{mlflow_url}/api/2.0", trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def artifacts(mlflow: httpx.Client, report: TrainingReport) -> list[dict[str, bytes]]:
    """Every file of all versions, as MLflow gives them out."""
    return [_artifacts(mlflow, version.model_id) for version in report.versions]


def _artifacts(mlflow: httpx.Client, model_id: str) -> dict[str, bytes]:
    logged = mlflow.get(f"/mlflow/logged-models/{model_id}").json()["model"]["info"]
    root = logged["artifact_uri"].removeprefix("mlflow-artifacts:/")
    listed = mlflow.get("/mlflow-artifacts/artifacts", params={"path": root}).json()["files"]
    return {each["path"]: mlflow.get(f"/mlflow-artifacts/artifacts/{root}/{each['path']}").content for each in listed}


def _rows(inputs: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(inputs)[list(FEATURES)]


class TestRegistration:
    def test_versions_come_in_order(self, report: TrainingReport, mlflow: httpx.Client) -> None:
        assert [(each.version, each.recipe) for each in report.versions] == [
            ("1", "logistic"),
            ("2", "boosted"),
            ("3", "inverted"),
        ]
        for each in report.versions:
            seen = mlflow.get("/mlflow/model-versions/get", params={"name": MODEL, "version": each.version}).json()[
                "model_version"
            ]
            assert (seen["status"], seen["run_id"], seen["source"]) == ("READY", each.run_id, each.source)
            assert seen["description"]
            tags = {tag["key"]: tag["value"] for tag in seen["tags"]}
            assert tags["countersign.onnx_digest"] == each.onnx_digest
            assert tags["countersign.dataset_digest"] == report.dataset_digest

    def test_the_run_says_what_was_done(self, report: TrainingReport, mlflow: httpx.Client) -> None:
        for each in report.versions:
            run = mlflow.get("/mlflow/runs/get", params={"run_id": each.run_id}).json()["run"]
            params, metrics, tags = (
                {item["key"]: item["value"] for item in run["data"][part]} for part in ("params", "metrics", "tags")
            )
            assert run["info"]["status"] == "FINISHED"
            assert params["algorithm"] == each.recipe
            assert 0 < int(params["training_rows"]) < ROWS
            assert {**each.metrics, "onnx_agreement": each.agreement}.items() <= metrics.items()
            assert (tags["mlflow.user"], tags["mlflow.source.name"]) == ("dana", "backend.demo.training")
            assert tags["countersign.code_version"] == report.code_version

    def test_the_data_set_is_an_input_with_its_digest(
        self, report: TrainingReport, mlflow: httpx.Client, flights: Flights
    ) -> None:
        assert report.dataset_digest == flights.digest(rows=ROWS)
        assert report.dataset_rows == ROWS
        run = mlflow.get("/mlflow/runs/get", params={"run_id": report.versions[0].run_id}).json()["run"]
        (used,) = run["inputs"]["dataset_inputs"]
        assert {tag["key"]: tag["value"] for tag in used["tags"]} == {
            "countersign.digest": report.dataset_digest,
            "mlflow.data.context": "training",
        }
        assert used["dataset"]["digest"] == report.dataset_digest.removeprefix("sha256:")[:32]
        assert json.loads(used["dataset"]["profile"])["num_rows"] == ROWS

    def test_progress_is_told_in_words(self, report: TrainingReport, progress: list[str]) -> None:
        assert any("training on" in line for line in progress)
        assert f"Gradient boosting: registered as {MODEL} version 2" in progress


class TestArtifacts:
    def test_are_these_files_and_none_is_pickled(self, artifacts: list[dict[str, bytes]]) -> None:
        for files in artifacts:
            assert set(files) == FILES
            flavors = yaml.safe_load(files["MLmodel"])["flavors"]
            assert set(flavors) == {"onnx", "python_function"}
            assert flavors["python_function"]["loader_module"] == "mlflow.onnx"

    def test_the_model_is_the_reported_one(self, artifacts: list[dict[str, bytes]], report: TrainingReport) -> None:
        for files, each in zip(artifacts, report.versions, strict=True):
            assert digest_bytes(files["model.onnx"]) == each.onnx_digest
            assert len(files["model.onnx"]) == each.size

    def test_the_signature_is_the_graph_s(self, artifacts: list[dict[str, bytes]]) -> None:
        import onnxruntime

        for files in artifacts:
            session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
            graph = [(each.name, each.type, each.shape[1:]) for each in (*session.get_inputs(), *session.get_outputs())]
            numbers, texts = ([(name, f"tensor({kind})", [1]) for name in names] for names, kind in _KINDS)
            assert graph == [*numbers, *texts, (OUTPUT, "tensor(float)", [1])]
            signature = yaml.safe_load(files["MLmodel"])["signature"]
            columns = json.loads(signature["inputs"]) + json.loads(signature["outputs"])
            assert [(each["name"], f"tensor({each['type']})", [1]) for each in columns] == graph


_KINDS = ((NUMERIC_FEATURES, "float"), (TEXT_FEATURES, "string"))


def test_the_version_that_is_wrong_on_purpose_is_as_wrong_as_it_says(report: TrainingReport) -> None:
    first, _, wrong = (each.metrics for each in report.versions)
    assert wrong["july_auc"] == pytest.approx(1 - first["july_auc"], abs=0.02)
    assert wrong["july_log_loss"] > first["july_log_loss"] + 0.2


class TestProbes:
    def test_the_model_answers_them_as_recorded(self, artifacts: list[dict[str, bytes]]) -> None:
        for files in artifacts:
            probes = loads(files["probes.json"])  # strict JSON: no NaN
            assert (probes["schema"], len(probes["inputs"]), len(probes["outputs"])) == (1, 16, 16)
            expected = [output[OUTPUT] for output in probes["outputs"]]
            assert answer(files["model.onnx"], _rows(probes["inputs"])) == pytest.approx(expected, abs=probes["tolerance"])

    def test_another_version_does_not(self, artifacts: list[dict[str, bytes]]) -> None:
        first, second, _ = artifacts
        probes = loads(first["probes.json"])
        answers = answer(second["model.onnx"], _rows(probes["inputs"]))
        wrong = [abs(a - e[OUTPUT]) > probes["tolerance"] for a, e in zip(answers, probes["outputs"], strict=True)]
        assert all(wrong)

    def test_they_are_real_flights_that_training_did_not_see(self, artifacts: list[dict[str, bytes]], flights: Flights) -> None:
        samples = Samples.split(flights.training_frame(rows=ROWS), flights.training_frame((7,), rows=100))
        seen = {tuple(row) for row in samples.train[list(FEATURES)].itertuples(index=False)}
        held_out = {tuple(row) for row in samples.heldout[list(FEATURES)].itertuples(index=False)}
        probes = {tuple(row) for row in _rows(loads(artifacts[0]["probes.json"])["inputs"]).itertuples(index=False)}
        assert len(probes) == 16
        assert probes <= held_out - seen


def test_a_second_training_is_taken_from_the_cache_and_logged_anew(
    report: TrainingReport, mlflow_url: str, flights_cache: Path
) -> None:
    again = run_training(tracking_uri=mlflow_url, model=MODEL, cache=flights_cache, rows=ROWS)
    assert [each.version for each in again.versions] == ["4", "5", "6"]
    assert [each.cached for each in report.versions] == [False, False, False]
    assert [each.cached for each in again.versions] == [True, True, True]
    for before, after in zip(report.versions, again.versions, strict=True):
        assert (after.onnx_digest, after.metrics, after.seconds) == (before.onnx_digest, before.metrics, before.seconds)
        assert after.run_id != before.run_id


def test_another_process_makes_the_same_bytes(report: TrainingReport, flights_cache: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from backend.demo.flights import Flights\n"
        "from backend.demo.delay_models import RECIPES, Samples, make\n"
        "flights, rows = Flights.open(Path(sys.argv[1])), int(sys.argv[3])\n"
        "samples = Samples.split(flights.training_frame(rows=rows), flights.training_frame((7,), rows=rows))\n"
        "for recipe in RECIPES: make(recipe, samples, Path(sys.argv[2]), lambda line: None)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", script, str(flights_cache), str(tmp_path), str(ROWS)]
    subprocess.run(command, env=environment, check=True, timeout=120)
    for each in report.versions:
        assert digest_file(tmp_path / each.recipe / "model.onnx") == each.onnx_digest


def test_an_export_that_disagrees_is_not_accepted(artifacts: list[dict[str, bytes]], flights: Flights) -> None:
    class Other:
        """Answers a little beside the export."""

        def predict_proba(self, rows: pd.DataFrame) -> Any:
            beside = answer(exported, rows) + 3 * AGREEMENT
            return pd.DataFrame({"on time": 1 - beside, "late": beside}).to_numpy()

    exported = artifacts[0]["model.onnx"]
    with pytest.raises(ArithmeticError, match="differs"):
        verify(Other(), exported, flights.training_frame(rows=50))


def test_an_unreachable_server_is_said_so_in_time(flights_cache: Path, report: TrainingReport) -> None:
    started = time.monotonic()
    with pytest.raises(ExternalFailure, match="MLflow"):
        run_training(tracking_uri=f"http://127.0.0.1:{free_port()}", model=MODEL, cache=flights_cache, rows=ROWS)
    assert time.monotonic() - started < 45


def test_a_training_that_takes_too_long_is_ended(mlflow_url: str, flights_cache: Path) -> None:
    with pytest.raises(ExternalFailure, match="status -9"):
        run_training(tracking_uri=mlflow_url, model=MODEL, cache=flights_cache, rows=ROWS, timeout_seconds=0.2)
