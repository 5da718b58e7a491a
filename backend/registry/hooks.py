"""Webhooks of the registry, taken as hints: a model is looked at sooner, and nothing of what was sent is believed.

As MLflow 3.17 signs them (mlflow/webhooks/delivery.py): `X-MLflow-Signature` is `v1,` and the base64 of HMAC-SHA256, with the
webhook's secret, over `X-MLflow-Delivery-Id`.`X-MLflow-Timestamp`.body. MLflow sends each event a few times at most and keeps
none, so that the mirror's own passes stay what finds every change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa
from pydantic import SecretStr
from sqlmodel import Field, col

from backend.core import work
from backend.core.canonical import loads
from backend.core.columns import Row, utc
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.registry.mirror import KIND

SIGNATURE, TIMESTAMP, DELIVERY = "x-mlflow-signature", "x-mlflow-timestamp", "x-mlflow-delivery-id"
TOLERANCE = timedelta(minutes=5)
"""How far the sender's clock may be off; for so long, and as long again, a delivery's id is remembered."""
SHORTEST_SECRET = 16

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SECONDS = re.compile(r"[0-9]{1,11}")
_MODELS = ("registered_model", "model_version", "model_version_tag", "model_version_alias")
_LONGEST_NAME = 256


class HookSeen(Row, table=True):
    """That a delivery was taken, so that it is not taken again. Forgotten once its timestamp would be refused anyway."""

    __tablename__ = "registry_hook"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_column=utc(index=True))


class Hooks:
    """What the registry's server may send.

    Args:
        secret: what its webhooks are signed with; None where none was set: nothing is taken then.
    """

    def __init__(self, database: Database, secret: SecretStr | None) -> None:
        self._database = database
        self._secret = secret

    def take(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Makes the model that an event names due to be looked at, and returns its name; None for an event of no model.

        The signature is judged before the body is read and before the database is touched. Refusal codes: bad-signature,
        bad-json.
        """
        delivery, sent_at = self._judge(headers, body)
        name = _model_of(loads(body))
        with self._database.unit(SYSTEM) as tx:
            if abs(tx.now - sent_at) > TOLERANCE:
                raise _refused("It is too old, or a clock is wrong.")
            tx.session.connection().execute(sa.delete(HookSeen).where(col(HookSeen.at) < tx.now - 2 * TOLERANCE))
            if tx.session.get(HookSeen, delivery) is not None:
                raise _refused("It was taken already.")
            tx.add(HookSeen(id=delivery, at=tx.now))
            if name is not None:
                tx.session.flush()
                work.wake(tx, KIND, name)
        return name

    def _judge(self, headers: Mapping[str, str], body: bytes) -> tuple[str, datetime]:
        delivery, timestamp = headers.get(DELIVERY, ""), headers.get(TIMESTAMP, "")
        secret = self._secret.get_secret_value() if self._secret is not None else ""
        if len(secret) < SHORTEST_SECRET or not _ID.fullmatch(delivery) or not _SECONDS.fullmatch(timestamp):
            raise _refused("It is not signed for this installation.")
        wanted = sign(secret, delivery, timestamp, body)
        if not hmac.compare_digest(wanted.encode(), headers.get(SIGNATURE, "").encode()):
            raise _refused("It is not signed for this installation.")
        return delivery, datetime.fromtimestamp(int(timestamp), UTC)


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature that MLflow sends with a body."""
    content = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha256).digest()).decode()


def _model_of(told: Any) -> str | None:
    """The model that an event is about. Prompts are none, although MLflow keeps them in the same place."""
    if not isinstance(told, dict) or told.get("entity") not in _MODELS or not isinstance(told.get("data"), dict):
        return None
    name = told["data"].get("name")
    return name if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and "\x00" not in name else None


def _refused(why: str) -> Refusal:
    return Refusal(
        f"This webhook is not taken. {why}",
        "Give the webhook in MLflow the secret of COUNTERSIGN_MLFLOW_WEBHOOK_SECRET.",
        code="bad-signature",
    )
