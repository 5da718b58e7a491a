"""A data folder in which people worked for a week, made once for all test processes of a run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.installations import populated


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder filled by `tests.installations`; leave it as it is, and take a copy of it (`installations.copied`)."""
    base = tmp_path_factory.getbasetemp()
    # Processes of one run have folders of their own below one; a process that runs alone has the run's itself.
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (folder / "week.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        populated(folder / "week")
    return folder / "week"
