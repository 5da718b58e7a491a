from collections.abc import Iterator

import pytest

from backend.core.database import Database
from tests.databases import Clock
from tests.metrics_server import metrics_server
from tests.services.metrics.world import World


@pytest.fixture
def world(database: Database, clock: Clock) -> Iterator[World]:
    with metrics_server() as server:
        yield World(database, clock, server)
