"""The text format, read by our parser and by the official one: the same samples from the same text, and no text raises."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from backend.metrics.exposition import MAX_LABELS, Parser, Unreadable, parse, read_labels

SAMPLES = Path(__file__).parent / "samples"
Told = tuple[str, tuple[tuple[str, str], ...], float]


def with_labels(many: int) -> str:
    return "a{" + ",".join(f'x{number}=""' for number in range(many)) + "} 5"


def told(samples: Iterable[object]) -> list[Told]:
    """Name, labels, value, in an order of their own; NaN as one value."""
    found = [(one.name, tuple(sorted(one.labels.items())), one.value) for one in samples]  # type: ignore[attr-defined]
    return sorted((name, labels, -1e300 if math.isnan(value) else value) for name, labels, value in found)


def official(text: str) -> list[Told]:
    """The official parser's samples. It would call a counter by another name (`..._total`), were it told that it is one."""
    untold = re.sub(r"^(# TYPE \S+) counter$", r"\1 untyped", text, flags=re.MULTILINE)
    return told(sample for family in text_string_to_metric_families(untold) for sample in family.samples)


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.txt")))
def test_texts_of_servers_are_read_as_the_official_parser_reads_them(name: str) -> None:
    text = (SAMPLES / name).read_text()
    parsed = parse(text)
    assert told(parsed.samples) == official(text)
    assert len(parsed.samples) >= 5
    assert (parsed.bad, parsed.cut) == ({}, "")
    assert told(parse(text.encode()).samples) == told(parsed.samples)


FIRST = "abcXYZ_"
NAMES = st.tuples(st.sampled_from(FIRST + ":"), st.text(FIRST + ":019", max_size=8)).map("".join)
LABEL_NAMES = st.tuples(st.sampled_from(FIRST), st.text(FIRST + "019", max_size=6)).map("".join)
OFFICIAL = LABEL_NAMES.filter(lambda name: not name.startswith("__"))
"""The official parser refuses names that are reserved for what is no exposition."""
VALUES = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
LABELS = st.dictionaries(LABEL_NAMES, VALUES, max_size=4)


def written(name: str, labels: Mapping[str, str], value: float, stamp: int | None) -> str:
    escaped = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}
    pairs = [f'{key}="{"".join(escaped.get(each, each) for each in one)}"' for key, one in labels.items()]
    number = "NaN" if math.isnan(value) else f"{value}".replace("inf", "Inf")
    return f"{name}{'{' + ','.join(pairs) + '}' if pairs else ''} {number}{'' if stamp is None else f' {stamp}'}\n"


@settings(max_examples=40)
@given(st.lists(st.tuples(NAMES, LABELS, NUMBERS, st.none() | st.integers(0, 2**45)), max_size=8))
def test_whatever_can_be_written_is_read_back(lines: list[tuple[str, dict[str, str], float, int | None]]) -> None:
    text = "".join(written(*line) for line in lines)
    parsed = parse(text)
    assert parsed.bad == {}
    assert [(one.name, dict(one.labels), one.timestamp) for one in parsed.samples] == [
        (name, labels, stamp) for name, labels, _, stamp in lines
    ]
    values = [value for _, _, value, _ in lines]
    assert all(a.value == b or (math.isnan(a.value) and math.isnan(b)) for a, b in zip(parsed.samples, values, strict=True))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(NAMES, st.dictionaries(OFFICIAL, st.text('ab \\"{},=#\né', max_size=8), max_size=3), NUMBERS), max_size=6
    )
)
def test_what_is_written_is_read_as_the_official_parser_reads_it(lines: list[tuple[str, dict[str, str], float]]) -> None:
    text = "".join(written(name, labels, value, None) for name, labels, value in lines)
    assert told(parse(text).samples) == official(text)


@given(st.text(max_size=300) | st.text('a_{}"=,\\ 1.e+-#\n\r\t', max_size=80))
def test_no_text_raises_and_each_line_is_read_counted_or_empty(text: str) -> None:
    parsed = parse(text)
    lines = [one for one in text.split("\n") if one.strip() and not one.lstrip(" \t").startswith("#")]
    assert len(parsed.samples) + parsed.bad_lines == len(lines)


@given(st.binary(max_size=200))
def test_no_bytes_raise(content: bytes) -> None:
    parse(content)


def test_openmetrics_of_the_official_client_is_read_with_its_exemplars() -> None:
    registry = CollectorRegistry()
    Counter("asked", "x", ["who"], registry=registry).labels('a"b').inc(3, {"trace": "x} 1"})
    Gauge("level", "x", registry=registry).set(-0.5)
    Summary("took", "x", registry=registry).observe(2)
    histogram = Histogram("size", "x", registry=registry, buckets=(1, 5))
    histogram.observe(0.5, {"trace_id": "abc def"})
    histogram.observe(7)
    plain, open_metrics = parse(generate_latest(registry)), parse(as_openmetrics(registry))
    assert (plain.bad, open_metrics.bad) == ({}, {})
    assert told(plain.samples) == official(generate_latest(registry).decode())
    assert told(plain.samples) == told(open_metrics.samples)
    assert plain.types["size"] == open_metrics.types["size"] == "histogram"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a", "is no sample"),
        ("a{} ", "is no sample"),
        ("a b c d", "is no sample"),
        ("1a 5", "is no sample"),
        ("a five", "has no number"),
        ("a 1_000", "is no sample"),
        ('a{x="1",x="2"} 5', "has a label twice"),
        ("a{x=1} 5", "has labels that cannot be read"),
        ('a{x="1} 5', "is no sample"),
        ('a{x="1"', "is no sample"),
        ('a{="1"} 5', "has labels that cannot be read"),
        ('a{x="1" y="2"} 5', "has labels that cannot be read"),
        ('{"a.b",x="1"} 5', "is no sample"),
        (with_labels(3), None),
        (with_labels(MAX_LABELS + 1), "has too many labels"),
        (f'a{{x="{"y" * 40_000}"}} 5', "is too long"),
    ],
)
def test_a_line_that_cannot_be_read_costs_that_line_alone_and_is_counted(line: str, reason: str | None) -> None:
    parsed = parse(f"before 1\n{line}\nafter 2\n")
    assert [one.name for one in parsed.samples if one.name != "a"] == ["before", "after"]
    assert dict(parsed.bad) == ({reason: 1} if reason else {})
    assert [one.number for one in parsed.told] == ([2] if reason else [])


def test_bytes_that_are_no_utf8_spoil_their_own_line() -> None:
    parsed = parse(b'a{x="\xff\xfe"} 1\nb{x="caf\xc3\xa9"} 2\n')
    assert [(one.name, dict(one.labels)) for one in parsed.samples] == [("b", {"x": "café"})]
    assert parsed.bad == {"is not UTF-8": 1}


def test_too_much_is_cut_and_says_so() -> None:
    text = "".join(f'a{{n="{n}"}} {n}\n' for n in range(100))
    assert len(Parser(max_samples=10).parse(text).samples) == 10
    assert Parser(max_samples=10).parse(text).cut == "more than 10 samples"
    cut = Parser(max_bytes=len('a{n="0"} 0\n') * 3 + 4).parse(text.encode())
    assert (len(cut.samples), cut.bad) == (3, {})
    assert cut.cut.startswith("more than")


def test_names_that_nobody_wants_are_passed_over_before_their_labels_are_read() -> None:
    parsed = Parser({"b"}.__contains__).parse('a{this is rubbish} 1\nb{x="1"} 2\n')
    assert [one.name for one in parsed.samples] == ["b"]
    assert parsed.bad == {}


@pytest.mark.parametrize(
    "line", ["a{" + "}" * 20_000, "a{" + '"' * 20_001, "a{" + "} } " * 8_000, "a " * 15_000, "a{" + 'x="1",' * 4_000]
)
def test_a_hostile_line_takes_no_longer_than_its_length(line: str) -> None:
    began = time.process_time()
    parse("\n".join([line] * 20))
    assert time.process_time() - began < 5, "what is quadratic takes minutes"


def test_labels_by_themselves() -> None:
    assert read_labels(' a = "1" , b="\\\\ \\" \\n \\x",') == {"a": "1", "b": '\\ " \n \\x'}
    with pytest.raises(Unreadable):
        read_labels('a="1"b')
