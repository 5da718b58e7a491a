"""The embedded runtimes, for real: they start, are what they say, guard themselves, and go when they shall."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.embedded import runtimes
from backend.embedded.envoy import ASSIGN_FILTER, EnvoyServer, replace, start_envoy
from backend.embedded.mlflow import MlflowServer
from backend.embedded.processes import Identity, descendants, identify, is_alive
from backend.embedded.state import read_state
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer, start_triton

GONE_SECONDS = 15.0
SHARED_MEMORY = Path("/dev/shm")
ECHO = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("y", pb.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests]
"""
ECHO_CONFIG = {
    "name": "echo",
    "backend": "python",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
}
ECHO_REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]}


def eventually(holds: Callable[[], object], seconds: float = GONE_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def load_echo(triton: TritonServer) -> None:
    version = triton.models / "echo" / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.py").write_text(ECHO)
    body = {"parameters": {"config": json.dumps(ECHO_CONFIG)}}
    url = f"{triton.url}/v2/repository/models/echo/load"
    httpx.post(url, json=body, headers=triton.admin_headers, timeout=30).raise_for_status()


def unload_echo(triton: TritonServer) -> None:
    url = f"{triton.url}/v2/repository/models/echo/unload"
    httpx.post(url, json={}, headers=triton.admin_headers, timeout=30).raise_for_status()


# -- MLflow


def test_mlflow_registers_models_and_stores_artifacts_under_its_folder(mlflow_server: MlflowServer) -> None:
    with httpx.Client(base_url=mlflow_server.url, timeout=30) as client:
        name = {"name": "embedded-contract"}
        client.post("/api/2.0/mlflow/registered-models/create", json=name).raise_for_status()
        read = client.get("/api/2.0/mlflow/registered-models/get", params=name).json()
        assert read["registered_model"]["name"] == name["name"]
        put = client.put("/api/2.0/mlflow-artifacts/artifacts/contract/bytes.bin", content=b"\x00\x01")
        put.raise_for_status()
        client.request("DELETE", "/api/2.0/mlflow/registered-models/delete", json=name).raise_for_status()
    assert (mlflow_server.artifacts / "contract" / "bytes.bin").read_bytes() == b"\x00\x01"
    assert (mlflow_server.folder / "mlflow.db").stat().st_size > 0


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_mlflow_refuses_other_hosts_and_origins(mlflow_server: MlflowServer, headers: dict[str, str]) -> None:
    url = f"{mlflow_server.url}/api/2.0/mlflow/experiments/create"
    assert httpx.post(url, json={"name": "by a stranger"}, headers=headers).status_code == 403


def test_mlflow_runs_one_server_and_no_job_workers(mlflow_server: MlflowServer) -> None:
    assert len(descendants(mlflow_server.child.pid or 0)) == 1


# -- Triton


@pytest.mark.parametrize("path", ["logging", "trace/setting", "systemsharedmemory/status"])
def test_triton_guards_what_reads_memory_or_writes_files(triton_server: TritonServer, path: str) -> None:
    url = f"{triton_server.url}/v2/{path}"
    assert httpx.get(url).status_code == 403
    assert httpx.get(url, headers=triton_server.admin_headers).status_code == 200


def test_triton_guards_its_management(triton_server: TritonServer) -> None:
    url = f"{triton_server.url}/v2/repository/index"
    assert httpx.post(url).status_code == 403
    assert httpx.post(url, headers={**triton_server.admin_headers, "admin-key": "wrong"}).status_code == 403
    assert httpx.post(url, headers=triton_server.admin_headers).status_code == 200
    assert triton_server.admin_key not in repr(triton_server)


def test_triton_runs_a_python_model_and_measures_it(triton_server: TritonServer) -> None:
    load_echo(triton_server)
    try:
        answer = httpx.post(f"{triton_server.url}/v2/models/echo/infer", json=ECHO_REQUEST, timeout=30)
        assert answer.json()["outputs"][0]["data"] == [1.5, 2.5]
        metrics = f"{triton_server.metrics_url}"
        assert eventually(lambda: 'nv_inference_count{model="echo",version="1"} 1' in httpx.get(metrics).text)
        assert 'nv_inference_request_summary_us{model="echo",version="1",quantile="0.99"}' in httpx.get(metrics).text
    finally:
        unload_echo(triton_server)


def test_a_failed_load_leaves_triton_ready(triton_server: TritonServer) -> None:
    url = f"{triton_server.url}/v2/repository/models/absent/load"
    assert httpx.post(url, json={}, headers=triton_server.admin_headers).status_code >= 400
    assert answers(f"{triton_server.url}/v2/health/ready")


def test_a_killed_triton_comes_back_without_its_orphans_and_their_shared_memory(tmp_path: Path, runtimes_dir: Path) -> None:
    with Supervisor(tmp_path) as group:
        triton = start_triton(group, tmp_path / "triton", runtimes.triton(runtimes_dir))
        load_echo(triton)
        pid = triton.child.pid or 0
        stubs = identities(pid)
        prefix = httpx.get(f"{triton.url}/v2").json()["name"]  # it names itself there as in its answers
        memory = list(SHARED_MEMORY.glob(f"{prefix}*"))
        assert stubs
        assert memory
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: triton.child.pid not in (pid, None))
        assert eventually(lambda: answers(f"{triton.url}/v2/health/ready"))
        assert [stub for stub in stubs if is_alive(stub)] == []
        assert [path for path in memory if path.exists()] == []
        load_echo(triton)
        assert list(SHARED_MEMORY.glob(f"{prefix}*"))
    assert list(SHARED_MEMORY.glob(f"{prefix}*")) == []


def identities(pid: int) -> set[Identity]:
    found = (identify(process.pid) for process in descendants(pid))
    return {identity for identity in found if identity}


# -- Envoy


def cluster(name: str, url: str) -> dict[str, Any]:
    host, port = url.removeprefix("http://").split(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    }


def lua(code: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
    return {"@type": kind, "source_code": {"inline_string": f"function envoy_on_request(handle) {code} end"}}


def route(arm: str, match: dict[str, Any], rewritten: str) -> dict[str, Any]:
    return {
        "match": match,
        "route": {"cluster": "contract", "prefix_rewrite": rewritten},
        "response_headers_to_add": [{"header": {"key": "x-cs-arm", "value": arm}}],
    }


def routing(generation: str) -> dict[str, Any]:
    """/asked goes to the metadata of echo-b for unit `b` and of echo-a for everybody else."""
    assign = """
        local unit = handle:headers():get("x-unit-id")
        if unit then handle:headers():add("x-cs-bucket", "7") end
        handle:headers():add("x-cs-assigned-arm", unit == "b" and "b" or "a")
    """
    to_b = {"path": "/asked", "headers": [{"name": "x-cs-assigned-arm", "string_match": {"exact": "b"}}]}
    return {
        "version_info": generation,
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": "countersign",
                "validate_clusters": True,
                "response_headers_to_add": [{"header": {"key": "x-cs-generation", "value": generation}}],
                "virtual_hosts": [
                    {
                        "name": "contract",
                        "domains": ["*"],
                        "routes": [route("b", to_b, "/v2/health/live"), route("a", {"path": "/asked"}, "/v2")],
                        "typed_per_filter_config": {ASSIGN_FILTER: lua(assign)},
                    }
                ],
            }
        ],
    }


@pytest.fixture
def routed_envoy(tmp_path: Path, runtimes_dir: Path, triton_server: TritonServer) -> Any:
    with Supervisor(tmp_path, log_bytes=20_000) as group:
        envoy = start_envoy(group, tmp_path / "envoy", runtimes.envoy(runtimes_dir))
        assert httpx.get(f"{envoy.url}/asked").status_code == 404
        replace(envoy.clusters_file, {"version_info": "1", "resources": [cluster("contract", triton_server.url)]})
        assert eventually(lambda: "contract" in httpx.get(f"{envoy.admin_url}/clusters").text)
        replace(envoy.routes_file, routing("1"))
        assert eventually(lambda: httpx.get(f"{envoy.url}/asked").headers.get("x-cs-generation") == "1")
        yield envoy


def log_lines(envoy: EnvoyServer) -> list[dict[str, Any]]:
    if not envoy.access_log.exists():  # turned over, and not opened anew yet
        return []
    return [json.loads(line) for line in envoy.access_log.read_text().splitlines()]


def test_envoy_assigns_rewrites_and_logs_without_believing_the_caller(routed_envoy: EnvoyServer) -> None:
    forged = {
        "x-cs-assigned-arm": "b",
        "x-cs-bucket": "1",
        "x-cs-generation": "99",
        "x-request-id": "outcome-1",
        "x-envoy-original-path": "/forged",
    }
    plain = httpx.get(f"{routed_envoy.url}/asked?passenger=smith", headers=forged)
    assert (plain.headers["x-cs-arm"], plain.headers["x-request-id"]) == ("a", "outcome-1")
    assert plain.json()["name"].startswith("countersign-")  # answered by /v2
    sticky = httpx.get(f"{routed_envoy.url}/asked", headers={"x-unit-id": "b", "x-request-id": "outcome-2"})
    assert (sticky.headers["x-cs-arm"], sticky.text) == ("b", "")  # answered by /v2/health/live

    assert eventually(lambda: any(line["request_id"] == "outcome-2" for line in log_lines(routed_envoy)))
    by_id = {line["request_id"]: line for line in log_lines(routed_envoy)}
    first, second = by_id["outcome-1"], by_id["outcome-2"]
    assert first["duration_ms"] >= 0
    assert first["start"].endswith("Z")
    assert {key: first[key] for key in ("method", "path", "status", "cluster", "bucket", "assigned_arm", "generation")} == {
        "method": "GET",
        "path": "/asked",
        "status": 200,
        "cluster": "contract",
        "bucket": None,
        "assigned_arm": "a",
        "generation": "1",
    }
    assert (second["bucket"], second["assigned_arm"], second["served_arm"]) == ("7", "b", "b")
    assert "smith" not in routed_envoy.access_log.read_text()


def test_envoy_keeps_its_last_good_routes_and_its_log_within_bounds(routed_envoy: EnvoyServer) -> None:
    bad = routing("2")
    bad["resources"][0]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = "nobody"
    replace(routed_envoy.routes_file, bad)
    stats = f"{routed_envoy.admin_url}/stats?filter=rds.countersign.update_rejected"
    assert eventually(lambda: httpx.get(stats).text.strip().endswith(": 1"))
    turned = routed_envoy.access_log.with_name("access.log.1")
    with httpx.Client() as client:
        while not turned.exists():
            assert client.get(f"{routed_envoy.url}/asked").headers["x-cs-generation"] == "1"
        client.get(f"{routed_envoy.url}/asked", headers={"x-request-id": "after-turning"})
    assert eventually(lambda: any(line["request_id"] == "after-turning" for line in log_lines(routed_envoy)))


def test_envoy_refuses_paths_that_hide_a_slash(routed_envoy: EnvoyServer) -> None:
    assert httpx.get(f"{routed_envoy.url}/v2%2Frepository").status_code == 400


# -- all of them

OWNER = """
import sys, time
from pathlib import Path
from backend.embedded import launch, mlflow, runtimes
from backend.embedded.envoy import start_envoy
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import start_triton
from tests.contracts.test_embedded_runtimes import load_echo
folder, environments = Path(sys.argv[1]), Path(sys.argv[2])
group = Supervisor(folder)
group.open()
load_echo(start_triton(group, folder / "triton", runtimes.triton(environments)))
start_envoy(group, folder / "envoy", runtimes.envoy(environments))
launch.wait_ready = lambda child, probe, seconds: None  # MLflow dies while it is still starting
mlflow.start_mlflow(group, folder / "mlflow")
print("ready", flush=True)
time.sleep(600)
"""


def test_an_owner_killed_takes_all_three_runtimes_along(tmp_path: Path, runtimes_dir: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(runtimes_dir)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"ready\n"
    state = read_state(tmp_path)
    assert state is not None
    members = {state.keeper} | identities(state.keeper.pid)
    assert len(members) >= 6  # keeper, supervisor, Triton, its model's stub, Envoy, MLflow
    owner.kill()
    owner.wait()
    assert eventually(lambda: not any(is_alive(member) for member in members))
