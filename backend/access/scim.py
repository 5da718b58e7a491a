"""Pure rules of SCIM 2.0 (RFC 7643, 7644): what a directory's requests mean, with the habits of Entra ID and Okta.

Of a person only what is used here is kept: name, address, the directory's own id, and whether the person is active.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.core.errors import Refusal

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MOST_MEMBERS, MOST_OPERATIONS, MOST_LISTED = 10_000, 100, 200

_FILTER = re.compile(r'\s*(userName|externalId|displayName|id)\s+eq\s+"((?:[^"\\]|\\.){1,255})"\s*', re.IGNORECASE)
_MEMBER = re.compile(r'members\[\s*value\s+eq\s+"([^"\\]{1,80})"\s*\]', re.IGNORECASE)
_LONGEST = 255


@dataclass(frozen=True)
class User:
    """A person as the directory tells it."""

    user_name: str
    external_id: str = ""
    display_name: str = ""
    email: str = ""
    active: bool = True


@dataclass(frozen=True)
class Group:
    """A group as the directory tells it; members are our ids of its people."""

    display_name: str
    external_id: str = ""
    members: frozenset[str] = frozenset()


def asked_for(text: str | None) -> tuple[str, str] | None:
    """(attribute in small letters, value) of a filter `attribute eq "value"`; None without one. Refusal for any other."""
    if text is None:
        return None
    match = _FILTER.fullmatch(text)
    if match is None:
        raise _bad('Only filters of the form `userName eq "..."` are understood.', "invalidFilter")
    return match[1].lower(), re.sub(r"\\(.)", r"\1", match[2])


def user(body: object) -> User:
    """A whole person, as it is created or replaced."""
    told = _object(body)
    name = _object(told.get("name") or {})
    parts = " ".join(_text(name.get(part)) for part in ("givenName", "familyName")).strip()
    shown = _text(told.get("displayName")) or _text(name.get("formatted")) or parts
    user_name = _text(told.get("userName"))
    if not user_name:
        raise _bad("A person has a userName.", "invalidValue")
    active = _truth(told["active"]) if "active" in told else True
    return User(user_name, _text(told.get("externalId")), shown, _email(told.get("emails")), active)


def group(body: object) -> Group:
    """A whole group, as it is created or replaced."""
    told = _object(body)
    name = _text(told.get("displayName"))
    if not name:
        raise _bad("A group has a displayName.", "invalidValue")
    return Group(name, _text(told.get("externalId")), _members(told.get("members") or []))


def patched_user(before: User, body: object) -> User:
    """A person after a PATCH. What is not kept here is passed over."""
    found = before
    for verb, path, value in _operations(body):
        for name, each in _spread(path, value):
            found = _user_with(found, name, None if verb == "remove" else each)
    return found


def patched_group(before: Group, body: object) -> Group:
    """A group after a PATCH."""
    found = before
    for verb, path, value in _operations(body):
        for name, each in _spread(path, value):
            found = _group_with(found, verb, name, each)
    return found


def _user_with(found: User, path: str, value: object) -> User:
    name = path.lower().removeprefix(f"{USER.lower()}:")
    if name == "active":
        if value is None:
            raise _bad("Whether a person is active cannot be taken away.", "mutability")
        return replace(found, active=_truth(value))
    if name == "username":
        if not _text(value):
            raise _bad("A person has a userName.", "invalidValue")
        return replace(found, user_name=_text(value))
    if name == "externalid":
        return replace(found, external_id=_text(value))
    if name in ("displayname", "name.formatted"):
        return replace(found, display_name=_text(value))
    if name == "emails":
        return replace(found, email=_email(value))
    if name.startswith("emails[") and name.endswith("].value"):
        return replace(found, email=_text(value))
    return found


def _group_with(found: Group, verb: str, path: str, value: object) -> Group:
    name = path.lower().removeprefix(f"{GROUP.lower()}:")
    if (one := _MEMBER.fullmatch(path)) is not None:
        if verb != "remove":
            raise _bad("A single member can only be taken out by its value.", "invalidPath")
        return replace(found, members=found.members - {one[1]})
    if name == "members":
        if verb == "remove":
            gone = _members(value) if value else found.members
            return replace(found, members=found.members - gone)
        named = _members(value)
        return replace(found, members=named if verb == "replace" else _bounded(found.members | named))
    if name == "displayname" and verb != "remove":
        if not _text(value):
            raise _bad("A group has a displayName.", "invalidValue")
        return replace(found, display_name=_text(value))
    if name == "externalid":
        return replace(found, external_id="" if verb == "remove" else _text(value))
    return found


def _operations(body: object) -> Sequence[tuple[str, str, object]]:
    told = _object(body)
    schemas, listed = told.get("schemas"), told.get("Operations", told.get("operations"))
    if not isinstance(schemas, list) or PATCH not in schemas or not isinstance(listed, list) or not listed:
        raise _bad("This is no PATCH of SCIM 2.0.", "invalidSyntax")
    if len(listed) > MOST_OPERATIONS:
        raise _bad(f"At most {MOST_OPERATIONS} operations at once.", "tooMany")
    found = list[tuple[str, str, object]]()
    for one in map(_object, listed):
        verb, path = str(one.get("op", "")).lower(), one.get("path", "")
        if verb not in ("add", "replace", "remove") or not isinstance(path, str) or (verb == "remove" and not path):
            raise _bad("An operation is add, replace or remove, and remove has a path.", "invalidSyntax")
        found.append((verb, path, one.get("value")))
    return found


def _spread(path: str, value: object) -> Sequence[tuple[str, object]]:
    """An operation without a path names its attributes in its value."""
    return [(path, value)] if path else list(_object(value).items())


def _members(value: object) -> frozenset[str]:
    listed = value if isinstance(value, list) else [value]
    named = [_object(one).get("value") for one in listed]
    if not all(isinstance(one, str) and 0 < len(one) <= 80 and one.isprintable() for one in named):
        raise _bad("A member is named by its id.", "invalidValue")
    return _bounded(frozenset(str(one) for one in named))


def _bounded(members: frozenset[str]) -> frozenset[str]:
    if len(members) > MOST_MEMBERS:
        raise _bad(f"A group has at most {MOST_MEMBERS} members here.", "tooMany")
    return members


def _email(value: object) -> str:
    listed = [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    first = next((one for one in listed if one.get("primary") in (True, "true", "True")), listed[0] if listed else {})
    return _text(first.get("value"))


def _truth(value: object) -> bool:
    """Entra ID writes truth values as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _bad("Whether a person is active is true or false.", "invalidValue")


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise _bad(f"A text has up to {_LONGEST} characters on one line.", "invalidValue")
    return value.strip()


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _bad("An object was expected.", "invalidSyntax")
    return value


def _bad(message: str, kind: str) -> Refusal:
    return Refusal(message, "Correct the request.", code="scim", scim_type=kind)
