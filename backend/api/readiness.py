"""Whether this program can serve its database: what `/ready` answers and what the pages ask before the first look."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from backend.bootstrap import Backend, missing_database
from backend.core.errors import CountersignError, ExternalFailure
from backend.migrate import require_current


def lacks(backend: Backend) -> CountersignError | None:
    """What stands between this program and its work, or None. Connects to the database, and never creates one."""
    if (missing := missing_database(backend.settings)) is not None:
        return missing
    try:
        require_current(backend.database)
    except CountersignError as error:
        return error
    except SQLAlchemyError:
        return ExternalFailure("The database", "does not answer", retryable=True)
    return None
