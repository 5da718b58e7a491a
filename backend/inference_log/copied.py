"""The views of a reading that show what shadow arms answered: `copies`, and `copied` beside the live answer and the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

KEY = "request_id, shadow, arm = shadow"
"""Of rows that agree in this the one received last counts: one answer of the shadow, and one live one, a request."""
_IN_WINDOW = "event_time >= getvariable('start_time') AND event_time < getvariable('end_time')"
_COPIES = f"CREATE VIEW copies AS SELECT * FROM copies_once WHERE arm = shadow AND {_IN_WINDOW}"  # noqa: S608 - words of ours
_SIDE = ("version", "prediction", "prediction_json", "latency_seconds", "status", "failure")
_UNTOLD = "sides.live_prediction IS NULL AND sides.live_prediction_json IS NULL"
# Times of a request and its copy differ by a moment, so that of the two only the live one decides whether both are asked for.
# What was heard at the router comes before what a caller told of the live answer: it has the form that the copy has.
_COPIED = f"""
CREATE VIEW copied AS
WITH told AS (SELECT * FROM copies_once WHERE arm = shadow),
live AS (SELECT * FROM copies_once WHERE arm <> shadow),
sides AS (
    SELECT request_id, shadow, coalesce(live.event_time, told.event_time) AS event_time, live.arm AS live_arm,
        coalesce(live.unit, told.unit) AS unit, coalesce(live.generation, told.generation) AS generation,
        live.received_at IS NOT NULL AS live_heard, told.received_at IS NOT NULL AS copy_heard,
        coalesce(live.failure = '', false) AS live_read,
        {", ".join(f"{side}.{one} AS {name}_{one}" for side, name in (("live", "live"), ("told", "copy")) for one in _SIDE)}
    FROM live FULL JOIN told USING (request_id, shadow)
)
SELECT sides.* REPLACE (
        coalesce(sides.unit, requests.unit) AS unit, coalesce(sides.generation, requests.generation) AS generation,
        CASE WHEN {_UNTOLD} THEN requests.prediction ELSE sides.live_prediction END AS live_prediction,
        CASE WHEN {_UNTOLD} THEN requests.prediction_json ELSE sides.live_prediction_json END AS live_prediction_json,
        CASE WHEN live_heard THEN sides.live_failure ELSE requests.failure END AS live_failure
    ), outcomes.* EXCLUDE (request_id, received_at)
FROM sides LEFT JOIN requests USING (request_id) LEFT JOIN outcomes USING (request_id)
WHERE sides.{_IN_WINDOW.replace(" AND ", " AND sides.")}
"""  # noqa: S608 - words of ours


def make_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Beside `requests`, `outcomes` and `copies_once`, which are there."""
    for view in (_COPIES, _COPIED):
        connection.execute(view)
