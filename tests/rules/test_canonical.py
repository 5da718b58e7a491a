"""Canonical JSON and digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.canonical import canonical, digest, digest_tree, is_digest, loads, tree_files
from backend.core.errors import Refusal

_text = st.text(st.characters(exclude_categories=["Cs"]))
_whole = st.integers(-(2**53) + 1, 2**53 - 1)
# From 2^53 on a whole float is written without a point, and would be read back as an integer that JSON cannot hold exactly.
_float = st.floats(-(2.0**53) + 1, 2.0**53 - 1)
_json = st.recursive(
    st.none() | st.booleans() | _whole | _float | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=20,
)


@given(_json)
def test_reading_it_back_gives_the_same_bytes(value: object) -> None:
    assert canonical(loads(canonical(value))) == canonical(value)


@given(st.dictionaries(_text, st.integers(0, 9), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_a_known_example() -> None:
    assert canonical({"b": 1.0, "a": "ö\n", "c": [True, None]}) == '{"a":"ö\\n","b":1,"c":[true,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, {"a": {1, 2}}, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(Refusal):
        canonical(value)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "NaN", "[1,", "[" * 100_000, "-Infinity"])
def test_ambiguous_json_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        loads(text)


def test_a_tree_digest_sees_names_sizes_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    before = digest_tree(tree_files(tmp_path))
    assert is_digest(before)
    assert [file.path for file in tree_files(tmp_path)] == ["a", "sub/b"]
    (tmp_path / "a").write_bytes(b"onE")
    changed = digest_tree(tree_files(tmp_path))
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "a").rename(tmp_path / "c")
    assert len({before, changed, digest_tree(tree_files(tmp_path))}) == 3


def test_a_link_in_a_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refusal, match="link"):
        tree_files(tmp_path)


def test_a_tree_digest_is_plain_canonical_json(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "a").write_bytes(b"one")
    inner = "sha256:" + hashlib.sha256(b"one").hexdigest()
    expected = hashlib.sha256(json.dumps([["a", 3, inner]], separators=(",", ":")).encode()).hexdigest()
    assert digest_tree(tree_files(tmp_path)) == f"sha256:{expected}"
