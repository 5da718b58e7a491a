"""Who answered lately: the traffic that was served, arm by arm, as the log tells it. Configuration is not traffic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backend.inference_log.service import InferenceLog

MOST_HOURS = 24
"""Hours of event time that are looked through, the newest: what is replayed lies in hours of its own past."""
_SERVED = """
SELECT served_arm AS arm, version, count(*) AS requests FROM requests
WHERE received_at >= ? AND failure = '' AND served_arm IS NOT NULL
GROUP BY ALL ORDER BY requests DESC, arm
"""


@dataclass(frozen=True)
class Served:
    """Requests that one arm answered validly."""

    arm: str
    version: int | None
    requests: int


def served(log: InferenceLog, endpoint: str, now: datetime, within: timedelta) -> tuple[Served, ...]:
    """Requests of an endpoint that reached the log within the last while, by the arm that answered; () where there are none.

    Raises ExternalFailure when the log cannot be read.
    """
    whole = {hour for version in log.versions(endpoint) for hour in log.hours(endpoint, version)}
    hours = sorted(whole | {*log.part_hours(endpoint)})[-MOST_HOURS:]
    if not hours:
        return ()
    with log.read(endpoint, None, hours[0], hours[-1] + timedelta(hours=1)) as reading:
        rows = reading.query(_SERVED, [(now - within).astimezone(UTC)]).to_pylist()
    return tuple(Served(str(row["arm"]), row["version"], int(row["requests"])) for row in rows)
