"""The prepared flights, and the address of the real MLflow server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from backend.demo.flights import Flights
from backend.embedded.mlflow import MlflowServer


@pytest.fixture(scope="session")
def flights_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the prepared flights."""
    folder = tmp_path_factory.mktemp("demo-cache")
    Flights.open(folder)
    return folder


@pytest.fixture(scope="session")
def flights(flights_cache: Path) -> Flights:
    return Flights.open(flights_cache)


@pytest.fixture(scope="session")
def mlflow_url(mlflow_server: MlflowServer) -> str:
    """Address of the tests' real MLflow."""
    return mlflow_server.url


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
