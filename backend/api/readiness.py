"""Whether this program can serve its database: what `/ready` answers and what the pages ask before the first look."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from backend.bootstrap import Backend
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.migrate import require_current
from backend.settings import Settings


def lacks(backend: Backend) -> CountersignError | None:
    """What stands between this program and its work, or None. Connects to the database, and never creates one."""
    if (missing := _missing(backend.settings)) is not None:
        return missing
    try:
        require_current(backend.database)
    except CountersignError as error:
        return error
    except SQLAlchemyError:
        return ExternalFailure("The database", "does not answer", retryable=True)
    return None


def _missing(settings: Settings) -> Refusal | None:
    if settings.database_url is not None or (settings.data_dir / "countersign.db").exists():
        return None
    return Refusal(
        f"There is no Countersign database in {settings.data_dir}.",
        "Name its folder in COUNTERSIGN_DATA_DIR, or make a new one with `countersign migrate`.",
        code="no-database",
    )
