"""What of a row is kept: sampling by unit, redaction column by column, and units that were erased. Pure.

It is done before anything is written, a spool's file included, so that what is not to be kept never lies on a disk.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Literal, TypeVar, get_args

from backend.core.errors import Refusal
from backend.inference_log.columns import PREFIXES, Kind, column_of, columns_among
from backend.inference_log.copies import Copy
from backend.inference_log.rules import MAX_TEXT, Outcome, Request, is_name

R = TypeVar("R", Request, Copy)

How = Literal["drop", "hash", "truncate"]
HOWS: tuple[How, ...] = get_args(How)
FEATURE = "feature:"
WHOLE_COLUMNS: Mapping[str, tuple[How, ...]] = {"unit": ("drop", "hash"), "request_id": ("hash",), "prediction": ("drop",)}
"""Columns besides features that can be redacted, and how. A hashed `request_id` joins its outcome, which is hashed too."""
MOST_EVERY = 1_000_000
MOST_REDACTIONS = 500
_PSEUDONYM = "hmac:"


@dataclass(frozen=True)
class Redaction:
    """What becomes of one column's values.

    Args:
        column: `unit`, `request_id`, `prediction`, or `feature:NAME`: the feature of that name in small or capital letters, and
            its columns `NAME.0`, `NAME.1`, ... where it came as a tensor of two dimensions. One that is named exactly wins.
        how: `drop` leaves it out; `hash` puts a keyed pseudonym in its place, the same for the same value; `truncate` keeps the
            first `length` characters of text, and drops what is no text.
    """

    column: str
    how: How
    length: int = 0


@dataclass(frozen=True)
class Erased:
    """A unit whose rows go. `until`: rows received after that are of no concern; None where later ones go too."""

    unit: str
    until: datetime | None


@dataclass(frozen=True)
class Handling:
    """An endpoint's rules, ready to be used.

    Args:
        key: of this installation; without it no pseudonym can be guessed from a list of units.
        every: one unit in that many is kept, with all its rows. A request without a unit counts as its own.
        redactions: by column.
        erased: units, by their pseudonyms.
    """

    key: bytes = field(repr=False)
    every: int = 1
    redactions: tuple[Redaction, ...] = ()
    erased: tuple[Erased, ...] = ()

    def request(self, row: Request) -> Request | None:
        """The row as it is kept; None where it is left out. A failure is kept whatever is sampled, and says so then."""
        if self._is_erased(row.unit, row.received_at):
            return None
        if not self._is_sampled(row.unit or row.request_id):
            if not row.failure:
                return None
            row = row._replace(unsampled=True)
        row = self._redacted(row)
        return self._without_features(row) if self._by_name else row

    def copy(self, row: Copy) -> Copy | None:
        """The same for an answer to a copy: kept of the units whose requests are, failures of others not."""
        if self._is_erased(row.unit, row.received_at) or not self._is_sampled(row.unit or row.request_id):
            return None
        return self._redacted(row)

    @cached_property
    def _by_name(self) -> Mapping[str, Redaction]:
        """Redactions of features: by name as it was told, and in small letters."""
        names = {one.column.removeprefix(FEATURE): one for one in self.redactions if one.column not in WHOLE_COLUMNS}
        return {**{name.casefold(): one for name, one in names.items()}, **names}

    def _of_feature(self, name: str) -> Redaction | None:
        told = (each for one in _names_of(name) for each in (one, one.casefold()))
        return next((self._by_name[one] for one in told if one in self._by_name), None)

    def outcome(self, row: Outcome, unit: str | None = None) -> Outcome | None:
        """The same for an outcome. Whose it is only its sender can say: without a unit it is kept, and joins what there is."""
        if unit is not None and (self._is_erased(unit, row.received_at) or not self._is_sampled(unit)):
            return None
        if any(one.column == "request_id" for one in self.redactions):
            return row._replace(request_id=pseudonym(self.key, row.request_id))
        return row

    def erases(self, unit: str | None, received_at: datetime) -> bool:
        """Whether a row is left out because its unit was erased, and not by sampling."""
        return self._is_erased(unit, received_at)

    def _is_sampled(self, unit: str) -> bool:
        return self.every <= 1 or int.from_bytes(_mac(self.key, f"sample {unit}")[:8], "big") % self.every == 0

    def _is_erased(self, unit: str | None, received_at: datetime) -> bool:
        return unit is not None and bool(self.erased) and is_erased(self.key, unit, received_at, self.erased)

    def _redacted(self, row: R) -> R:
        """Without what is redacted of the columns besides features."""
        for one in self.redactions:
            if one.column in WHOLE_COLUMNS:
                row = self._redacted_by(row, one)
        return row

    def _redacted_by(self, row: R, one: Redaction) -> R:
        if one.column == "request_id":
            return row._replace(request_id=pseudonym(self.key, row.request_id))
        if one.column == "prediction":
            return row._replace(prediction=None, prediction_json=None)
        kept = pseudonym(self.key, row.unit) if one.how == "hash" and row.unit is not None else None
        return row._replace(unit=kept)

    def _without_features(self, row: Request) -> Request:
        features = dict[str, float | str | bool]()
        for column, value in row.features.items():
            name, kind = _parsed(column)
            one = self._of_feature(name)
            if one is None:
                features[column] = value
            elif one.how == "hash":
                features[column_of(name, "text")] = pseudonym(self.key, f"{PREFIXES[kind]} {value}")
            elif one.how == "truncate" and isinstance(value, str) and kind == "text":
                features[column] = value[: one.length]
        nulls = tuple(each for each in row.nulls if (one := self._of_feature(each)) is None or one.how != "drop")
        return row._replace(features=features, nulls=nulls)


def _names_of(name: str) -> tuple[str, ...]:
    """A feature's name, and that of the tensor whose column it may be."""
    tensor, _, place = name.rpartition(".")
    return (name, tensor) if tensor and place.isascii() and place.isdigit() else (name,)


@lru_cache(maxsize=65_536)
def _parsed(column: str) -> tuple[str, Kind]:
    (found,) = columns_among([column])
    return found.name, found.kind


def pseudonym(key: bytes, text: str) -> str:
    """`hmac:<32 hex>`: what stands for a text, the same each time, and tells nothing of it to who has not the key."""
    return _PSEUDONYM + _mac(key, f"name {text}").hex()[:32]


def is_erased(key: bytes, unit: str, received_at: datetime | None, erased: Iterable[Erased]) -> bool:
    """Whether a unit, in clear or as its pseudonym already, is one of those that were erased."""
    names = {unit, pseudonym(key, unit)}
    return any(one.unit in names and (one.until is None or received_at is None or received_at <= one.until) for one in erased)


def checked(redactions: Iterable[Mapping[str, object] | Redaction]) -> tuple[Redaction, ...]:
    """Redactions from outside. Refusal `bad-redaction`."""
    found = tuple(one if isinstance(one, Redaction) else _redaction(one) for one in redactions)
    for one in found:
        _check(one)
    if len({one.column for one in found}) != len(found) or len(found) > MOST_REDACTIONS:
        raise _bad(f"A column is redacted in one way, and at most {MOST_REDACTIONS} columns are.")
    return found


def _redaction(told: Mapping[str, object]) -> Redaction:
    column, how, length = told.get("column"), told.get("how"), told.get("length", 0)
    if not isinstance(column, str) or how not in HOWS or type(length) is not int:
        raise _bad("A redaction names a column and how: drop, hash or truncate.")
    return Redaction(column, how, length)


def _check(one: Redaction) -> None:
    name = one.column.removeprefix(FEATURE)
    if one.column not in WHOLE_COLUMNS and (name == one.column or not is_name(name)):
        raise _bad(f"{one.column[:80]!r} is no column that can be redacted.")
    if one.how not in WHOLE_COLUMNS.get(one.column, HOWS):
        raise _bad(f"{one.column} cannot be redacted by {one.how}.")
    if (one.how == "truncate") != (0 < one.length <= MAX_TEXT):
        raise _bad(f"Only truncate takes a length, of 1 to {MAX_TEXT} characters.")


def _bad(says: str) -> Refusal:
    ways = ", ".join(f"`{column}` by {' or '.join(hows)}" for column, hows in WHOLE_COLUMNS.items())
    return Refusal(says, f"Use `{FEATURE}NAME` by {', '.join(HOWS)}; {ways}.", code="bad-redaction")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
