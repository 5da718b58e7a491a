"""The world of changes on both databases."""

from __future__ import annotations

import pytest

from backend.core.database import Database
from tests.services.changes.world import World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
