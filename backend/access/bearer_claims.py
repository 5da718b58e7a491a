"""Pure rules on bearer tokens that other systems sign: whether one is good, whom it speaks of, and which bindings it fits.

Signatures are judged elsewhere (`backend.access.providers`); here a token's header and payload are values.
Followed: RFC 7519 and 8725 (JWT and its best practices), RFC 9068 (`at+jwt`), and what GitHub (docs.github.com, "OpenID Connect
reference", with the immutable ids in `sub` of 2026) and GitLab (docs.gitlab.com, "ID token authentication") say of claims.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from backend.access.bearer_file import Kind, Profile
from backend.core.errors import Refusal

LONGEST = 16 << 10
"""Of a whole token: those of real providers are below 8 KiB, and a header of more is no header."""
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST_VALUE = 512
_MOST_CLAIMS = 12

ANCHORS: dict[Kind, str] = {"github": "repository_id", "gitlab": "project_id", "access": "sub"}
"""The claim that says whose token it is by a number that is never given to anybody else. A name is: after a rename, a deletion
or the end of its owner's account somebody else can have a repository's, and would with it have the binding."""
CLAIMS: dict[Kind, frozenset[str]] = {
    "github": frozenset(
        {
            "repository_id", "repository", "repository_owner_id", "repository_owner", "repository_visibility", "enterprise_id",
            "ref", "ref_type", "ref_protected", "environment", "workflow_ref", "job_workflow_ref", "job_workflow_sha",
            "event_name", "runner_environment",
        }
    ),
    "gitlab": frozenset(
        {
            "project_id", "project_path", "namespace_id", "namespace_path", "job_project_id", "project_visibility", "ref",
            "ref_type", "ref_path", "ref_protected", "environment", "environment_protected", "deployment_tier",
            "pipeline_source", "ci_config_ref_uri", "ci_config_sha", "runner_environment", "user_access_level",
        }
    ),
    "access": frozenset({"sub", "client_id", "azp", "cid", "appid"}),
}  # fmt: skip
"""What a binding may ask for. `sub` of a CI job is not among them: its form can be chosen by the repository."""
NARROWING: dict[Kind, frozenset[str]] = {
    "github": frozenset({"ref", "environment", "job_workflow_ref", "workflow_ref"}),
    "gitlab": frozenset({"ref", "ref_path", "environment", "ci_config_ref_uri"}),
    "access": frozenset({"sub"}),
}
"""One of these is in every binding: a repository alone would be every branch that anybody pushes."""
EVENTS: dict[Kind, tuple[str, frozenset[str]]] = {
    "github": (
        "event_name",
        frozenset({"push", "workflow_dispatch", "schedule", "release", "deployment", "repository_dispatch", "merge_group"}),
    ),
    "gitlab": ("pipeline_source", frozenset({"push", "web", "schedule", "api", "trigger"})),
}
"""What may have started a job where the binding does not say. Requests to merge are not among it: `pull_request_target` runs
under the ref of the branch that it wants to change, and a merge request of a fork ran under the project that it was sent to
(gitlab-org/gitlab 563038)."""
TOLD: dict[Kind, tuple[str, ...]] = {
    "github": (
        "repository", "repository_id", "ref", "sha", "event_name", "run_id", "run_attempt", "check_run_id", "job_workflow_ref",
        "environment",
    ),
    "gitlab": ("project_path", "project_id", "ref", "sha", "pipeline_source", "pipeline_id", "job_id", "environment"),
    "access": ("client_id",),
}  # fmt: skip
"""What the ledger is told of the job behind a token; nobody's name is among it."""
_STARRED = frozenset({"ref", "ref_path"})
_GITLABS_REFS = frozenset({"ref", "ref_path", "ci_config_ref_uri"})
"""Whoever may push a branch writes its `.gitlab-ci.yml`, and with it the environment that its jobs name. `ci_config_ref_uri`
ends with the ref of that file."""


class NotAdmitted(Refusal):
    """A bearer token that is not good, or speaks of nobody here."""


@dataclass(frozen=True)
class Spoken:
    """What a good token says.

    Args:
        mark: digest that tells this token from every other; the token itself is kept nowhere.
        jti: its issuer's number of it, for people; "" where it has none.
        scopes: what it was given, where the profile asks for that.
        person: what the person is called, by the claim that the profile names; "" where it does not say.
    """

    subject: str
    client: str
    mark: str
    jti: str
    issued_at: datetime
    expires_at: datetime
    claims: Mapping[str, str]
    scopes: frozenset[str] = frozenset()
    person: str = ""

    @property
    def is_persons(self) -> bool:
        """Whether it can only be a person's, which no binding makes a service's.

        Okta tells `uid` where a user is behind a token and leaves it out of a client's (developer.okta.com, "Access token
        payload"); in Entra ID's the `sub` of an application is its `oid`, and a user's is another for each application
        (learn.microsoft.com, "Access token claims reference").
        """
        return "uid" in self.claims or self.claims.get("oid", self.subject) != self.subject


def is_jws(text: str) -> bool:
    """Whether a text has the form of a signed token. An encrypted one has five parts and none of ours has."""
    return len(text) <= LONGEST and _SHAPE.fullmatch(text) is not None


def told_issuer(text: str) -> str:
    """The issuer that a token names. Nothing vouches for it yet: it only chooses whose keys are asked."""
    issuer = strict(_decoded(text.split(".")[1])).get("iss")
    if not isinstance(issuer, str):
        raise malformed()
    return issuer


def header_of(text: str) -> dict[str, Any]:
    """Its header, read strictly."""
    return strict(_decoded(text.split(".")[0]))


def strict(content: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice: two readers of one that does may read different things (RFC 7519, 4)."""
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise malformed() from error
    if not isinstance(found, dict):
        raise malformed()
    return found


def spoken(profile: Profile, header: Mapping[str, Any], payload: bytes, *, now: datetime) -> Spoken:
    """What a token says whose signature is good. NotAdmitted where it is not for us, not of this kind, or not of this time."""
    claims = strict(payload)
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in profile.accepted_types or "cty" in header:
        raise _wrong("It is of another type.", f"Send one whose typ is {' or '.join(profile.accepted_types)}.")
    _check_recipient(profile, claims)
    issued_at, expires_at = _check_times(profile, claims, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_VALUE or not subject.isprintable():
        raise _wrong("It names no subject.", "Send a token that does.")
    plain = {name: said for name, value in claims.items() if (said := _plain(value)) is not None}
    client = plain.get(profile.client_claim, "")
    jti = plain.get("jti", "")[:_LONGEST_VALUE]
    if "at+jwt" in profile.accepted_types and kind.lower().endswith("at+jwt") and not (plain.get("client_id") and jti):
        raise _wrong("It lacks client_id or jti, which RFC 9068 asks for.", "Have the provider follow it.")
    if any(plain.get(name) != value for name, value in profile.required.items()):
        raise _wrong("It lacks a claim that the settings require.", "Look at `required` of this profile.")
    mark = sha256(f"{profile.issuer}\n{jti or sha256(payload).hexdigest()}".encode()).hexdigest()
    scopes = _scopes(claims.get(profile.scope_claim)) if profile.scopes else frozenset[str]()
    person = plain.get(profile.subject_claim, "")[:_LONGEST_VALUE]
    return Spoken(subject, client, mark, jti, issued_at, expires_at, plain, scopes, person)


def written(pairs: Iterable[str]) -> dict[str, str]:
    """Claims as people write them, NAME=VALUE each. Refusal (`bad-binding`) for what is none, or stands twice."""
    found = dict[str, str]()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in found:
            raise _bad_binding(f"{pair[:80]!r} is no claim, or one of two.", "Write each once, as NAME=VALUE.")
        found[name] = value
    return found


def check_binding(kind: Kind, claims: Mapping[str, str]) -> None:
    """Refusal (`bad-binding`) for what would bind too much, or what no token can fulfil."""
    known, anchor = CLAIMS[kind], ANCHORS[kind]
    for name, value in claims.items():
        if name not in known:
            raise _bad_binding(f"{name[:60]!r} is no claim to bind by.", f"Choose among {', '.join(sorted(known))}.")
        if not value or len(value) > _LONGEST_VALUE or not value.isprintable():
            raise _bad_binding(f"{name} needs a value.", "Write it as the token has it.")
    if anchor not in claims or len(claims) > _MOST_CLAIMS:
        raise _bad_binding(f"It does not say {anchor}.", _REMEDIES[kind])
    if NARROWING[kind].isdisjoint(claims):
        raise _bad_binding("It would be good for every branch.", f"Say one of {', '.join(sorted(NARROWING[kind]))} besides.")
    if kind == "gitlab" and not _GITLABS_REFS & claims.keys() and not _says_protected(claims):
        raise _bad_binding(
            "Every branch can name an environment.",
            "Say environment_protected=true or ref_protected=true besides, or the branch by ref_path.",
        )
    if kind == "gitlab" and "ref" in claims and "ref_type" not in claims:
        raise _bad_binding("A tag can have the name of a branch.", "Say ref_type=branch besides, or ref_path=refs/heads/NAME.")
    for name, value in claims.items():
        if "*" not in value:
            continue
        if name not in _STARRED or value.count("*") > 1 or not value.endswith("*") or len(value.rstrip("*")) < len("refs/x/"):
            raise _bad_binding(f"{name} holds a star.", "One star may end a whole ref: refs/tags/v*.")
        if claims.get("ref_protected") != "true":
            raise _bad_binding("Anybody who may push could make such a ref.", "Say ref_protected=true besides.")


def fault_of(kind: Kind, claims: Mapping[str, str]) -> Refusal | None:
    """What would be refused of a binding if it were made today; None where nothing would.

    More is asked for now than once was, and what would not be made any more is not honoured either.
    """
    try:
        check_binding(kind, claims)
    except Refusal as refusal:
        return refusal
    return None


def _says_protected(claims: Mapping[str, str]) -> bool:
    """An environment that is protected runs jobs of those alone who may deploy to it; a ref, of those who may push to it."""
    return claims.get("ref_protected") == "true" or ("environment" in claims and claims.get("environment_protected") == "true")


def fits(kind: Kind, bound: Mapping[str, str], said: Mapping[str, str]) -> bool:
    """Whether a token says all that a binding asks for, and its job was started by what may start one."""
    if not all(_is(value, said.get(name)) for name, value in bound.items()):
        return False
    name, usual = EVENTS.get(kind, ("", frozenset()))
    return not name or name in bound or said.get(name) in usual


def told(kind: Kind, said: Mapping[str, str]) -> dict[str, str]:
    """What the ledger is told of the job behind a token."""
    return {name: said[name][:200] for name in TOLD[kind] if name in said}


def needed(kind: Kind, said: Mapping[str, str]) -> str:
    """What a binding of this token would ask for, in words, for whoever sets one up."""
    name = EVENTS.get(kind, ("", frozenset()))[0]
    names = [ANCHORS[kind], *sorted(NARROWING[kind] - {ANCHORS[kind]}), *([name] if name else [])]
    return ", ".join(f"{one}={said[one][:120]}" for one in names if one in said)


def malformed() -> NotAdmitted:
    """For what is no token at all."""
    return NotAdmitted("This token cannot be read.", "Send it as its issuer made it.", code="bad-token")


_REMEDIES: dict[Kind, str] = {
    "github": "`gh api repos/OWNER/NAME --jq .id` tells it; a name can come to belong to somebody else.",
    "gitlab": "It stands on the project's page under its name; a path can come to belong to somebody else.",
    "access": "It is the `sub` of the client's tokens.",
}


def _check_recipient(profile: Profile, claims: Mapping[str, Any]) -> None:
    if claims.get("iss") != profile.issuer:
        raise _wrong("It is of another issuer.", f"Send one of {profile.title}.")
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if profile.audience not in named:
        raise _wrong("It is meant for somebody else.", f"Ask {profile.title} for one whose audience is {profile.audience}.")
    if profile.is_build and len(named) > 1:
        raise _wrong("It is meant for others too, who could use it here.", "Ask for one with this audience alone.")
    if "cnf" in claims:
        raise _wrong("It is bound to a key of its sender (cnf), which is not judged here.", "Ask for a plain bearer token.")
    if not profile.is_build and (not {"nonce", "at_hash", "c_hash", "events"}.isdisjoint(claims) or claims.get("typ") == "ID"):
        raise _wrong("It says who signed in somewhere, not what may be done here.", "Send an access token and not an ID token.")


def _check_times(profile: Profile, claims: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    issued_at, expires_at = _time(claims.get("iat")), _time(claims.get("exp"))
    begins = _time(claims["nbf"]) if "nbf" in claims else issued_at
    if issued_at is None or expires_at is None or begins is None:
        raise _wrong("It does not say from when until when it is good.", "Send one with iat and exp.")
    if now >= expires_at + profile.skew or now >= issued_at + profile.max_age + profile.skew:
        raise _wrong("It has expired.", "Ask for a fresh one.")
    if max(begins, issued_at) > now + profile.skew:
        raise _wrong("It is not good yet.", "Set the clocks right.")
    return issued_at, min(expires_at, issued_at + profile.max_age)


def _is(wanted: str, said: str | None) -> bool:
    if said is None:
        return False
    return said.startswith(wanted[:-1]) if wanted.endswith("*") else said == wanted


def _plain(value: object) -> str | None:
    """A claim as bindings compare it; lists and objects are not compared, nor what cannot be seen."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value.isprintable() else None


def _scopes(value: object) -> frozenset[str]:
    """A text with spaces between (RFC 8693, 4.2, which RFC 9068 follows; Entra ID's `scp`), or a list (Okta, Auth0's
    `permissions`). Each adds to what the others allow (RFC 6749, 3.3).
    """
    listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(one for one in listed if isinstance(one, str) and one)


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
        return None
    return datetime.fromtimestamp(value, UTC)


def _decoded(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise malformed() from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found = dict[str, Any]()
    for name, value in pairs:
        if name in found:
            raise ValueError("a name stands twice")
        found[name] = value
    return found


def _no_constant(_text: str) -> Any:
    raise ValueError("not a number")


def _wrong(message: str, remedy: str) -> NotAdmitted:
    return NotAdmitted(f"This token is not good here. {message}", remedy, code="bad-token")


def _bad_binding(message: str, remedy: str) -> Refusal:
    return Refusal(message, remedy, code="bad-binding")
