"""The settings of sign-in, and the page that is kept over the way to a provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.deep_links import encoded, kept, own_path, wanted
from backend.access.claims import over, person, roles_for, values_of
from backend.access.issuer_settings import ALGORITHMS
from backend.access.sign_in_file import Provider, read, variables
from backend.core.errors import Refusal
from tests.databases import Clock
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET

GOOD = f"""
[auth]
redirect_uri = "https://countersign.example.com/release/oauth2callback"
cookie_secret = "{COOKIE_SECRET}"
first_administrator = "corp:ada@example.com"

[auth.corp]
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "https://id.example.com/realms/ml/.well-known/openid-configuration"

[[auth.corp.roles]]
value = "ml-reviewers"
role = "reviewer"
scope = "environment:production"
"""


def written(folder: Path, text: str = GOOD) -> Path:
    file = folder / "sign-in.toml"
    file.write_text(text)
    return file


def test_what_browsers_see_follows_from_the_redirect_uri(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert (found.origin, found.host, found.base_path) == (
        "https://countersign.example.com",
        "countersign.example.com",
        "/release",
    )
    assert found.is_secure
    assert found.providers[0].title == "corp"
    assert found.providers[0].expected_issuer == "https://id.example.com/realms/ml"
    assert [(one.value, one.role, one.scope) for one in found.providers[0].roles] == [
        ("ml-reviewers", "reviewer", "environment:production")
    ]


def test_secrets_come_from_files_and_from_the_environment(tmp_path: Path) -> None:
    text = GOOD.replace(f'cookie_secret = "{COOKIE_SECRET}"', 'cookie_secret_file = "cookie"')
    text = text.replace(f'client_secret = "{SECRET}"', 'client_secret_env = "CORP"')
    (tmp_path / "cookie").write_text(COOKIE_SECRET + "\n")
    found = read(written(tmp_path, text), {"CORP": SECRET})
    assert found.secrets == (COOKIE_SECRET, SECRET)
    assert variables(written(tmp_path, text)) == ("CORP",), "whoever starts a process hands these on"
    assert variables(tmp_path / "none") == ()
    written(tmp_path, text)
    with pytest.raises(Refusal, match="is not set"):
        read(written(tmp_path, text), {})
    (tmp_path / "cookie").unlink()
    with pytest.raises(Refusal, match="cannot be read"):
        read(written(tmp_path, text), {"CORP": SECRET})


def test_settings_show_no_secret_of_theirs(tmp_path: Path) -> None:
    shown = repr(read(written(tmp_path)))
    assert COOKIE_SECRET not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"https://countersign.example.com/release/oauth2callback"', '"http://countersign.example.com/oauth2callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://countersign.example.com/callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://a.example/oauth2callback?next=/x"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://a.example//evil.example/oauth2callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://user:word@a.example/oauth2callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://a.example:443/oauth2callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"http://localhost:80/oauth2callback"'),
        ('"https://countersign.example.com/release/oauth2callback"', '"https://A.example/oauth2callback"'),
        (f'cookie_secret = "{COOKIE_SECRET}"', 'cookie_secret = "short-planted"'),
        (f'cookie_secret = "{COOKIE_SECRET}"', ""),
        (f'cookie_secret = "{COOKIE_SECRET}"', f'cookie_secret = "{COOKIE_SECRET}"\ncookie_secret_env = "X"'),
        ('"https://id.example.com/realms/ml/.well-known', '"http://id.example.com/realms/ml/.well-known'),
        ("openid-configuration", "openid"),
        ('role = "reviewer"', 'role = "king"'),
        ('scope = "environment:production"', 'scope = "planet:earth"'),
        ("[auth.corp]", "[auth.Corp_1]"),
        ("[auth.corp]", "[auth.default]"),
        ("[auth.corp]", '[auth.corp]\nalgorithms = ["none"]'),
        ("[auth.corp]", '[auth.corp]\nalgorithms = ["RS256", "HS256"]'),
        ("[auth.corp]", "[auth.corp]\nalgorithms = []"),
        ("[auth.corp]", '[auth.corp]\nscope = "email"'),
        ("[auth.corp]", "[auth.corp]\nunknown = 1"),
        ("corp:ada@example.com", "other:ada@example.com"),
        ("corp:ada@example.com", "corp:"),
        ("[auth]", "[auth]\nidle_minutes = 0"),
        ("[auth]", "[auth]\nabsolute_hours = 10000"),
        ("[auth]", "[other]"),
        ("[auth]", "[[["),
    ],
)
def test_what_is_wrong_is_refused_and_no_value_is_repeated(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    with pytest.raises(Refusal) as refused:
        read(written(tmp_path, text), {"X": "x"})
    assert refused.value.code == "bad-setting"
    for secret in (COOKIE_SECRET, SECRET, "short-planted", "user:word"):
        assert secret not in str(refused.value)
        assert secret not in str(refused.value.__cause__)


def test_no_symmetric_algorithm_can_be_chosen() -> None:
    assert not [one for one in ALGORITHMS if one.startswith("HS") or one.lower() == "none"]


# The page that was wanted


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/", ""),
        ("/change?change=7", ""),
        ("/release/", "/release"),
        ("/release/models?q=a%20b", "/release"),
        ("/release", "/release"),
    ],
)
def test_a_page_of_ours_is_kept(path: str, base: str) -> None:
    assert own_path(path, base) == path
    assert kept(encoded(path), base) == path


HOSTILE = [
    "", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example/",
    "http:/evil.example", "javascript:alert(1)", "/%2F/evil.example", "/%5Cevil.example/x", "/%2Fevil.example", "/a//b",
    "/\tx", "/\nLocation: x", "/é", "/ x", "/../x", "/a/../../x", "/a/%2e%2e/x", "/auth/logout", "/auth/login?provider=x",
    "/oauth2callback?code=x", "/api/v1/me", "/_stcore/health", "/" + "x" * 2000, "models", "?x=1", "/\x00",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_what_is_no_page_of_ours_leads_to_the_first_page(path: str) -> None:
    assert own_path(path, "") is None
    assert kept(encoded(path), "") == "/"
    assert kept(path, "") == "/"
    assert kept(encoded("/release" + path), "/release") == "/release/" or path in ("", "?x=1")
    assert own_path(path, "/release") is None


def test_a_page_outside_the_base_path_is_not_ours() -> None:
    for path in ("/", "/other/", "/releases/x", "/release-notes"):
        assert own_path(path, "/release") is None
    assert kept(None, "/release") == "/release/"


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("https://a.example/models?q=1#part", "/models?q=1"),
        ("https://a.example", "/"),
        ("http://a.example/models", None),
        ("https://a.example.evil.example/models", None),
        ("https://a.example:8443/models", None),
        ("https://user@a.example/models", None),
        ("https://evil.example/models", None),
        ("https://a.example//evil.example", None),
        ("https://[broken", None),
        ("", None),
    ],
)
def test_only_a_page_of_the_same_origin_is_wanted(referer: str, expected: str | None) -> None:
    assert wanted(referer, "https://a.example", "") == expected


# Claims


@pytest.mark.parametrize(
    ("claim", "claims", "values", "overflow"),
    [
        ("groups", {"groups": ["a", "b", 7, "", None, "x" * 300]}, {"a", "b"}, False),
        ("groups", {"groups": "a"}, {"a"}, False),
        ("groups", {"groups": {"a": 1}}, set(), False),
        ("groups", {}, set(), False),
        ("realm_access.roles", {"realm_access": {"roles": ["a"]}}, {"a"}, False),
        ("realm_access.roles", {"realm_access": ["roles"]}, set(), False),
        ("https://example.com/groups", {"https://example.com/groups": ["a"]}, {"a"}, False),
        ("a.b", {"a.b": ["x"], "a": {"b": ["y"]}}, {"x"}, False),
        ("groups", {"hasgroups": True}, set(), True),
        ("groups", {"_claim_names": {"groups": "src1"}}, set(), True),
        ("roles", {"_claim_names": {"groups": "src1"}, "roles": ["a"]}, {"a"}, False),
        ("groups", {"groups": ["a"], "hasgroups": True}, {"a"}, False),
    ],
)
def test_groups_are_read_from_a_claim(claim: str, claims: dict[str, Any], values: set[str], overflow: bool) -> None:
    assert values_of(claim, claims) == (values, overflow)


def test_values_are_compared_as_they_are() -> None:
    mapped = [("ML-Admins", "admin", "*"), ("ml", "viewer", "*"), ("ml", "viewer", "*")]
    assert roles_for({"ml-admins", "ml"}, mapped) == {("viewer", "*")}


def test_a_name_is_one_line_without_what_is_not_seen(clock: Clock) -> None:
    provider = Provider(
        name="corp", title="Corp", client_id=CLIENT, client_secret=SECRET, issuers=("i",),
        server_metadata_url="https://i.example/.well-known/openid-configuration",
    )  # fmt: skip
    now = clock.now.timestamp()
    told = {"iss": "i", "aud": CLIENT, "sub": "s", "nonce": "n", "iat": now, "exp": now + 60}
    hostile = "Ada\u202e\u0000\n\t  Love\u200blace " + "x" * 500
    found = person(provider, {**told, "name": hostile, "preferred_username": "../../Ada; DROP\u0000"}, now=clock.now)
    assert found.name.startswith("Ada Lovelace x")
    assert len(found.name) == 120
    assert found.handle == "ada-drop"
    assert person(provider, told, now=clock.now).handle == "somebody"
    assert person(provider, {**told, "name": ["Ada"], "email": "a@b.c"}, now=clock.now).email is None


def test_a_session_is_over_at_its_limits_and_not_before(clock: Clock) -> None:
    from datetime import timedelta

    start, idle, absolute = clock.now, timedelta(minutes=60), timedelta(hours=12)

    def state(after: timedelta, used: timedelta, ended: str | None = None) -> str | None:
        why = over(now=start + after, issued_at=start, seen_at=start + used, idle=idle, absolute=absolute, ended=ended)
        return why.message if why else None

    moment = timedelta(microseconds=1)
    assert state(idle - moment, timedelta()) is None
    assert state(idle, timedelta()) == "Nothing was done here for a while."
    assert state(absolute - moment, absolute - moment) is None
    assert state(absolute, absolute) == "You signed in long ago."
    assert state(timedelta(), timedelta(), "revoked") == "An administrator ended your session."
    assert state(timedelta(), timedelta(), "unheard of") == "You signed out."
