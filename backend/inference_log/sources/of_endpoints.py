"""Which source an endpoint's figures come from: the tables that the settings name for it, else the log's own files."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from backend.core.outbound import Guard
from backend.inference_log.service import InferenceLog
from backend.inference_log.sources.embedded import EmbeddedSource
from backend.inference_log.sources.port import Source
from backend.inference_log.sources.tables import Tables, read

if TYPE_CHECKING:
    from backend.inference_log.sources.ibis_tables import IbisSource


class Sources:
    """Sources by endpoint; an engine is connected to at its first question.

    Args:
        log: the inference log.
        file: the settings of tables, read when it is first needed; None where there are none.
        guard: judges where engines are.
    """

    def __init__(self, log: InferenceLog, file: Path | None, guard: Guard) -> None:
        self._log, self._file, self._guard = log, file, guard
        self._lock = threading.Lock()
        self._tables: Tables | None = None

    def of(self, endpoint: str) -> Source:
        """The source of an endpoint's figures. Refusal for settings that are wrong."""
        told = self._told()
        mapped = told.endpoints.get(endpoint)
        if mapped is None:
            return EmbeddedSource(self._log, endpoint)
        from backend.inference_log.sources.engines import connect
        from backend.inference_log.sources.ibis_tables import IbisSource  # Ibis takes a second to load

        url = told.engines[mapped.engine].url.get_secret_value()
        return IbisSource(mapped.engine, partial(connect, url, self._guard), mapped)

    def cells_of(self, endpoint: str) -> IbisSource | None:
        """Where an endpoint's hours are counted, if its rows lie in tables of one's own; to be closed. None for the log.
        Refusal for settings that are wrong."""
        found = self.of(endpoint)
        return None if isinstance(found, EmbeddedSource) else cast("IbisSource", found)

    def _told(self) -> Tables:
        with self._lock:
            if self._tables is None:
                self._tables = read(self._file) if self._file is not None else Tables()
            return self._tables
