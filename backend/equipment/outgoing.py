"""The ways out of one process: the guard of what it calls, the narrower one of people's messages, and how messages leave."""

from __future__ import annotations

from sqlalchemy.engine import make_url

from backend.access.sign_in_file import SignIn
from backend.core.database import Database
from backend.core.outbound import Guard, Origin
from backend.delivery.origins import of_urls, registered
from backend.equipment import keys
from backend.notify.courier import Sending
from backend.settings import Settings

_POSTGRESQL = 5432


def guard(settings: Settings) -> Guard:
    """What every call goes through that no message is."""
    return Guard(settings.allowed_networks.split(","), ports=settings.allowed_ports)


def message_guard(settings: Settings, database: Database, sign_in: SignIn | None) -> Guard:
    """Where messages on routes go: anybody names their addresses, so that they reach none of the servers' networks by that,
    and nothing at which a server, a router or Countersign itself is.
    """
    at = make_url(settings.sqlalchemy_url)
    metrics = f"http://127.0.0.1:{settings.metrics_port}" if settings.metrics_port else None
    own = [settings.mlflow_url, settings.public_url, sign_in.origin if sign_in is not None else None, metrics]
    named = [*of_urls(own), *([(at.host, at.port or _POSTGRESQL)] if at.host else [])]

    def closed() -> list[Origin]:
        with database.read() as session:
            return [*named, *registered(session)]

    networks = settings.message_networks.split(",")
    return Guard(networks, ports=settings.allowed_ports, setting="COUNTERSIGN_MESSAGE_NETWORKS", closed=closed)


def sending(settings: Settings, messages: Guard, sign_in: SignIn | None) -> Sending:
    """How messages leave, and under which address their links are.

    Args:
        messages: the guard of people's routes; mail goes where the servers' networks are as well.
    """
    seen = settings.public_url.rstrip("/") or (f"{sign_in.origin}{sign_in.base_path}" if sign_in is not None else "")
    mail = settings.mail_url.get_secret_value() if settings.mail_url is not None else ""
    named = f"{settings.allowed_networks},{settings.message_networks}".split(",")
    return Sending(messages, Guard(named, ports=settings.allowed_ports), keys.opener(settings), mail, seen)
