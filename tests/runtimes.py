"""The real MLflow, Triton and Envoy, each started once per test session (per worker under xdist) by our own supervisor.

A test that asks for one of these fixtures where the runtime is not installed fails and says what to do; it is never
skipped. The servers are shared: use model and cluster names of your own, and leave nothing loaded behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.embedded import runtimes
from backend.embedded.envoy import EnvoyServer, start_envoy
from backend.embedded.envoy_ads import start_fleet_envoy
from backend.embedded.mlflow import MlflowServer, start_mlflow
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer, start_triton
from tests.routed_ads import AdsServer, empty_content, serving, settings_of


@pytest.fixture(scope="session")
def runtimes_dir() -> Path:
    """The folder of the runtimes' environments."""
    configured = os.environ.get("COUNTERSIGN_RUNTIMES_DIR")
    return runtimes.folder(Path(configured) if configured else None)


@pytest.fixture(scope="session")
def runtime_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """The process group of the shared servers; its folder holds their logs and data."""
    with Supervisor(tmp_path_factory.mktemp("runtimes")) as group:
        yield group


@pytest.fixture(scope="session")
def mlflow_server(runtime_group: Supervisor) -> MlflowServer:
    """A real MLflow: `.url`, `.folder`, `.artifacts`."""
    return start_mlflow(runtime_group, runtime_group.folder / "mlflow")


@pytest.fixture(scope="session")
def triton_server(runtime_group: Supervisor, runtimes_dir: Path) -> TritonServer:
    """A real Triton without models: `.url`, `.metrics_url`, `.models`, `.admin_headers`."""
    return start_triton(runtime_group, runtime_group.folder / "triton", runtimes.triton(runtimes_dir))


@pytest.fixture(scope="session")
def envoy_server(runtime_group: Supervisor, runtimes_dir: Path) -> EnvoyServer:
    """A real Envoy without routes: `.url`, `.admin_url`, `.routes_file`, `.clusters_file`, `.access_log`."""
    return start_envoy(runtime_group, runtime_group.folder / "envoy", runtimes.envoy(runtimes_dir))


@pytest.fixture(scope="session")
def ads_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdsServer]:
    """The ADS server in this process, with one snapshot without routes: `.door_url`, `.ads`."""
    with serving(settings_of(tmp_path_factory.mktemp("xds"))) as running:
        running.put(empty_content())
        yield running


@pytest.fixture(scope="session")
def fleet_envoy(runtime_group: Supervisor, runtimes_dir: Path, ads_server: AdsServer) -> EnvoyServer:
    """A real Envoy that has its routes from it."""
    binary = runtimes.envoy(runtimes_dir)
    return start_fleet_envoy(runtime_group, runtime_group.folder / "edge-1", binary, ads_server.ads, node="edge-1")
