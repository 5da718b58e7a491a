"""What a message says: a line and a few sentences for people, one JSON object for programs. Nothing of a change but its names.

Reasons, comments and plans stay inside: whoever is told opens the page, and signs in there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from backend.core.canonical import canonical
from backend.notify.port import About
from backend.notify.rules import EVENTS, harmless

SUBSCRIBED = "You hear of this because you, your team or an administrator asked for it."


@dataclass(frozen=True)
class Letter:
    """Everything that is told.

    Args:
        count: how often it happened, counted together.
        actor: who did it, by name; "" where it was nobody in particular.
        public_url: under which address people see this; "" where nobody said it: there are no links then.
        token: of the link that opens once; "" for none.
        token_until: until when.
    """

    message_id: str
    event: str
    about: About
    at: datetime
    seq: int
    subject: tuple[str, str]
    state: str | None
    count: int
    actor: str
    public_url: str
    token: str = ""
    token_until: datetime | None = None

    @property
    def title(self) -> str:
        """The subject of a mail: ours, but for names."""
        where = f" in {harmless(self.about.environment, 60)}" if self.about.environment else ""
        place = harmless(self.about.endpoint or self.about.model or self.about.server or "", 80)
        what = f"{harmless(self.about.label, 100)}: {place}{where}" if place else f"{harmless(self.about.label, 100)}{where}"
        return f"Countersign: {self._says()} ({what})"

    @property
    def text(self) -> str:
        """The sentences. Plain text; no line of it is markup in any receiver's language."""
        about_finding = self.about.finding is not None
        lines = [f"{self._says()}."]
        lines += [f"What: {harmless(self.about.label, 100)}"]
        lines += [f"{name}: {harmless(value)}" for name, value in self._places() if value]
        if self.about.title:
            lines += [
                f"{'It says' if about_finding else 'Its title'}: {harmless(self.about.title, 300 if about_finding else 120)}"
            ]
        if self.actor:
            lines += [f"By: {harmless(self.actor, 80)}"]
        lines += [f"At: {self.at:%Y-%m-%d %H:%M} UTC"]
        if self.count > 1 and about_finding:
            lines += [f"{self.count} findings there were counted together; this is one of them."]
        elif self.count > 1:
            lines += [f"It happened {self.count} times; this was the latest."]
        if self.event == "change.waiting" and self.about.until is not None:
            lines += [f"It expires at {self.about.until:%Y-%m-%d %H:%M} UTC unless it is decided."]
        return "\n".join([*lines, "", *self._links(), *self._why()]).rstrip() + "\n"

    @property
    def body(self) -> bytes:
        """The body of a webhook."""
        about = self.about
        data: dict[str, Any] = {
            "id": self.message_id,
            "says": self._says(),
            "seq": self.seq,
            "count": self.count,
            "subject": {"kind": self.subject[0], "id": self.subject[1]},
            "state": self.state,
            "environment": about.environment,
            "model": about.model,
            "endpoint": about.endpoint,
            "change": about.number,
            "title": about.title or None,
            "by": self.actor or None,
            "url": self.plain_url or None,
        }
        if about.finding is not None:
            data |= {"finding": about.finding, "severity": about.severity}
        return canonical({"type": self.event, "timestamp": self.at.isoformat(), "data": data})

    @property
    def plain_url(self) -> str:
        """The page, for whoever signs in."""
        if not self.public_url or not self.about.page:
            return ""
        query = f"?{urlencode([self.about.query])}" if self.about.query else ""
        return f"{self.public_url}/{quote(self.about.page)}{query}"

    def _says(self) -> str:
        return EVENTS[self.event].says if self.event in EVENTS else "Something happened"

    def _places(self) -> list[tuple[str, str]]:
        about = self.about
        found = [("Endpoint", about.endpoint), ("Environment", about.environment), ("Model", about.model)]
        return [(name, value or "") for name, value in [*found, ("Server", about.server)]]

    def _links(self) -> list[str]:
        if not self.plain_url:
            return ["Open Countersign to see it."]
        if not self.token or self.token_until is None:
            return [f"Open it: {self.plain_url}"]
        return [
            f"Open it: {self.public_url}/open?{urlencode({'link': self.token})}",
            f"This link is for you, opens it once, until {self.token_until:%Y-%m-%d %H:%M} UTC, and asks you to sign in.",
            f"At any time: {self.plain_url}",
        ]

    def _why(self) -> list[str]:
        if not self.public_url:
            return []
        return ["", f"What you hear of, and when: {self.public_url}/notifications"]
