"""What may be registered, who wrote it, and what an alias needs next, over all cases."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from backend.core.errors import Refusal
from backend.registry import rules
from backend.registry.keys import read_key, write_key
from backend.registry.paths import PathSet, folded
from backend.registry.rules import Handed, Limits, Wish, alias_need
from backend.settings import Settings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("wanted", "written", "seen", "there", "put_back"),
    list(itertools.product([None, 1], [False, True], [None, 1, 2], [None, 1, 2], [False, True])),
)
def test_every_alias_needs_one_thing(
    wanted: int | None, written: bool, seen: int | None, there: int | None, put_back: bool
) -> None:
    """The whole product, against the words of the rule."""
    need = alias_need(Wish(wanted, NOW, NOW if written else None, seen), there, put_back=put_back)
    if not written:
        assert need == "write"
    elif wanted is None:
        assert need == "nothing"
    else:
        assert ("note" in need) == (there != seen), "each move is recorded once"
        assert ("write" in need) == (there != wanted and put_back), "it is put back only where that is wished"


def test_an_alias_is_not_put_back_for_ever() -> None:
    assert [rules.may_put_back(True, drifts) for drifts in range(6)] == [True, True, True, True, False, False]
    assert not rules.may_put_back(False, 0)


def test_the_same_bytes_are_registered_once_and_other_bytes_never() -> None:
    assert not rules.is_registered_already("m", 1, None, ONE)
    assert rules.is_registered_already("m", 1, ONE, ONE)
    with pytest.raises(Refusal) as refused:
        rules.is_registered_already("m", 1, ONE, OTHER)
    assert refused.value.code == "digest-mismatch"
    assert refused.value.facts == {"expected": ONE, "found": OTHER}


def test_an_author_is_verified_only_for_these_bytes_of_this_model() -> None:
    handed = Handed("m", ONE, "idn_ana")
    assert rules.verified_author(handed, "m", ONE) == "idn_ana"
    assert rules.verified_author(handed, "m", OTHER) is None
    assert rules.verified_author(handed, "other", ONE) is None
    assert rules.verified_author(None, "m", ONE) is None


def test_pickles_are_refused_only_where_settings_say_so() -> None:
    rules.check_pickles("flag", ["a.pkl"])
    rules.check_pickles("refuse", [])
    with pytest.raises(Refusal) as refused:
        rules.check_pickles("refuse", ["a.pkl"])
    assert refused.value.code == "pickled-code"


def test_limits_come_from_settings_and_a_rule_that_nobody_knows_is_refused() -> None:
    limits = Limits.of(Settings(upload_max_bytes=7, upload_max_entries=8, allow_pickle="refuse"))
    assert (limits.max_bytes, limits.max_entries, limits.pickles) == (7, 8, "refuse")
    with pytest.raises(Refusal) as refused:
        Limits.of(Settings(allow_pickle="maybe"))
    assert refused.value.code == "bad-setting"


@pytest.mark.parametrize("name", ["", "a/b", "a:b", " a", "a ", "a\nb", "a\x00", "x" * 257])
def test_a_name_that_mlflow_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(Refusal):
        rules.check_model_name(name)


def test_aliases_follow_the_pattern() -> None:
    assert rules.alias_name("{environment}-champion", "production") == "production-champion"
    for pattern in ("{environment} champion", "", "latest", "v1", "{other}", "ü"):
        with pytest.raises(Refusal) as refused:
            rules.alias_name(pattern, "dev")
        assert refused.value.code == "bad-setting"


def test_a_failing_registry_rests_longer_each_time() -> None:
    waits = [rules.retry_after(failures).total_seconds() for failures in range(12)]
    assert waits[:3] == [5, 10, 20]
    assert waits == sorted(waits)
    assert max(waits) == rules.LONGEST_RETRY_SECONDS == rules.retry_after(10**6).total_seconds()


@pytest.mark.parametrize(("took", "passed", "due"), [(1, 59, False), (1, 60, True), (30, 299, False), (30, 300, True)])
def test_the_mirror_takes_at_most_a_tenth_of_the_registrys_time(took: float, passed: float, due: bool) -> None:
    assert rules.is_whole_pass_due(NOW, took, NOW + timedelta(seconds=passed), interval=60) == due


def test_owners_and_search_texts() -> None:
    assert rules.owner_of({"owner": "ana", "countersign.owner": "ben"}) == "ben"
    assert rules.owner_of({}) == ""
    assert "team=delay" in rules.search_text("Flight", "Über", {"Team": "Delay"})
    assert "über" in rules.search_text("Flight", "Über", {})
    assert len(rules.search_text("x" * 10_000, "", {})) == 4096


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("straße", "STRASSE"), ("café", "cafe\u0301"), ("İ", "i̇")])
def test_what_some_system_takes_for_one_name_is_one_place(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    names = PathSet()
    names.add_file(one)
    with pytest.raises(Refusal):
        names.add_file(other)


def test_a_folder_may_be_named_again() -> None:
    names = PathSet()
    for _ in range(2):
        names.add_folder("a/b")
    names.add_file("a/b/c")
    names.add_file("a/b/d")
    with pytest.raises(Refusal):
        names.add_folder("a/b/c")


def test_a_key_says_what_was_written_and_nothing_else_is_believed() -> None:
    assert read_key(write_key(NOW, "mdl_1"), datetime, str) == (NOW, "mdl_1")
    assert read_key(write_key(7), int) == (7,)
    assert read_key(write_key("ü/"), str) == ("ü/",)
    hostile = ["", "!", "x" * 9999, write_key("a"), write_key(1, 2), write_key(2**40), write_key("2026-01-01T00:00:00")]
    for text in hostile:
        for kinds in ((int,), (datetime, str), (datetime,)):
            with pytest.raises(Refusal) as refused:
                read_key(text, *kinds)
            assert refused.value.code == "bad-page"
