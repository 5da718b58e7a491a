"""The port towards whoever tells figures: one verb. Adding a kind of source = one file + one line in `sources/names.py`.

An adapter speaks of subjects as its source does (an endpoint and arm, a served model and version); `placing` finds out whose
they are. It keeps nothing but what makes the next read quicker, and translates every error once: `ExternalFailure` when the
source failed, `Refusal` when a person must do something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backend.metrics.quantiles import Histogram


@dataclass(frozen=True)
class Subject:
    """What a figure is about, as its source says it; "" and None for what it does not say.

    Args:
        endpoint, arm: names of ours, from a router that we configure.
        model, version: served name and version on a server.
        shadow: whether it is of copies whose answers nobody gets.
    """

    endpoint: str = ""
    arm: str = ""
    model: str = ""
    version: int | None = None
    shadow: bool = False


@dataclass(frozen=True)
class Figure:
    """One figure in our words (`figures.FIGURES`): counters and histograms as they stand since their source began."""

    metric: str
    subject: Subject
    value: float | Histogram
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a source told at one moment.

    Args:
        at: when; None for now.
        asked: names what was asked for. Where it is the same as before, a figure that is new began meanwhile.
        bad: reason -> how many lines could not be read for it.
        cut: why not everything was read; "" where it was.
    """

    figures: tuple[Figure, ...]
    asked: str
    at: datetime | None = None
    bad: Mapping[str, int] = field(default_factory=dict)
    cut: str = ""


class Source(Protocol):
    """Something that tells figures."""

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """What it tells now; of a source that remembers, what it told since the last good look too, the first first.

        An empty sequence says that it answered and knows nothing. Raises ExternalFailure and Refusal.
        """
        ...
