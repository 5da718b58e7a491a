"""Decisions of the registry room, pure: what may be registered, who wrote it, what an alias needs next, when to look again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from backend.core.errors import Refusal, StaleWrite
from backend.settings import Settings

Progress = Callable[[float, str], None]
"""Told a fraction from 0 to 1 and what is being done, in a few words."""

PickleRule = Literal["refuse", "flag"]
AliasNeed = Literal["nothing", "write", "note", "note_and_write"]

UPLOAD_TAG = "countersign.upload"
_OWNER_TAGS = ("countersign.owner", "owner")
_OWNER_LENGTH = 200
_SEARCH_LENGTH = 4096
_MODEL_NAME = re.compile(r"[^/:\x00-\x1f\x7f]{1,256}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 600.0
READ_SECONDS = 60.0
"""Seconds between two looks at the registry."""
LATE_LOOKS = 3.0
"""Looks that may be missed before what they told is called stale."""
SILENT_INTAKE = timedelta(seconds=30)
"""After so long without a sign of life, a version that was being taken in counts as interrupted."""
ARCHIVE_KEPT = timedelta(hours=24)
"""How long an archive is kept after it could not be sent, so that it need not be uploaded again."""
LONGEST_CARD = 100_000
LONGEST_SUMMARY = 500
PASS_SHARE = 10.0
"""Whole passes are at least so many times as long apart as one takes: at most a tenth of the registry's time is ours."""
FIGHT_DRIFTS = 3
FIGHT_WINDOW = timedelta(hours=1)


def quiet(fraction: float, words: str) -> None:
    """Progress that nobody watches."""


def nobody(number: int) -> None:
    """A number that nobody waits for."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what is taken in.

    Args:
        max_bytes: of one version's files together, unpacked.
        max_entries: files and folders of one version.
        max_ratio: unpacked bytes for each packed one, above `free_bytes`.
        free_bytes: unpacked size below which the ratio is nobody's business.
        pickles: what happens to a version with pickled code.
    """

    max_bytes: int = 2 << 30
    max_entries: int = 10_000
    max_ratio: int = 200
    free_bytes: int = 64 << 20
    pickles: PickleRule = "flag"

    def __post_init__(self) -> None:
        if self.pickles not in get_args(PickleRule):
            raise Refusal(
                f"{self.pickles!r} is not a rule for pickled code.",
                "Set COUNTERSIGN_ALLOW_PICKLE to `refuse` or `flag`.",
                code="bad-setting",
            )

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The bounds that an administrator set."""
        rule: PickleRule = settings.allow_pickle  # type: ignore[assignment]  # checked at once, above
        return cls(settings.upload_max_bytes, settings.upload_max_entries, pickles=rule)


def no_registry() -> Refusal:
    """Nothing can be asked where no registry is configured."""
    return Refusal("No model registry is configured.", "Set COUNTERSIGN_MLFLOW_URL to your MLflow server.", code="no-registry")


def check_model_name(name: str) -> str:
    """The name, if MLflow and every page can carry it."""
    if not _MODEL_NAME.fullmatch(name) or name != name.strip():
        raise Refusal(
            f"{name[:80]!a} cannot be the name of a model.",
            "Use up to 256 characters without `/`, `:`, control characters and outer blanks.",
            code="bad-name",
        )
    return name


def alias_name(pattern: str, environment: str) -> str:
    """The alias that an environment's champion carries, by the pattern from settings."""
    alias = pattern.replace("{environment}", environment)
    if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise Refusal(
            f"{alias[:80]!a} cannot be an alias in MLflow.",
            "Set COUNTERSIGN_PRODUCTION_ALIAS to letters, digits, `-`, `_` and `{environment}`.",
            code="bad-setting",
        )
    return alias


def is_registered_already(model: str, number: int, registered: str | None, found: str) -> bool:
    """Whether these very bytes were registered before. Refusal `digest-mismatch` when other bytes were."""
    if registered is None:
        return False
    if registered != found:
        raise digest_mismatch(model, number, registered, found)
    return True


def digest_mismatch(model: str, number: int, expected: str, found: str) -> Refusal:
    """The files are not those that were expected."""
    return Refusal(
        f"The files of version {number} of {model} are not those that it stands for: {expected} was expected, {found} found.",
        "Log the changed files as a new version and register that; find out who changed this one.",
        code="digest-mismatch",
        expected=expected,
        found=found,
    )


def check_pickles(rule: PickleRule, pickled: Sequence[str]) -> None:
    """Refusal `pickled-code` where settings do not take it."""
    if pickled and rule == "refuse":
        raise Refusal(
            f"{pickled[0]} holds pickled code, which runs when it is loaded ({len(pickled)} file(s)).",
            "Export the model to ONNX, or ask an administrator about COUNTERSIGN_ALLOW_PICKLE.",
            code="pickled-code",
            files=list(pickled[:20]),
        )


@dataclass(frozen=True)
class Handed:
    """What the row of an upload says: who handed in which bytes for which model."""

    model: str
    artifact_digest: str
    identity_id: str


def verified_author(upload: Handed | None, model: str, digest: str) -> str | None:
    """The identity that handed in these very bytes for this model by our own sign-in, else None: a tag alone is a claim."""
    same = upload is not None and (upload.model, upload.artifact_digest) == (model, digest)
    return upload.identity_id if upload is not None and same else None


def owner_of(tags: Mapping[str, str]) -> str:
    """Who owns a model, by its tags; a claim like all tags."""
    return next((tags[key][:_OWNER_LENGTH] for key in _OWNER_TAGS if tags.get(key)), "")


def search_text(name: str, description: str, tags: Mapping[str, str]) -> str:
    """What a search looks through: `key=value` finds a tag."""
    pairs = " ".join(f"{key}={value}" for key, value in sorted(tags.items()))
    return f"{name} {pairs} {description}".casefold()[:_SEARCH_LENGTH]


@dataclass(frozen=True)
class Wish:
    """An alias that is looked after, as its row has it."""

    wanted: int | None
    since: datetime
    written_at: datetime | None
    seen: int | None

    @property
    def pending(self) -> bool:
        """Whether it was never written and read back."""
        return self.written_at is None


def alias_need(wish: Wish, there: int | None, *, put_back: bool) -> AliasNeed:
    """What has to be done about an alias that points `there` now.

    `note`: it moved since that was last recorded. A wish that was fulfilled by taking the alias away is nobody's business
    any more.
    """
    if wish.pending:
        return "write"
    if wish.wanted is None:
        return "nothing"
    moved, astray = there != wish.seen, there != wish.wanted
    if moved:
        return "note_and_write" if astray and put_back else "note"
    return "write" if astray and put_back else "nothing"


def may_put_back(put_back: bool, drifts: int) -> bool:
    """Whether an alias is put back again, after so many drifts in FIGHT_WINDOW: not for ever against another automaton."""
    return put_back and drifts <= FIGHT_DRIFTS


def retry_after(failures: int) -> timedelta:
    """How long to leave a failing registry alone: doubling, to ten minutes."""
    return timedelta(seconds=min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures, 10)))


def is_whole_pass_due(completed_at: datetime, took: float, now: datetime, *, interval: float) -> bool:
    """Whether everything is to be looked at again, after a pass that took so long (seconds, as the interval)."""
    return now - completed_at >= timedelta(seconds=max(interval, took * PASS_SHARE))


def is_mirror_stale(read_at: datetime | None, took: float, now: datetime, *, interval: float = READ_SECONDS) -> bool:
    """Whether the registry was not read for so long that the lists may be wrong. A pass may take its time (seconds)."""
    return read_at is None or now - read_at > timedelta(seconds=interval * LATE_LOOKS + took)


def check_card(text: str, summary: str) -> None:
    """Refusal for a card that says nothing, or more than a page can show."""
    if not text.strip():
        raise Refusal("A model card needs words.", "Write what the model is for and where it fails.", code="empty-card")
    for what, length, most in (("card", len(text), LONGEST_CARD), ("summary", len(summary), LONGEST_SUMMARY)):
        if length > most:
            raise Refusal(
                f"The {what} has {length:,} characters; {most:,} are taken.",
                "Shorten it, or link to a longer document.",
                code="too-long",
            )


def check_revision(model: str, current: int, seen: int) -> None:
    """StaleWrite unless the writer looked at the card as it is."""
    if seen != current:
        raise StaleWrite("card of", model)


TRIED_AGAIN = "tried-again"
"""The code of an intake that failed or was interrupted, once another try has taken its place."""


def is_interrupted(beat_at: datetime, now: datetime) -> bool:
    """Whether whoever took a version in has been silent for so long that its process must have ended."""
    return now - beat_at > SILENT_INTAKE


def kept_of(kind: str, state: str, number: int | None) -> str:
    """What there is of a version that did not come through."""
    if state in ("running", "done"):
        return ""
    if number is not None:
        return f"MLflow has version {number}; nothing was written about it here."
    if kind == "upload" and state == "refused":
        return "Nothing reached MLflow, and the archive was removed."
    hours = round(ARCHIVE_KEPT.total_seconds() / 3600)
    return f"MLflow has no new version of it. The archive is kept here for {hours} hours."
