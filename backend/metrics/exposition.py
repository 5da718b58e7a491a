"""The Prometheus text format, read by one regular expression with a cache of label sets.

What stands there comes from other machines: sizes are bounded, and a line that cannot be read costs that line alone, counted
under its reason. Exemplars and timestamps of OpenMetrics are read past; names in quotes, which servers send only to whom asks
for them, are not read. The official parser (`prometheus_client.parser`) is the tests' oracle; unlike that one a name is left
as it stands, so that `nv_inference_count` stays `nv_inference_count`.

Sources: Prometheus, "Exposition formats" (prometheus.io/docs/instrumenting/exposition_formats); OpenMetrics 1.0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MAX_BYTES = 32 << 20
MAX_SAMPLES = 200_000
MAX_LABELS = 64
MAX_LINE = 32 << 10
_KEPT_LABEL_SETS = 100_000
_TOLD = 5
"""Lines that cannot be read are counted; so many of them are told with their number."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_VALUE = r"[-+.0-9a-zA-Z]++"
_END = r"(?:[ \t]++(-?[0-9][-+.0-9eE]*+))?[ \t\r]*+"
_LINE = re.compile(rf"^[ \t]*+(?:({_NAME})(?:[ \t]*+\{{([^\n]*)\}}[ \t]*+|[ \t]++)({_VALUE}){_END}|([^\n]*+))$", re.MULTILINE)
"""Every line is one match: name, labels, value, timestamp; or, last, a line that is none of these. Nothing backtracks but the
one greedy look for the last brace of a line, so that a hostile line costs its length."""
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_WITH_EXEMPLAR = re.compile(
    rf"[ \t]*+({_NAME})[ \t]*+(?:\{{((?:[^\"}}]++|{_QUOTED})*+)\}})?[ \t]*+({_VALUE}){_END}(?:#[ \t]*+\{{.*\}}.*)?"
)
_LABEL = re.compile(rf"\s*+([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+({_QUOTED})\s*+(?:,|$)", re.DOTALL)
_ESCAPED = re.compile(r'\\([\\n"])')
_ESCAPES = {"\\": "\\", "n": "\n", '"': '"'}
_TYPE = re.compile(rf"#[ \t]++TYPE[ \t]++({_NAME})[ \t]++([a-z]++)[ \t\r]*+")
_NO_LABELS: Mapping[str, str] = {}


class Sample(NamedTuple):
    """One figure. `labels` is shared among samples and must not be changed; `timestamp` is as it stands, in whatever unit."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: float | None


@dataclass(frozen=True)
class BadLine:
    """A line that could not be read: its number, counted from 1, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Parsed:
    """What a text says.

    Args:
        types: name -> `counter`, `gauge`, `histogram`, `summary`, as `# TYPE` lines tell.
        bad: reason -> how many lines could not be read for it.
        told: the first of those lines.
        cut: why not everything was read; "" where it was.
    """

    samples: list[Sample]
    types: Mapping[str, str]
    bad: Mapping[str, int]
    told: tuple[BadLine, ...] = ()
    cut: str = ""

    @property
    def bad_lines(self) -> int:
        """How many lines could not be read."""
        return sum(self.bad.values())


class Unreadable(ValueError):
    """Why a line, or a set of labels, cannot be read."""


class Parser:
    """Reads texts of one source; what it learnt about labels serves the next text.

    Args:
        wanted: whether a name matters; lines of others are passed over before their labels are read.
    """

    def __init__(
        self,
        wanted: Callable[[str], bool] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        max_samples: int = MAX_SAMPLES,
    ) -> None:
        self._wanted = wanted
        self._max_bytes, self._max_samples = max_bytes, max_samples
        self._labels: dict[str, Mapping[str, str] | Unreadable] = {}
        self._names: dict[str, bool] = {}

    def parse(self, text: str | bytes) -> Parsed:
        """Every sample in the order of the lines. Raises nothing, whatever the text is."""
        text, cut, broken = self._bounded(text)
        samples: list[Sample] = []
        types: dict[str, str] = {}
        bad, told = Counter[str](), list[BadLine]()
        labels_of, wants, most, add = self._labels_of, self._wants, self._max_samples, samples.append
        for number, (name, labels, value, timestamp, other) in enumerate(_LINE.findall(text), 1):
            if not name:
                if not other.strip():
                    continue
                if other.startswith("#"):
                    if (match := _TYPE.fullmatch(other)) is not None:
                        types[match[1]] = match[2]
                    continue
            elif not wants(name):
                continue
            try:
                if not name:
                    name, labels, value, timestamp = _slowly(other)
                    if not wants(name):
                        continue
                if broken and "\ufffd" in labels:
                    raise Unreadable("is not UTF-8")
                if len(samples) >= most:
                    cut = f"more than {most} samples"
                    break
                try:
                    found = labels_of(labels) if labels else _NO_LABELS
                except Unreadable:
                    name, labels, value, timestamp = _slowly(f"{name}{{{labels}}} {value} {timestamp}")
                    found = labels_of(labels)
                add(Sample(name, found, float(value), float(timestamp) if timestamp else None))
            except ValueError as problem:
                reason = str(problem) if isinstance(problem, Unreadable) else "has no number"
                bad[reason] += 1
                if len(told) < _TOLD:
                    told.append(BadLine(number, reason))
        return Parsed(samples, types, dict(bad), tuple(told), cut)

    def _bounded(self, text: str | bytes) -> tuple[str, str, bool]:
        """The text, why it was cut, and whether some of it was no UTF-8. It is cut at the end of a line."""
        cut = ""
        if len(text) > self._max_bytes:
            cut = f"more than {self._max_bytes} bytes"
            end: bytes | str = b"\n" if isinstance(text, bytes) else "\n"
            text = text[: self._max_bytes]
            text = text[: text.rfind(end) + 1]  # type: ignore[arg-type]  # of the text's own type
        if isinstance(text, str):
            return text, cut, False
        try:
            return text.decode(), cut, False
        except UnicodeDecodeError:
            return text.decode(errors="replace"), cut, True

    def _wants(self, name: str) -> bool:
        if self._wanted is None:
            return True
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= _KEPT_LABEL_SETS:
                self._names.clear()
            found = self._names[name] = self._wanted(name)
        return found

    def _labels_of(self, written: str) -> Mapping[str, str]:
        found = self._labels.get(written)
        if found is None:
            if len(self._labels) >= _KEPT_LABEL_SETS:
                self._labels.clear()
            try:
                found = read_labels(written)
            except Unreadable as problem:
                found = problem
            self._labels[written] = found
        if isinstance(found, Unreadable):
            raise found
        return found


def parse(text: str | bytes) -> Parsed:
    """Reads one text by itself."""
    return Parser().parse(text)


def read_labels(written: str) -> Mapping[str, str]:
    """`a="1",b="2"` -> names and values. Raises Unreadable."""
    if len(written) > MAX_LINE:
        raise Unreadable("is too long")
    found: dict[str, str] = {}
    place = 0
    while place < len(written):
        match = _LABEL.match(written, place)
        if match is None:
            if written[place:].strip():
                raise Unreadable("has labels that cannot be read")
            break
        name, value = match[1], match[2][1:-1]
        if name in found:
            raise Unreadable("has a label twice")
        found[name] = _ESCAPED.sub(_unescaped, value) if "\\" in value else value
        place = match.end()
    if len(found) > MAX_LABELS:
        raise Unreadable("has too many labels")
    return found


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES[match[1]]


def _slowly(line: str) -> tuple[str, str, str, str]:
    """A line that the quick expression read wrongly, or not at all: one with an exemplar. Raises Unreadable."""
    if len(line) > MAX_LINE:
        raise Unreadable("is too long")
    match = _WITH_EXEMPLAR.fullmatch(line)
    if match is None:
        raise Unreadable("is no sample")
    return match[1], match[2] or "", match[3], match[4] or ""
