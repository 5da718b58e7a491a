"""`client.changes`: propose, look, vote, start, go back, and wait for what others decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from backend.client import waiting
from backend.client.pages import MOST, Pages, every
from backend.client.results import AskedChange, Change, ChangeLine, Moment, Page, Preview, Remark
from backend.client.shapes import read
from backend.client.wire import Answer, Wire

Goal = Literal["checked", "decided", "live", "rolled_back"]


class Changes:
    """Changes on one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(
        self,
        *,
        state: Sequence[str] = (),
        environment: str = "",
        endpoint: str = "",
        model: str = "",
        text: str = "",
        requester: str = "",
        after: str | None = None,
        limit: int = 50,
    ) -> Page[ChangeLine]:
        """One page of changes, what needs somebody first."""
        narrow = {"state": list(state), "environment": environment, "endpoint": endpoint, "model": model, "text": text}
        narrow["requester"] = requester
        return Pages(self._wire, ChangeLine, "changes").page(after=after, limit=limit, **narrow)

    def list(self, **narrow: Any) -> Iterator[ChangeLine]:
        """Every change, page by page as they are needed."""
        return every(lambda after: self.page(after=after, **narrow))

    def queue(self, *, after: str | None = None, limit: int = 50) -> Page[ChangeLine]:
        """One page of those that whoever asks may vote on and has not voted on as they are."""
        return Pages(self._wire, ChangeLine, "changes", "waiting").page(after=after, limit=limit)

    def asked(self) -> tuple[AskedChange, ...]:
        """What is asked of whoever asks: votes, starts, looks at a rollout's step, and changes of its own that are stuck."""
        return tuple(Pages(self._wire, AskedChange, "changes", "asked").all(limit=MOST))

    def show(self, change: int | str) -> Change:
        """One change whole."""
        return _change(self._wire.get("changes", change))

    def timeline(self, change: int | str) -> tuple[Moment, ...]:
        """What happened to a change, the first first."""
        return tuple(Pages(self._wire, Moment, "changes", change, "timeline").all(limit=MOST))

    def preview(self, endpoint: str, version: int, **wishes: Any) -> Preview:
        """What a proposal would come to, without making it."""
        sent = {"endpoint": endpoint, "version": version, **_wishes(wishes)}
        return read(Preview, self._wire.send("POST", ("changes", "preview"), sent=sent, again=True).content)

    def propose(self, endpoint: str, version: int, *, title: str, reason: str, key: str | None = None, **wishes: Any) -> Change:
        """Proposes that an endpoint serves a registered version of its model.

        Args:
            key: of your own choice, e.g. the build's number: the same proposal again under it is the same change, for ever.
                Without one, a key of its own keeps a request whose answer was lost from making two.
            wishes: `share_percent`, `ramp` (steps of `share_percent`, `hold_seconds`, `min_units`, `statistics`, `person`,
                `shadow`, or the name of a ramp), `rest` (each `version` and `share_percent`), `bake_seconds`, `start_mode`,
                `start_at`, `supersede`, `shadow`, `experiment`, `unit_header`, `guardrails` (each `name`, `kind`, `margin` and
                what its kind needs), `same_age`.
        """
        sent = {"endpoint": endpoint, "version": version, "title": title, "reason": reason, **_wishes(wishes)}
        return _change(self._wire.send("POST", ("changes",), sent=sent, key=key or ""))

    def edit(self, change: int | str, *, if_match: str, **asked: Any) -> Change:
        """Changes what a change asks for: `version`, `title`, `reason` or a wish. Votes and checks are then void.

        Args:
            if_match: the `etag` of the change that was looked at; Conflict where it is not as it was.
        """
        return _change(self._wire.send("PATCH", ("changes", change), sent=_wishes(asked), if_match=if_match))

    def approve(self, change: int | str, plan_digest: str, base_digest: str, comment: str = "") -> Change:
        """Approves exactly what was looked at: both digests are of the change as it was shown."""
        return self._vote(change, "approve", plan_digest, base_digest, comment)

    def reject(self, change: int | str, plan_digest: str, base_digest: str, comment: str) -> Change:
        """Rejects it, which ends it."""
        return self._vote(change, "reject", plan_digest, base_digest, comment)

    def comment(self, change: int | str, text: str) -> Remark:
        """Adds a remark."""
        return read(Remark, self._wire.send("POST", ("changes", change, "comments"), sent={"text": text}, key="").content)

    def start(self, change: int | str) -> Change:
        """Starts what was approved."""
        return self._do(change, "start")

    def revoke(self, change: int | str, reason: str) -> Change:
        """Takes an approval back."""
        return self._do(change, "revoke", {"reason": reason})

    def roll_back(self, change: int | str, reason: str) -> Change:
        """Goes back to what ran before."""
        return self._do(change, "roll-back", {"reason": reason})

    def withdraw(self, change: int | str, reason: str) -> Change:
        """Takes a change back before it starts."""
        return self._do(change, "withdraw", {"reason": reason})

    def recheck(self, change: int | str) -> Change:
        """Runs every check again."""
        return self._do(change, "recheck")

    def rebase(self, change: int | str) -> Change:
        """Draws a suspended change anew on what is live now."""
        return self._do(change, "rebase", again=False)

    def wait(
        self,
        change: int | str,
        goal: Goal = "live",
        *,
        seconds: float,
        told: Callable[[str], None] | None = None,
        clock: waiting.Clock | None = None,
    ) -> waiting.Outcome:
        """Waits until a change is checked, decided or live, until that cannot come any more, or until the time is over.

        A connection that is lost on the way is no end: it is asked again for as long as there is time.

        Args:
            told: called with what is going on, in a few words, whenever that changes.
        """

        def look() -> waiting.Look:
            return waiting.judged(self.show(change), goal)

        return waiting.wait(look, seconds, told=told, clock=clock)

    def _vote(self, change: int | str, verdict: str, plan_digest: str, base_digest: str, comment: str) -> Change:
        sent = {"verdict": verdict, "plan_digest": plan_digest, "base_digest": base_digest, "comment": comment}
        return self._do(change, "votes", sent)

    def _do(self, change: int | str, verb: str, sent: Mapping[str, Any] | None = None, *, again: bool = True) -> Change:
        """`again`: the operation says that sending it again changes nothing."""
        return _change(self._wire.send("POST", ("changes", change, verb), sent=sent, again=again))


def _change(answer: Answer) -> Change:
    return replace(read(Change, answer.content), etag=answer.etag)


def _wishes(wishes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in wishes.items()}
