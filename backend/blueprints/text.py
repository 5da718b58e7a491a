"""Files of declarations read into plain values that remember where they stand.

A part of YAML that means the same to everybody (JSON's values in YAML's form): no anchors, merge keys, tags or directives, each
key once, and no word or numeral that versions of YAML read differently. What is read is bounded before it is built.
Sources: YAML 1.2.2, chapter 10.3 (core schema); PyYAML's events, which libyaml makes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]

from backend.blueprints.faults import Fault, Faulty

MOST_BYTES = 4 << 20
MOST_DOCUMENTS = 10_000
MOST_DEPTH = 16
MOST_NODES = 500_000
MOST_TEXT = 64 << 10

Path = tuple[str | int, ...]

_WORDS = re.compile(r"(?i:yes|no|on|off|y|n|true|false|null)")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,17})?(?:[eE][-+]?[0-9]{1,3})?")
_UNSURE = re.compile(
    r"[-+]?(?:[0-9][0-9_]*|0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF|nan|NaN|NAN)|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+)"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"
)
"""What some reader of YAML takes for a number or a time, and others for a text."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""They make a line read otherwise than it is (CVE-2021-42574)."""


@dataclass(frozen=True)
class Source:
    """One file: its name, as people will be told it, and its text."""

    name: str
    text: str


@dataclass(frozen=True)
class Document:
    """One document's value, and where each part of it stands."""

    file: str
    value: Any
    marks: dict[Path, tuple[int, int]]

    def where(self, path: Path = ()) -> str:
        """`file:line:column` of a part, or of what it would be in."""
        found = next((self.marks[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.marks), (0, 0))
        return f"{self.file}:{found[0] + 1}:{found[1] + 1}"


def documents(sources: Iterable[Source]) -> tuple[Document, ...]:
    """Every document of every file, empty ones left out. Raises Faulty at the first thing that cannot be read."""
    given = tuple(sources)
    if sum(len(one.text.encode("utf-8", "surrogatepass")) for one in given) > MOST_BYTES:
        fault = Fault(given[0].name, f"More than {MOST_BYTES >> 20} MiB.", "Apply the files one after the other.", "too-large")
        raise Faulty([fault], "too-large")
    found = tuple(one for source in given for one in _Reader(source))
    if len(found) > MOST_DOCUMENTS:
        fault = Fault(found[-1].where(), f"More than {MOST_DOCUMENTS:,} objects.", "Apply the files one after the other.")
        raise Faulty([fault], "too-large")
    return found


class _Reader:
    """Builds one file's documents from libyaml's events, within bounds."""

    def __init__(self, source: Source) -> None:
        self._file, self._text = source.name, source.text.removeprefix("\ufeff")
        self._left = MOST_NODES
        self._marks: dict[Path, tuple[int, int]] = {}
        self._refuse_unprintable()
        self._events: Iterator[Any] = iter(yaml.parse(self._text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))

    def __iter__(self) -> Iterator[Document]:
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._refuse_directives(event)
                    self._marks = {}
                    value = self._value(next(self._events), (), 0)
                    if value is not None:
                        yield Document(self._file, value, self._marks)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.YAMLError as error:
            raise Faulty([Fault(f"{self._file}:1:1", "This is not YAML.", "Write it in UTF-8, as YAML or JSON.")]) from error

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        mark = (event.start_mark.line, event.start_mark.column)
        self._marks.setdefault(path, mark)
        self._bound(event, mark, depth)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, mark)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(one, (*path, index), depth + 1) for index, one in enumerate(self._until(yaml.SequenceEndEvent))]
        return self._mapping(path, depth)

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            mark = (event.start_mark.line, event.start_mark.column)
            self._bound(event, mark, depth)
            key = self._scalar(event, mark) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                self._refuse(mark, "A key is a word.", "Put it in quotes if it is meant as a text.")
            if key == "<<":
                self._refuse(mark, "Merge keys are not read.", "Write the fields out where they are meant.")
            if key in found:
                self._refuse(mark, f"The key {key[:80]!r} stands here twice.", "Leave one of the two.")
            self._marks[(*path, key)] = mark
            found[key] = self._value(next(self._events), (*path, key), depth + 1)
        return found

    def _until(self, end: type) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _scalar(self, event: Any, mark: tuple[int, int]) -> Any:
        text = str(event.value)
        if len(text) > MOST_TEXT:
            self._refuse(mark, f"A text of more than {MOST_TEXT >> 10} KiB.", "Shorten it.")
        if _UNPRINTABLE.search(text.replace("\t", " ").replace("\n", " ")) or _BIDI.search(text):
            self._refuse(mark, "A text holds a control character.", "Leave it out.")
        return self._plain(text, mark) if event.style in (None, "") else text

    def _plain(self, text: str, mark: tuple[int, int]) -> Any:
        """JSON's values, and texts; what YAML 1.1 and 1.2 read differently is refused."""
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _WORDS.fullmatch(text):
            says = "true or false" if text.lower() not in ("null",) else "null"
            self._refuse(mark, f"{text} means different things in different YAML.", f'Write {says}, or "{text}" for the text.')
        if _WHOLE.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
        if _NUMBER.fullmatch(text) or _UNSURE.fullmatch(text):
            self._refuse(
                mark,
                f"{text[:40]} means different things in different YAML.",
                f'Write "{text[:40]}" in quotes, or a plain number.',
            )
        return text

    def _bound(self, event: Any, mark: tuple[int, int], depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            self._refuse(mark, "This is nested too deeply, or too long.", "Write a flatter, shorter file.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(mark, "Anchors and aliases (& and *) are not read.", "Write the value out, or put it in quotes.")
        if getattr(event, "tag", None) is not None:
            self._refuse(mark, "Tags (!) are not read.", "Write the value without it, or put it in quotes.")

    def _refuse_directives(self, event: Any) -> None:
        if event.version is not None or event.tags:
            self._refuse((event.start_mark.line, 0), "Directives (%) are not read.", "Leave the line out.")

    def _refuse_unprintable(self) -> None:
        found = _UNPRINTABLE.search(self._text) or _BIDI.search(self._text)
        if found is not None:
            before = self._text[: found.start()]
            mark = (before.count("\n"), found.start() - before.rfind("\n") - 1)
            self._refuse(mark, f"A control character (U+{ord(found[0]):04X}) stands here.", "Leave it out.")

    def _syntax(self, error: Any) -> NoReturn:
        """libyaml's words name tokens that nobody typed; the usual mistakes are said in other words."""
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        lines = self._text.split("\n")
        typed = lines[line] if line < len(lines) else ""
        if "\t" in typed[: len(typed) - len(typed.lstrip())]:
            self._refuse((line, typed.index("\t")), "A tab stands where the line is indented.", "Indent with spaces.")
        self._refuse((line, column), f"This is not YAML: {error.problem or 'it ends too early'}.", "Correct this line.")

    def _refuse(self, mark: tuple[int, int], message: str, remedy: str) -> NoReturn:
        raise Faulty([Fault(f"{self._file}:{mark[0] + 1}:{mark[1] + 1}", message, remedy)])
