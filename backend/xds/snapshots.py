"""Numbered snapshots on this machine's disk: each is written once, whole and durable, before any Envoy is given it.

A file is a line that says its number and the digest of what follows, and what follows. Numbers only grow. What Envoys may have
been given never comes back older: where the newest file is damaged, or an Envoy has a later one than lies here (the folder was
lost, or came from a backup), nothing is given to anybody until the next one is handed over, which takes a number beyond all.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from backend.core.canonical import canonical, digest_bytes, loads
from backend.core.errors import ExternalFailure, Refusal
from backend.embedded.envoy import ROUTE_CONFIG
from backend.xds import compiled, rules
from backend.xds.rules import Version

SCHEMA = 1
KEPT = 8
"""Snapshots that stay besides those that Envoys still have."""
MOST_BYTES = 64 << 20
MOST_CLUSTERS = 50_000
MOST_DRAIN = 7_200.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Snapshot:
    """What Envoys are given under one number.

    Args:
        floors: endpoint -> the newest generation of it that this or an earlier snapshot held.
        drain_seconds: how long a request may still be on its way to a cluster that no route names any more.
    """

    number: int
    digest: str
    routes: bytes
    clusters: Mapping[str, bytes]
    floors: Mapping[str, int]
    drain_seconds: float

    def version(self, beside: int = 0) -> Version:
        """Under which name Envoys have it."""
        return Version(self.number, self.digest.removeprefix("sha256:")[:12], beside)

    @cached_property
    def routes_answer(self) -> bytes:
        """The answer with the routes, made once for all Envoys."""
        return compiled.response(str(self.version()), compiled.ROUTES, [self.routes])

    @cached_property
    def clusters_answer(self) -> bytes:
        """The answer with exactly its clusters."""
        return compiled.response(str(self.version()), compiled.CLUSTERS, self.clusters.values())

    def prepare(self) -> None:
        """Makes both answers now, so that no stream waits for them."""
        _ = self.routes_answer, self.clusters_answer


class Snapshots:
    """The folder. One process at a time has it open; see `opened`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, Snapshot | None] = {}
        self._claimed = 0
        self.floors: Mapping[str, int] = {}
        self.newest: Snapshot | None = None
        self.trouble = ""
        self._begin()

    @property
    def to_give(self) -> Snapshot | None:
        """What Envoys are to have; None while nothing may be given."""
        return self.newest if self.newest is not None and not self.trouble else None

    def get(self, number: int) -> Snapshot | None:
        """One that lies here whole, else None."""
        if number not in self._held:
            self._held[number] = self._whole(number) if number > 0 else None
        return self._held[number]

    def body(self, number: int) -> bytes | None:
        """What was handed over under a number, as JSON; None where it does not lie here whole."""
        try:
            return _read(self._path(number), number)
        except (OSError, ValueError):
            return None

    def claim(self, version: Version) -> bool:
        """Hears what an Envoy says that it has. Whether this is one that lies here, or may have.

        A number beyond ours means that ours is not the newest that was given.
        """
        last = self.numbers()[-1] if self.numbers() else 0
        if version.number > last + rules.LEAP:
            return False
        known = self.get(version.number)
        same = known is not None and known.version().digest == version.digest
        if version.number > last or (version.number == last and not same and self.newest is not None):
            self._claimed = max(self._claimed, version.number)
            self._stop(f"an Envoy has snapshot {version.number}, which does not lie here")
        return same

    def put(self, content: Any, base: int) -> Snapshot:
        """Writes the next one. Refusals: bad-snapshot, older-generation, snapshot-moved. ExternalFailure: the disk fails.

        Args:
            content: `routes`, `clusters`, `generations` by endpoint, `drain_seconds`.
            base: the number that its maker saw as the newest; 0 for none.
        """
        numbers = self.numbers()
        last = numbers[-1] if numbers else 0
        if base != last:
            raise Refusal(f"Snapshot {last} was handed over meanwhile.", "Look again.", code="snapshot-moved", number=last)
        body = _body(content, self.floors)
        number = max(last, self._claimed) + 1
        made = _snapshot(number, body)  # before it is written: what cannot be given is not kept
        made.prepare()
        self._write(number, body)
        self._held[number], self.newest, self.floors = made, made, made.floors
        if number > self._claimed:  # an Envoy may have told of a later one meanwhile
            self.trouble = ""
        return made

    def numbers(self) -> list[int]:
        """Every number that was taken, rising."""
        found = [one.name.removesuffix(".json") for one in self._folder.iterdir() if one.name.endswith(".json")]
        return sorted(int(one) for one in found if len(one) == 15 and one.isascii() and one.isdigit())

    def prune(self, used: Iterable[int]) -> None:
        """Deletes what no Envoy has, but for the last ones."""
        numbers = self.numbers()
        for number in set(numbers[:-KEPT]) - set(used):
            with suppress(OSError):
                self._path(number).unlink()
        self._held = {number: one for number, one in self._held.items() if number in set(used) | set(numbers[-KEPT:])}

    def _begin(self) -> None:
        numbers = self.numbers()
        whole = next((one for number in reversed(numbers) if (one := self.get(number)) is not None), None)
        if whole is None or whole.number != numbers[-1]:
            self._stop(f"snapshot {numbers[-1]} is damaged" if numbers else "")
        else:
            self.newest = whole
        self.floors = whole.floors if whole is not None else {}

    def _stop(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.error("xds.nothing_is_given", problem=trouble, remedy="The worker hands the routes over again by itself.")
        self.trouble = trouble

    def _whole(self, number: int) -> Snapshot | None:
        try:
            return _snapshot(number, _read(self._path(number), number))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Refusal) as error:
            log.error("xds.snapshot_damaged", number=number, problem=type(error).__name__)
            return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:015d}.json"

    def _write(self, number: int, body: bytes) -> None:
        """Whole and on the disk before anybody can see it, and never over another."""
        head = canonical({"schema": SCHEMA, "number": number, "digest": digest_bytes(body)})
        fresh = self._folder / f".{secrets.token_hex(8)}"
        try:
            with fresh.open("xb") as stream:
                stream.write(head + b"\n" + body)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(fresh, self._path(number))
            _sync(self._folder)
        except OSError as error:
            raise ExternalFailure("The disk of the ADS server", f"fails: {error.strerror}", retryable=True) from error
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def opened(folder: Path) -> Iterator[Snapshots]:
    """The folder, made where it is not there. Refusal where another process has it open."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refusal(
                "Another `countersign xds` runs on this data folder.", "Stop that one first.", code="already-running"
            ) from error
        for left in folder.glob(".[0-9a-f]*"):  # by one that was killed while it wrote
            left.unlink(missing_ok=True)
        yield Snapshots(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, number: int) -> bytes:
    """What follows the first line, if that line says its digest. ValueError where it does not."""
    with path.open("rb") as stream:
        head, body = json.loads(stream.readline(4096)), stream.read(2 * MOST_BYTES)
    if head != {"schema": SCHEMA, "number": number, "digest": digest_bytes(body)}:
        raise ValueError("the file is not whole")
    return body


def _body(content: Any, floors: Mapping[str, int]) -> bytes:
    """What is kept of a push, checked but for its routes and clusters."""
    generations = _generations(content)
    rules.refuse_older(floors, generations)
    drain = content.get("drain_seconds", 0)
    clusters = content.get("clusters")
    if not isinstance(clusters, list) or len(clusters) > MOST_CLUSTERS:
        raise compiled.bad("`clusters` is no list, or too long")
    if isinstance(drain, bool) or not isinstance(drain, int | float) or not 0 <= drain <= MOST_DRAIN:
        raise compiled.bad("`drain_seconds` is no number of seconds")
    kept = {
        "routes": content.get("routes"),
        "clusters": clusters,
        "floors": rules.risen(floors, generations),
        "drain_seconds": float(drain),
    }
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _generations(content: Any) -> dict[str, int]:
    found = content.get("generations") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and 0 < len(name) <= 128 and type(number) is int and 0 <= number < 2**53
        for name, number in found.items()
    ):
        raise compiled.bad("`generations` does not say a number for each endpoint")
    return dict(found)


def _snapshot(number: int, body: bytes) -> Snapshot:
    content = loads(body)
    names = [str(one.get("name", "")) if isinstance(one, Mapping) else "" for one in content["clusters"]]
    if len(set(names)) != len(names):
        raise compiled.bad("two clusters have one name")
    return Snapshot(
        number=number,
        digest=digest_bytes(body),
        routes=compiled.resource(content["routes"], compiled.ROUTES, ROUTE_CONFIG),
        clusters={
            name: compiled.resource(one, compiled.CLUSTERS, name) for name, one in zip(names, content["clusters"], strict=True)
        },
        floors={str(name): int(floor) for name, floor in content["floors"].items()},
        drain_seconds=float(content["drain_seconds"]),
    )
