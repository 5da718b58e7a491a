"""Pure rules on bearer tokens of other systems, and on tokens that are narrower than their identity."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.access import bearer_claims, bearer_file, rules
from backend.access.bearer_claims import NotAdmitted, check_binding, fits, spoken, strict
from backend.access.bearer_file import Profile
from backend.access.rules import ACTIONS, ROLES, Grant, Sight, may, narrowed, sight
from backend.core.context import Limits
from backend.core.errors import Refusal

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
AT = int(NOW.timestamp())
HERE = "https://countersign.example.com"
GITHUB = {
    "repository_id": "456789", "repository": "acme/flight-delay", "repository_owner_id": "123456", "ref": "refs/heads/main",
    "ref_protected": "true", "event_name": "push", "run_id": "77", "check_run_id": "88", "sha": "c0ffee",
}  # fmt: skip
GITLAB = {
    "project_id": "22", "project_path": "acme/flight-delay", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
    "ref_protected": "true", "pipeline_source": "push",
}  # fmt: skip


def profile(**changed: Any) -> Profile:
    (found,) = bearer_file.profiles({"github": {"kind": "github", "audience": HERE, **changed}})
    return found


def access(**changed: Any) -> Profile:
    told = {"kind": "access", "issuer": "https://id.example.com", "audience": "api", **changed}
    (found,) = bearer_file.profiles({"corp": told})
    return found


def claims(of: Profile, **changed: Any) -> dict[str, Any]:
    told = {"iss": of.issuer, "aud": of.audience, "iat": AT, "exp": AT + 300, "nbf": AT, "sub": "s", "jti": "j-1", **changed}
    return {name: value for name, value in told.items() if value is not None}


def said(of: Profile, header: dict[str, Any] | None = None, **changed: Any) -> bearer_claims.Spoken:
    told = {"typ": "JWT" if of.is_build else "at+jwt"} if header is None else header
    return spoken(of, told, json.dumps(claims(of, **changed)).encode(), now=NOW)


def test_a_token_of_this_time_for_us_is_good() -> None:
    found = said(profile(), **GITHUB)
    assert (found.subject, found.jti, found.claims["repository_id"]) == ("s", "j-1", "456789")
    assert found.mark == said(profile(), **{**GITHUB, "exp": AT + 200}).mark, "the same number is the same token"
    assert found.mark != said(profile(), jti="j-2").mark
    assert said(profile(), repository_id=456789).claims["repository_id"] == "456789", "a number is compared as its digits"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://token.actions.githubusercontent.com/"}, {"iss": None}, {"iss": ["https://x"]},
        {"aud": None}, {"aud": "https://other.example.com"}, {"aud": [HERE, "https://other.example.com"]}, {"aud": {HERE: 1}},
        {"exp": None}, {"exp": AT - 61}, {"exp": "4102444800"}, {"exp": True}, {"exp": 1e300}, {"exp": -1},
        {"iat": None}, {"iat": AT + 61}, {"iat": AT - 3 * 3600, "exp": AT + 3600}, {"nbf": AT + 61}, {"nbf": "soon"},
        {"sub": None}, {"sub": ""}, {"sub": "x" * 513}, {"sub": 7}, {"sub": "a\x00b"}, {"sub": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_for_us_or_not_of_now_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(NotAdmitted):
        said(profile(), **changed)


def test_clocks_may_be_apart_by_what_the_profile_says_and_no_more() -> None:
    assert said(profile(), exp=AT - 59)
    assert said(profile(), iat=AT + 60, nbf=AT + 60)
    with pytest.raises(NotAdmitted):
        said(profile(skew_seconds=0), exp=AT)
    assert said(profile(max_age_minutes=1440), iat=AT - 3 * 3600)


@pytest.mark.parametrize("typ", ["at+jwt", "JWE", "logout+jwt", "", None, 7, ["JWT"]])
def test_a_build_says_that_it_is_a_jwt_and_nothing_else(typ: Any) -> None:
    with pytest.raises(NotAdmitted):
        said(profile(), {"typ": typ})
    with pytest.raises(NotAdmitted):
        said(profile(), {"typ": "JWT", "cty": "JWT"})
    assert said(profile(types=["jwt", ""]), {})


def test_an_access_token_follows_rfc_9068_and_an_id_token_is_none() -> None:
    assert said(access(), client_id="c").client == "c"
    assert said(access(), {"typ": "application/at+jwt"}, client_id="c")
    for header, changed in (
        ({"typ": "JWT"}, {"client_id": "c"}), ({}, {"client_id": "c"}), (None, {}), (None, {"client_id": "c", "jti": None}),
        (None, {"client_id": "c", "nonce": "n"}), (None, {"client_id": "c", "at_hash": "h"}),
        (None, {"client_id": "c", "events": {}}), (None, {"client_id": "c", "typ": "ID"}),
    ):  # fmt: skip
        with pytest.raises(NotAdmitted):
            said(access(), header, **changed)
    assert said(access(), client_id="c", aud=["account", "api"]), "access tokens are often for several"
    with pytest.raises(NotAdmitted):
        said(access(required={"tid": "t"}), client_id="c", tid="another")


@pytest.mark.parametrize(
    "content",
    [
        b'{"sub":"a","sub":"b"}', b'{"a":{"x":1,"x":2}}', b"[]", b"7", b"", b"{", b"\xff", b'{"a":NaN}', b"[" * 20_000,
        b'{"a":' + b"9" * 5_000 + b"}",
    ],
    ids=lambda one: repr(one[:20]),
)  # fmt: skip
def test_json_that_two_readers_may_read_differently_is_no_token(content: bytes) -> None:
    with pytest.raises(NotAdmitted):
        strict(content)


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c.d.e", "a..c", "a.b.c=", "a.b.c\n", "a.b." + "c" * bearer_claims.LONGEST, "é.b.c"]
)
def test_what_has_not_the_form_of_a_signed_token_is_none(text: str) -> None:
    assert not bearer_claims.is_jws(text)


BOUND = {"repository_id": "456789", "ref": "refs/heads/main"}


def test_a_binding_fits_what_says_all_of_it() -> None:
    assert fits("github", BOUND, GITHUB)
    assert fits("github", {**BOUND, "ref_protected": "true"}, GITHUB)
    for changed in (
        {"repository_id": "456780"}, {"ref": "refs/heads/main2"}, {"ref": "refs/heads/mai"}, {"ref": "refs/pull/7/merge"},
        {"ref": "refs/tags/main"},
    ):  # fmt: skip
        assert not fits("github", BOUND, {**GITHUB, **changed}), changed
    assert not fits("github", {**BOUND, "environment": "production"}, GITHUB), "what is not said is not so"


def test_a_repository_that_was_renamed_keeps_its_binding_and_one_of_the_old_name_does_not_get_it() -> None:
    assert fits("github", BOUND, {**GITHUB, "repository": "acme/renamed"})
    assert not fits("github", BOUND, {**GITHUB, "repository_id": "999", "repository_owner_id": "999"})


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target", "workflow_run", "issue_comment", "", None])
def test_a_request_to_merge_acts_for_nobody_unless_the_binding_says_so(event: str | None) -> None:
    told = {name: value for name, value in {**GITHUB, "event_name": event}.items() if value is not None}
    assert not fits("github", BOUND, told)
    if event:
        assert fits("github", {**BOUND, "event_name": event}, told)


@pytest.mark.parametrize("source", ["merge_request_event", "external_pull_request_event", "parent_pipeline", "pipeline"])
def test_a_merge_request_of_gitlab_acts_for_nobody_either(source: str) -> None:
    bound = {"project_id": "22", "ref_path": "refs/heads/main"}
    assert fits("gitlab", bound, GITLAB)
    assert not fits("gitlab", bound, {**GITLAB, "pipeline_source": source})
    assert not fits("gitlab", bound, {**GITLAB, "project_id": "23"}), "a fork"


def test_a_star_stands_for_the_rest_of_a_protected_ref() -> None:
    tags = {"repository_id": "456789", "ref": "refs/tags/v*", "ref_protected": "true"}
    check_binding("github", tags)
    assert fits("github", tags, {**GITHUB, "ref": "refs/tags/v1.2"})
    assert not fits("github", tags, {**GITHUB, "ref": "refs/tags/v1.2", "ref_protected": "false"})
    assert not fits("github", tags, {**GITHUB, "ref": "refs/heads/v1"})


@pytest.mark.parametrize(
    "more", [{"environment_protected": "true"}, {"ref_protected": "true"}, {"ref_path": "refs/heads/main"}], ids=str
)
def test_an_environment_of_gitlab_is_bound_with_what_keeps_other_branches_out(more: dict[str, str]) -> None:
    check_binding("gitlab", {"project_id": "22", "environment": "production", **more})


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ("github", {}), ("github", {"repository_id": "1"}), ("github", {"repository": "acme/x", "ref": "refs/heads/main"}),
        ("github", {**BOUND, "sub": "repo:acme/x"}), ("github", {**BOUND, "actor": "ada"}), ("github", {**BOUND, "ref": ""}),
        ("github", {**BOUND, "ref": "refs/heads/*"}), ("github", {**BOUND, "ref": "*", "ref_protected": "true"}),
        ("github", {**BOUND, "ref": "refs/*", "ref_protected": "true"}), ("github", {**BOUND, "repository": "acme/*"}),
        ("github", {**BOUND, "ref": "refs/heads/a*b", "ref_protected": "true"}), ("github", {**BOUND, "ref": "a\x00"}),
        ("gitlab", {"project_id": "22", "ref": "main"}), ("gitlab", {"project_path": "acme/x", "ref_path": "refs/heads/main"}),
        ("gitlab", {"project_id": "22", "environment": "production"}),
        ("gitlab", {"project_id": "22", "environment": "production", "environment_protected": "false"}),
        ("gitlab", {"project_id": "22", "environment": "production", "ref_protected": "false"}),
        ("access", {"client_id": "c"}), ("access", {"sub": "s", "scope": "x"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_binding_that_would_bind_too_much_is_refused(kind: bearer_file.Kind, bound: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        check_binding(kind, bound)
    assert caught.value.code == "bad-binding"


@pytest.mark.parametrize(
    "told",
    [
        {}, {"kind": "access"}, {"kind": "access", "audience": "a"}, {"kind": "github"}, {"kind": "github", "audience": ""},
        {"kind": "github", "audience": "a", "algorithms": ["HS256"]}, {"kind": "github", "audience": "a", "algorithms": []},
        {"kind": "github", "audience": "a", "algorithms": ["none"]}, {"kind": "github", "audience": "a", "types": ["jwe"]},
        {"kind": "gitlab", "audience": "a", "issuer": "http://gitlab.example.com"},
        {"kind": "gitlab", "audience": "a", "issuer": "https://u@gitlab.example.com"},
        {"kind": "gitlab", "audience": "a", "issuer": "https://gitlab.example.com", "metadata_url": "http://x.example.com/a"},
        {"kind": "github", "audience": "a", "skew_seconds": 3600}, {"kind": "github", "audience": "a", "unknown": 1},
        {"kind": "other", "audience": "a"}, {"kind": "github", "audience": "a", "scopes": {"x": "viewer"}},
        {"kind": "access", "issuer": "https://id.example.com", "audience": "a", "scopes": {"x": "king"}},
        {"kind": "access", "issuer": "https://id.example.com", "audience": "a", "scopes": {"x y": "viewer"}},
        {"kind": "access", "issuer": "https://id.example.com", "audience": "a", "scope_claim": "sub"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_would_let_too_much_in_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        bearer_file.profiles({"x": told})
    assert caught.value.code == "bad-setting"


def test_an_issuer_has_one_profile() -> None:
    one = {"kind": "github", "audience": "a"}
    with pytest.raises(Refusal, match="two profiles"):
        bearer_file.profiles({"a": one, "b": one})


# -- tokens narrower than their identity

SCOPES = ("*", "environment:production", "model:m", "team:t", "environment:dev", "model:other")
GRANTS = st.lists(st.builds(Grant, st.sampled_from(ROLES), st.sampled_from(SCOPES)), max_size=5)
LIMITS = st.builds(Limits, st.sampled_from((None, *ROLES)), st.sampled_from(SCOPES))
PLACE = {"environment": "production", "model": "m", "team": "t"}


@given(GRANTS, LIMITS, st.sampled_from(sorted(ACTIONS)))
def test_a_narrow_token_does_nothing_that_its_identity_or_its_limits_forbid(
    held: list[Grant], limits: Limits, action: str
) -> None:
    within = narrowed(held, limits)
    if may(within, action, now=NOW, **PLACE):
        assert may(held, action, now=NOW, **PLACE)
        assert limits.role is None or limits.role in ACTIONS[action]
        assert Grant("viewer", limits.scope).covers(**PLACE)
    shown, whole = sight(within, now=NOW), sight(held, now=NOW)
    assert whole.everything or not shown.everything
    assert limits.scope == "*" or not shown.everything
    if not whole.everything:
        assert shown.environments <= whole.environments
        assert shown.models <= whole.models
        assert shown.teams <= whole.teams


PLACES = tuple(
    dict(zip(("environment", "model", "team"), one, strict=True))
    for one in (("dev", "m", None), ("dev", "other", "t"), (None, "m", "t"), ("production", None, None), ("dev", "m", "t"))
)


@given(GRANTS, LIMITS, st.sampled_from(sorted(ACTIONS)), st.sampled_from(PLACES))
def test_a_right_counts_exactly_where_a_grant_and_the_limit_both_reach(
    held: list[Grant], limits: Limits, action: str, place: dict[str, str | None]
) -> None:
    within = narrowed(held, limits)
    if not Grant("viewer", limits.scope).covers(**place):
        assert not may(within, action, now=NOW, **place)
    else:
        reaching = [Grant(one.role) for one in held if one.covers(**place)]
        assert may(within, action, now=NOW, **place) == may(narrowed(reaching, Limits(limits.role)), action, now=NOW)


@given(GRANTS)
def test_a_token_without_limits_is_as_good_as_its_identity(held: list[Grant]) -> None:
    assert narrowed(held, None) == tuple(held)
    assert set(narrowed(held, Limits())) == set(held)


def test_a_limit_counts_where_the_identity_holds_as_much() -> None:
    end = NOW + timedelta(days=1)
    assert narrowed([Grant("operator", "*", end)], Limits("contributor", "model:m")) == (Grant("contributor", "model:m", end),)
    assert narrowed([Grant("admin")], Limits("viewer")) == (Grant("viewer"),), "everybody may look"
    assert narrowed([Grant("contributor")], Limits("operator")) == ()
    assert narrowed([Grant("admin")], Limits("contributor")) == (), "an admin does not propose"
    assert narrowed([Grant("viewer", "environment:dev")], Limits(None, "environment:production")) == ()
    both = Grant("viewer", "environment:dev", within="model:m")
    assert narrowed([Grant("viewer", "environment:dev")], Limits(None, "model:m")) == (both,)
    assert sight([both], now=NOW) == Sight(environments=frozenset({"dev"}), within=Sight(models=frozenset({"m"})))
    assert set(rules._ALLOWS) == set(rules.TOKEN_ROLES)
