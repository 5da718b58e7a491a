"""Which of Apprise's services may be used, and what of their addresses. Everything else is refused by name.

Let in is what speaks HTTP or SMTP to another machine and needs nothing of this one. Left out are those that act on this
machine (D-Bus, desktops, syslog, hardware), run somebody's code, speak protocols past the guard (MQTT, IRC, SMPP, raw UDP), or
post to any address in any form (`json://`, `xml://`, `form://`): a signed webhook is for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from backend.core.errors import Refusal

MAIL = frozenset({"mailto", "mailtos"})
"""Schemes that speak to a mail server."""
SERVICES: Mapping[str, tuple[str, str]] = {
    "mailto": ("email.base", "NotifyEmail"),
    "mailtos": ("email.base", "NotifyEmail"),
    "slack": ("slack", "NotifySlack"),
    "workflows": ("workflows", "NotifyWorkflows"),
    "discord": ("discord", "NotifyDiscord"),
    "mmost": ("mattermost", "NotifyMattermost"),
    "mmosts": ("mattermost", "NotifyMattermost"),
    "rocket": ("rocketchat", "NotifyRocketChat"),
    "rockets": ("rocketchat", "NotifyRocketChat"),
    "gchat": ("google_chat", "NotifyGoogleChat"),
    "wxteams": ("webexteams", "NotifyWebexTeams"),
    "tgram": ("telegram", "NotifyTelegram"),
    "ntfy": ("ntfy", "NotifyNtfy"),
    "ntfys": ("ntfy", "NotifyNtfy"),
    "gotify": ("gotify", "NotifyGotify"),
    "gotifys": ("gotify", "NotifyGotify"),
    "pagerduty": ("pagerduty", "NotifyPagerDuty"),
    "opsgenie": ("opsgenie", "NotifyOpsgenie"),
    "pover": ("pushover", "NotifyPushover"),
    "splunk": ("splunk", "NotifySplunk"),
    "ryver": ("ryver", "NotifyRyver"),
}
"""Scheme -> the module below `apprise.plugins` and its class."""
NAMES_ITS_HOST = ("mailto", "mailtos", "mmost", "mmosts", "rocket", "rockets", "ntfy", "ntfys", "gotify", "gotifys")
"""Services whose address begins with a host; in those of the others a token stands there."""
_OWN = frozenset(
    {"template", "verify", "attach", "attachment", "pgp", "pgpkey", "keyfile", "retry", "wait", "cto", "rto", "redirect",
     "format", "overflow", "emojis", "interpret"}
)  # fmt: skip
"""Options of an address that read files, weaken TLS, follow redirects, or are set here."""
MAX_ADDRESS = 2_000


def check(address: str) -> str:
    """The scheme of an address that may be used. Refusal."""
    scheme = address.partition("://")[0].lower()
    if "://" not in address or len(address) > MAX_ADDRESS or not address.isprintable():
        raise Refusal(
            "This is not an address in Apprise's form.",
            "Write it as its documentation has it, such as slack://TOKEN_A/TOKEN_B/TOKEN_C/#channel.",
            code="bad-address",
        )
    if scheme not in SERVICES:
        raise Refusal(
            f"{scheme[:40]!r} is not a service that messages are sent to.",
            f"Use one of {', '.join(SERVICES)}, or a webhook.",
            code="bad-address",
        )
    if found := sorted(_options(address) & _OWN):
        raise Refusal(f"The option {found[0]} is not open here.", "Leave it out of the address.", code="bad-address")
    return scheme


def _options(address: str) -> set[str]:
    """Names of options however Apprise may come to read them: after any `?`, between `&` or `;`, beyond a `#`, quoted twice."""
    parts = re.split(r"[?&;#]", address.partition("?")[2])
    names = [part.partition("=")[0].replace("+", " ") for part in parts]
    return {one.strip().lower() for name in names for one in (name, unquote(name), unquote(unquote(name)))}
