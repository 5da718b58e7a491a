"""The ledger in words: who did what to what, field by field, and as a file. Pure but for `read` and `everything`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from app import wiring
from app.kit import export, subjects, times
from app.kit.addresses import number_in
from app.kit.components import Told
from app.kit.plain import escape
from app.kit.states import badge
from backend.access import queries as access
from backend.access.checks import require_to_read
from backend.audit.queries import Event, events
from backend.core.context import SYSTEM, Actor
from backend.core.errors import NotFound, Refusal

PAGE = 50
SUBJECT = r"^(|[^/]+/.+)$"
"""What the filter of the subject takes: `kind/id`."""
MOST_EXPORTED = 200_000
_STEP = 1_000
_WORD = 40
_PAST = {
    "add": "added", "remove": "removed", "rotate": "changed the secret of", "test": "tested", "replay": "sent again on",
    "stop": "stopped", "break": "found a break in",
    "set": "set", "lift": "lifted", "create": "created", "save": "saved", "grant": "granted", "take_back": "took back",
    "deactivate": "deactivated", "set_policy": "set the policy of", "approve": "approved", "reject": "rejected",
    "propose": "proposed", "edit": "edited", "withdraw": "withdrew", "comment": "commented on", "start": "started",
    "revoke": "revoked", "roll_back": "rolled back", "pause": "paused", "resume": "resumed", "abort": "aborted",
    "ask": "asked for", "confirm": "confirmed", "refuse": "refused", "rename": "renamed", "retire": "retired",
    "add_member": "added somebody to", "remove_member": "removed somebody from", "bootstrap": "began with",
    "sign_out": "signed out", "end": "ended", "open": "opened", "make": "made", "destroy": "destroyed", "replace": "replaced",
    "submit": "submitted", "vote": "voted on", "void_votes": "voided the votes of", "ask_start": "asked to start",
    "hand_over": "handed over", "activate": "activated", "describe": "described", "upload": "uploaded", "write": "wrote",
    "read": "read", "prove": "proved", "link": "linked", "delete": "deleted", "change": "changed", "wait": "still waits for",
    "let_on": "let on", "skip_to": "asked to skip steps of", "skip": "skipped steps of",
    "sign_off": "signed off", "register": "registered", "admit": "admitted", "observe": "observed",
}  # fmt: skip
_ASKED = {
    "role.grant": "a role", "policy.set": "a weaker policy", "owner.set": "another owner", "binding.make": "a binding",
    "identity.hand_over": "a hand-over", "group_mapping.make": "a role of a group",
}  # fmt: skip
"""What takes two people, in a few words: the id of a request says nothing."""
_EXPORTED = ("row", "time", "identity", "name", "action", "subject_kind", "subject_id", "before", "after", "hash")


@dataclass(frozen=True)
class Wanted:
    """What a reader asks the ledger for; "" and None leave a filter out.

    Args:
        subject: `kind/id`.
        until: the ledger as of this moment.
    """

    actor_id: str = ""
    action: str = ""
    subject: str = ""
    until: datetime | None = None


def read(session: Session, wanted: Wanted, *, before: int | None = None, limit: int = PAGE) -> list[Event]:
    """Rows, newest first, from before a row number on."""
    return events(
        session,
        subject=_pair(wanted.subject.strip()),
        action=wanted.action.strip() or None,
        actor_id=wanted.actor_id or None,
        until=wanted.until,
        before_seq=before,
        limit=limit,
    )


def _pair(subject: str) -> tuple[str, str] | None:
    kind, _, identifier = subject.partition("/")
    if subject and not (kind and identifier):
        raise Refusal(
            f"{subject[:60]!r} is not a subject.", "Write a kind and an id, like environment/production.", code="bad-subject"
        )
    return (kind, identifier) if subject else None


def one_row(session: Session, number: str) -> Event:
    """The row of that number. NotFound for anything else."""
    wanted = row_number(number)
    found = events(session, before_seq=wanted + 1, limit=1) if wanted is not None else []
    if not found or found[0].seq != wanted:
        raise NotFound("ledger row", number[:40], "Open it from the Audit page.")
    return found[0]


def whole(event: Event) -> dict[str, str]:
    """What the table shows cut, whole, to be copied: the row's hash, which signs for everything up to it, and long facts."""
    sides = (("before", event.before), ("after", event.after))
    long = {f"{name} {side}": _plain(value) for side, facts in sides for name, value in (facts or {}).items()}
    return {f"Hash of row {event.seq}": event.hash} | {name: value for name, value in long.items() if _cut(value) != value}


@dataclass(frozen=True)
class Page:
    """One page of rows; `following` is what the next one comes after, None on the last."""

    rows: list[Event]
    following: str | None


def page(session: Session, wanted: Wanted, after: str) -> Page:
    """Fifty rows, newest first, from the place that an address names on ("" is the beginning)."""
    found = read(session, wanted, before=row_number(after), limit=PAGE + 1)
    return Page(found[:PAGE], str(found[PAGE - 1].seq) if len(found) > PAGE else None)


def everything(session: Session, wanted: Wanted) -> Iterator[Event]:
    """Every row that is asked for, a thousand at a time, in the session's one snapshot; at most 200,000."""
    before: int | None = None
    for _ in range(MOST_EXPORTED // _STEP):
        page = read(session, wanted, before=before, limit=_STEP)
        yield from page
        if len(page) < _STEP:
            return
        before = page[-1].seq


def names_of(session: Session, found: Iterable[Event], now: datetime) -> dict[str, str]:
    """Id -> the name that pages show, for everybody and every subject in these rows. The ledger itself holds no name."""
    rows = list(found)
    ids = {each for one in rows for each in (one.actor_id, *_identities(one))}
    people = access.some_people(session, ids, now=now)
    return {SYSTEM.id: SYSTEM.name} | subjects.names(session, rows) | {key: one.name for key, one in people.items()}


def record(event: Event, names: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """A row of the data table: plain text."""
    return {
        "Row": event.seq,
        "Time (UTC)": event.at,
        "Age": times.age(event.at, now),
        "Who": names.get(event.actor_id, event.actor_id),
        "Action": event.action,
        "Subject": f"{event.subject_kind}/{event.subject_id}",
        "What": _summary(event, names),
    }


def told(event: Event, names: Mapping[str, str]) -> Told:
    """A line of a feed."""
    noun, _, verb = event.action.partition(".")
    doing = _PAST.get(verb, verb.replace("_", " "))
    of_what = f"{noun.replace('_', ' ')} {_subject(event, names)}"
    if noun == "request":
        of_what = _ASKED.get(_facts(event).get("kind", ""), of_what)
    what = f"{escape(doing)} {escape(of_what, 100)}"
    return Told(
        times.short(event.at), f"{what} :gray[·\u00a0row\u00a0{event.seq:,}]", escape(names.get(event.actor_id, event.actor_id))
    )


def facts(event: Event) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """What a row says as a table: (rows, header). Field by field before and after, or plainly where there was no before."""
    if event.before:
        return _differences(event), ("Field", "Change", "Before", "After")
    after = event.after or {}
    return [(escape(name), _cell(after, name)) for name in sorted(after)], ("Field", "Value")


def _differences(event: Event) -> list[tuple[str, ...]]:
    before, after = event.before or {}, event.after or {}
    order = {"changed": 0, "added": 1, "removed": 2, "unchanged": 3}
    found = [(_change(name, before, after), name) for name in sorted({*before, *after})]
    found.sort(key=lambda one: order[one[0]])
    return [(escape(name), badge("difference", change), _cell(before, name), _cell(after, name)) for change, name in found]


def row_number(text: str) -> int | None:
    """A row number from an address; None for anything else."""
    return number_in(text)


def exporter(actor: Actor, wanted: Wanted) -> Callable[[], bytes]:
    """What makes the file when the button is clicked: it asks then whether this actor may, and reads one snapshot."""

    def make() -> bytes:
        with wiring.reading(actor) as look:
            require_to_read(look.session, actor, "audit.export", now=look.now)
            found = list(everything(look.session, wanted))
            return as_csv(found, names_of(look.session, found, look.now))

    return make


def as_csv(found: Iterable[Event], names: Mapping[str, str]) -> bytes:
    """The rows as a file, with everything that they hold."""
    rows: Iterable[Sequence[Any]] = (
        (one.seq, one.at, one.actor_id, names.get(one.actor_id, ""), one.action, one.subject_kind, one.subject_id, one.before,
         one.after, one.hash)
        for one in found
    )  # fmt: skip
    return export.to_csv(_EXPORTED, rows)


def counted(shown: Page) -> str:
    """The result count in words. Row numbers have no gaps, so they say where this page lies."""
    found = shown.rows
    span = f"row {found[0].seq:,}" if len(found) == 1 else f"rows {found[0].seq:,} to {found[-1].seq:,}"
    return f"{len(found)} shown, {span}; {'older ones follow' if shown.following else 'no older ones'}"


def _facts(event: Event) -> dict[str, Any]:
    return {**(event.before or {}), **(event.after or {})}


def _identities(event: Event) -> list[str]:
    """Ids of identities that a row speaks of besides whoever acted."""
    about = [event.subject_id] if event.subject_kind == "identity" else []
    return about + [one for one in _facts(event).values() if isinstance(one, str) and one.startswith("idn_")]


def _subject(event: Event, names: Mapping[str, str]) -> str:
    """Words where there are some; a generated id says little in prose."""
    facts = _facts(event)
    if "role" in facts and "identity_id" in facts:
        person = names.get(facts["identity_id"], str(facts["identity_id"]))
        return f"{facts['role']}: {person}, {_scope(facts.get('scope'))}"
    if "scope" in facts:
        return _scope(facts["scope"])
    return names.get(event.subject_id, str(facts.get("name") or event.subject_id))


def _scope(scope: object) -> str:
    return "everywhere" if scope in (None, "*") else str(scope)


def _summary(event: Event, names: Mapping[str, str]) -> str:
    before, after = event.before or {}, event.after or {}
    changed = [name for name in sorted({*before, *after}, key=_weight) if before.get(name) != after.get(name)]
    parts = (
        f"{name}: {_named(before[name], names)} → {_named(after.get(name), names)}"
        if name in before and name in after
        else f"{name}: {_named(after[name] if name in after else before[name], names)}"
        for name in changed
    )
    return ", ".join(parts)[:300]


def _weight(name: str) -> tuple[bool, str]:
    """Digests and ids say least, so they come last."""
    return name.endswith(("digest", "_id", "hash")), name


def _named(value: Any, names: Mapping[str, str]) -> str:
    shown = _plain(value)
    return names.get(shown, f"{shown[7:15]}…" if shown.startswith("sha256:") else shown)


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if name not in before:
        return "added"
    if name not in after:
        return "removed"
    return "unchanged" if before[name] == after[name] else "changed"


def _cell(facts: Mapping[str, Any], name: str) -> str:
    return escape(_cut(_plain(facts[name])), 1000) if name in facts else ":gray[none]"


def _cut(value: str) -> str:
    """Cuts words that no line could hold: a table would scroll sideways, out of a keyboard's reach."""
    return " ".join(word if len(word) <= _WORD else f"{word[: _WORD - 5]}…{word[-4:]}" for word in value[:900].split(" "))


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
