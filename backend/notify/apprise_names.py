"""Which of Apprise's services may be used, and what of their addresses. Everything else is refused by name.

Let in is what speaks HTTP or SMTP to another machine and needs nothing of this one. Left out are those that act on this
machine (D-Bus, desktops, syslog, hardware), run somebody's code, speak protocols past the guard (MQTT, IRC, SMPP, raw UDP), or
post to any address in any form (`json://`, `xml://`, `form://`): a signed webhook is for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

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
_NAMES_ITS_HOST = frozenset(
    {"mailto", "mailtos", "mmost", "mmosts", "rocket", "rockets", "ntfy", "ntfys", "gotify", "gotifys", "workflows"}
)
"""Services whose address begins with a host; in those of the others a token stands there."""
_HOST = re.compile(r"(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+\.?|[0-9A-Fa-f:.]+")
_ROCKET = re.compile(r"(?:[^:/]+:)?[A-Za-z0-9]+(?:/|%2F)[A-Za-z0-9]+@", re.IGNORECASE)
"""A webhook of Rocket.Chat, which may stand before the host."""
_TLS = frozenset({"ssl", "starttls"})
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
    if scheme in MAIL and any(value not in _TLS for name, value in _pairs(address) if "mode" in _readings(name)):
        raise Refusal(
            "The option mode is open for ssl and starttls alone: the password would go unencrypted.",
            "Write mode=starttls or mode=ssl, or leave it out.",
            code="bad-address",
        )
    return scheme


def host_of(address: str) -> tuple[str, int] | None:
    """Host and port that an address is certain to name; None where what stands there may be a token.

    A topic of ntfy is its password, and Apprise takes what stands in the host's place for one unless a topic follows. Of what
    could be either, and of all that is written unusually, nothing is said: where it is connected to is judged all the same.
    """
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    if scheme not in _NAMES_ITS_HOST:
        return None
    if scheme.startswith("rocket"):
        rest = _ROCKET.sub("", rest, count=1) if _ROCKET.match(rest) else rest
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname or "", parts.port or _port(scheme)
    except ValueError:
        return None
    if "@" in parts.path and "@" not in parts.netloc:
        return None
    if scheme in MAIL:
        host = next((value for name, value in reversed(_pairs(address)) if name == "smtp" and value), host)
    if scheme.startswith("ntfy") and not _is_private(address, host, parts.path):
        return None
    return (host, port) if _HOST.fullmatch(host) else None


def _is_private(address: str, host: str, path: str) -> bool:
    modes = [value for name, value in _pairs(address) if "mode" in _readings(name)]
    if modes:
        return set(modes) == {"private"}
    return bool(path.strip("/")) and ("." in host or ":" in host or host == "localhost")


def _port(scheme: str) -> int:
    if scheme in MAIL:
        return 587 if scheme.endswith("s") else 25
    return 443 if scheme.endswith("s") else 80


def _options(address: str) -> set[str]:
    """Names of options however Apprise may come to read them."""
    return {one for name, _ in _pairs(address) for one in _readings(name)}


def _pairs(address: str) -> list[tuple[str, str]]:
    """Options as they are written: after any `?`, between `&` or `;`, beyond a `#`."""
    parts = re.split(r"[?&;#]", address.partition("?")[2])
    return [(name, value) for name, _, value in (part.partition("=") for part in parts)]


def _readings(name: str) -> set[str]:
    """What a name may be read as: quoted once, or twice."""
    name = name.replace("+", " ")
    return {one.strip().lower() for one in (name, unquote(name), unquote(unquote(name)))}
