"""Fixtures for all tests live in modules named after what they give."""

import pytest
from hypothesis import settings

from tests import plain_logs, statements

pytest_plugins = ["tests.databases", "tests.runtimes", "tests.weeks"]

settings.register_profile("here", deadline=None)  # a busy machine is no failure: no test is timed
settings.load_profile("here")
plain_logs.configure()
statements.share()

LONGEST = ("journeys/test_by_clicks", "journeys/", "_browser.py", "faults/", "contracts/", "test_reconciler", "pages/")
"""Files of minutes, the longest first: no process shall begin such a file when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; within a file and among the others the order stays."""
    items.sort(key=lambda item: next((rank for rank, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))
