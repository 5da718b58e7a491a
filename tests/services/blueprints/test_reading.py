"""Files from anywhere: what reads in two ways, what hides something, and what would cost much is refused with its place."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.blueprints import declared
from backend.blueprints.faults import Faulty
from backend.blueprints.registry import KINDS
from backend.blueprints.text import MOST_BYTES, Source, documents
from backend.blueprints.writing import written

SPECS = {name: kind.spec for name, kind in KINDS.items()}
HEAD = "apiVersion: countersign/v1\nkind: Team\nmetadata: {name: flights}\nspec:\n"
LAUGHS = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"


def fault(text: str) -> str:
    with pytest.raises(Faulty) as refused:
        declared.read([Source("f.yaml", text)], SPECS)
    return str(refused.value.faults[0])


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (LAUGHS, "1:4", "Anchors"),
        ("a: {<<: {b: 1}}", "1:5", "Merge keys"),
        ("a: !!python/object/apply:os.system [id]", "1:4", "Tags"),
        ("a: !secret x", "1:4", "Tags"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "1:1", "Directives"),
        ("a: 1\nb: 2\na: 3", "3:1", "twice"),
        ("a: no", "1:4", 'Write true or false, or "no"'),
        ("a: On", "1:4", "true or false"),
        ("a: True", "1:4", "true or false"),
        ("no: 1", "1:1", "true or false"),
        ("a: 010", "1:4", '"010" in quotes'),
        ("a: 0x1F", "1:4", "in quotes"),
        ("a: 1_000", "1:4", "in quotes"),
        ("a: 22:30", "1:4", "in quotes"),
        ("a: 2026-01-01", "1:4", "in quotes"),
        ("a: .inf", "1:4", "in quotes"),
        ("a: 1e999", "1:4", "in quotes"),
        ("7: a", "1:1", "A key is a word"),
        ("? [a]\n: b", "1:3", "A key is a word"),
        ("a:\n\t- b", "2:1", "A tab"),
        ("a: b: c", "1:5", "not YAML"),
        ("a: [1", "2:1", "not YAML"),
        ("a: \x00", "1:4", "U+0000"),
        ("a: \u202eb", "1:4", "U+202E"),
        ('a: "\\u0007"', "1:4", "control character"),
        ("[" * 100_000, "1:18", "nested too deeply"),
        ("a: '" + "x" * 70_000 + "'", "1:4", "64 KiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_in_one_way_is_refused_at_its_place(text: str, where: str, says: str) -> None:
    began = time.process_time()
    told = fault(text)
    assert told.startswith(f"f.yaml:{where}: "), told
    assert says in told
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("just words", "f.yaml:1:1: This is no declaration."),
        ("", "f.yaml:1:1: Nothing is declared here."),
        (HEAD.replace("countersign/v1", "countersign/v9"), "Write `apiVersion: countersign/v1`."),
        (HEAD.replace("Team", "team"), "f.yaml:2:1: There is no kind 'team'. Did you mean Team?"),
        (HEAD.replace("Team", "Grant"), "There is no kind 'Grant'."),
        (HEAD.replace("flights", "123"), 'The name is a number and no text. Write "123" in quotes.'),
        (HEAD.replace("flights", "../../etc"), "cannot be a name"),
        (HEAD.replace("flights", '"a b"'), "cannot be a name"),
        (HEAD.replace("flights", "x" * 64), "cannot be a name"),
        (HEAD.replace("name:", "label:"), "There is no field `label` here."),
        (HEAD + "  titel: x\n", "f.yaml:5:3: There is no field `spec.titel`. Did you mean `title`?"),
        (HEAD + "  title: 7\n", 'f.yaml:5:3: `spec.title` is a number and no text. Write "7" in quotes.'),
        (HEAD + "  members: ana\n", "f.yaml:5:3: `spec.members`"),
        (HEAD + "  members: [ana, 7]\n", "f.yaml:5:18: `spec.members.1` is a number"),
        (HEAD + "  title: x\n---\n" + HEAD + "  title: z\n", "is declared at f.yaml:3:12 already"),
    ],
)
def test_what_is_no_declaration_is_refused_with_what_to_write(text: str, says: str) -> None:
    assert says in fault(text)


def test_everything_that_is_wrong_is_told_at_once_and_no_more_than_can_be_read() -> None:
    many = "---\n".join(HEAD.replace("flights", f"team-{number}") + "  titel: x\n" for number in range(50))
    with pytest.raises(Faulty) as refused:
        declared.read([Source("f.yaml", many)], SPECS)
    assert len(refused.value.faults) == 20
    assert "And 49 more." in refused.value.message


def test_more_than_can_be_applied_is_refused_before_it_is_read() -> None:
    began = time.process_time()
    with pytest.raises(Faulty) as refused:
        documents([Source("f.yaml", "#" * (MOST_BYTES + 1))])
    assert refused.value.code == "too-large"
    with pytest.raises(Faulty):
        documents([Source("f.yaml", "---\nx\n" * 10_001)])
    assert time.process_time() - began < 5


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\u202a\u202b\u202c\u202d\u202e"
                              "\u2066\u2067\u2068\u2069\ufffe\uffff"), max_size=30)  # fmt: skip
NUMBERS = st.integers(-(10**15), 10**15) | st.sampled_from([0.5, 12.25, 99.99])
WORDS = st.sampled_from(["no", "y", "null", "~", "010", "1:30", "2026-01-01", "<<", "- x", "a: b", "", " x", "#", "&a", "!t"])
VALUES = st.recursive(
    TEXTS | WORDS | NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(lambda one: one != "<<"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "spec"]), VALUES, min_size=1))
def test_what_is_written_is_read_back_as_what_it_was(value: dict[str, Any]) -> None:
    (document,) = documents([Source("f.yaml", written([value]))])
    assert document.value == value
