"""Where the log's rows lie: folders by endpoint, version and hour, and which files in one of them count. Pure.

    requests/endpoint=<slug>/version=<n or none>/hour=<YYYY-MM-DDTHH>/part-<written>-<random>.parquet
    parts/endpoint=<slug>/hour=<YYYY-MM-DDTHH>/part-<written>-<random>.parquet
    outcomes/endpoint=<slug>/hour=<YYYY-MM-DDTHH>/part-<written>-<random>.parquet
    copies/endpoint=<slug>/hour=<YYYY-MM-DDTHH>/part-<written>-<random>.parquet

A part is what one source knows of a request whose other half another source tells: the router's log who answered, the caller
what was asked. A copy is what a shadow arm answered, or the live arm beside it. Hours are UTC: of becoming known for outcomes,
of the event for all others. Compaction leaves
`merged-<...>.parquet`, and beside it `replaced-<the same>.json` with the names of the files whose rows it took over; those stay
for a while, for whoever is reading them. A name that starts with a dot is being written and counts for nobody.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from backend.core.errors import Refusal

Table = Literal["requests", "parts", "outcomes", "copies"]
TABLES: tuple[Table, ...] = get_args(Table)
HOUR = timedelta(hours=1)
NO_VERSION = "none"

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STEM = r"(?P<written>\d{8}T\d{12}Z)-(?P<random>[0-9a-f]{16})"
_DATA = re.compile(rf"(part|merged)-{_STEM}\.parquet")
_UNFINISHED = re.compile(rf"\.(part|merged|replaced)-{_STEM}\.(parquet|json)")
_LIST = re.compile(rf"replaced-{_STEM}\.json")
_WRITTEN = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class Partition:
    """One folder of files. `version` is None but for requests, and there for those of which nothing says who answered."""

    table: Table
    endpoint: str
    version: int | None
    hour: datetime

    @property
    def parent(self) -> str:
        """The folder of this partition's folder, relative to the log's root."""
        return hours_folder(self.table, self.endpoint, self.version)

    @property
    def folder(self) -> str:
        """The partition's folder relative to the log's root."""
        return f"{self.parent}/hour={self.hour:%Y-%m-%dT%H}"


def endpoint_slug(text: str) -> str:
    """An endpoint's name that is safe as a folder's. Refusal `bad-endpoint` for any other."""
    if not isinstance(text, str) or not _SLUG.fullmatch(text):
        raise Refusal(
            "This is not the name of an endpoint.",
            "Give 1 to 63 small letters, digits and hyphens, such as `flight-delay`.",
            code="bad-endpoint",
        )
    return text


def endpoint_folder(table: Table, endpoint: str) -> str:
    """The folder of one endpoint's rows."""
    return f"{table}/endpoint={endpoint_slug(endpoint)}"


def hours_folder(table: Table, endpoint: str, version: int | None) -> str:
    """The folder whose folders are hours."""
    above = endpoint_folder(table, endpoint)
    return f"{above}/version={_version_text(version)}" if table == "requests" else above


def hour_of(moment: datetime) -> datetime:
    """The beginning of the hour (UTC) that a moment lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_named(name: str) -> datetime | None:
    """The hour that a folder is named after; None for a folder that is none of ours."""
    try:
        hour = datetime.strptime(name, "hour=%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return hour if f"hour={hour:%Y-%m-%dT%H}" == name else None


def version_named(name: str) -> tuple[int | None] | None:
    """The version that a folder is named after, in a tuple because it may be None; None for a folder that is none of ours."""
    if name == f"version={NO_VERSION}":
        return (None,)
    match = re.fullmatch(r"version=([1-9][0-9]{0,9})", name, re.ASCII)
    return (int(match[1]),) if match else None


def endpoint_named(name: str) -> str | None:
    """The endpoint that a folder is named after; None for a folder that is none of ours."""
    slug = name.removeprefix("endpoint=")
    return slug if slug != name and _SLUG.fullmatch(slug) else None


def new_stem(now: datetime) -> str:
    """`<written>-<random>`: sorts by time, and no two writers ever choose the same."""
    return f"{now.astimezone(UTC).strftime(_WRITTEN)}-{secrets.token_hex(8)}"


def data_name(kind: Literal["part", "merged"], stem: str) -> str:
    """The name of a file of rows."""
    return f"{kind}-{stem}.parquet"


def list_name(stem: str) -> str:
    """The name of the list of files that `merged-<stem>` took over."""
    return f"replaced-{stem}.json"


def list_stem(name: str) -> str | None:
    """The stem of a list's name; None for any other name."""
    return name.removeprefix("replaced-").removesuffix(".json") if _LIST.fullmatch(name) else None


def is_data(name: object) -> bool:
    """Whether a name is that of a finished file of rows."""
    return isinstance(name, str) and _DATA.fullmatch(name) is not None


def written_at(name: str) -> datetime | None:
    """When a file of any of these kinds was written, by its name; None for a file that is none of ours."""
    match = _DATA.fullmatch(name) or _UNFINISHED.fullmatch(name) or _LIST.fullmatch(name)
    try:
        return datetime.strptime(match["written"], _WRITTEN).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def is_unfinished(name: str) -> bool:
    """Whether a name is that of a file which was, or still is, being written."""
    return _UNFINISHED.fullmatch(name) is not None


def live(names: Iterable[str], replaced: Mapping[str, frozenset[str]]) -> list[str]:
    """The files of a partition whose rows count, in the order in which they were written.

    A list (`replaced`, by its stem) counts only where its merged file was seen too: a listing that was made while files came
    and went may hold the one without the other, and then the rows are still in the files that were replaced.

    Args:
        names: what lies in the partition's folder.
        replaced: names of files that were taken over, by the stem of the list that says so.
    """
    present = {name for name in names if is_data(name)}
    gone: set[str] = set()
    for stem, taken in replaced.items():
        if data_name("merged", stem) in present:
            gone |= taken - {data_name("merged", stem)}
    return sorted(present - gone, key=_by_time)


def _version_text(version: int | None) -> str:
    if version is None:
        return NO_VERSION
    if type(version) is not int or version < 1:
        raise Refusal("This is not the number of a version.", "Give a whole number from 1 on.", code="bad-version")
    return str(version)


def _by_time(name: str) -> tuple[str, str]:
    stem = name.partition("-")[2]
    return stem, name
