"""Signed webhooks, in the form that Standard Webhooks 1.0.0 describes (github.com/standard-webhooks/standard-webhooks, spec).

Three headers: `webhook-id` (the message's own, the same in every try), `webhook-timestamp` (seconds, of this try) and
`webhook-signature`: for each secret in force `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

import httpx

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, bounds
from backend.notify.answers import Answer, of_status

PREFIX = "whsec_"
TIMEOUT_SECONDS, MOST_SECONDS, MOST_ANSWERED = 10.0, 15.0, 1 << 20
_BYTES = 32


def new_secret() -> str:
    """A secret as people are shown it, once: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,...` of one secret over one try of a message."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise Refusal("This is no signing secret.", "Make a new one for the route.", code="bad-secret") from error
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def headers(secrets_in_force: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Everything that goes with a body; several secrets give several signatures, so that a secret can be changed in peace."""
    signed = " ".join(signature(one, message_id, timestamp, body) for one in secrets_in_force)
    return {
        "content-type": "application/json",
        "user-agent": "Countersign",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signed,
    }


def send(
    guard: Guard, address: str, secrets_in_force: Sequence[str], *, message_id: str, timestamp: int, body: bytes
) -> Answer:
    """One try, through the guard: resolved once, no redirect, private addresses only where an administrator allowed them."""
    try:
        parsed = guard.check(address)  # each time: a connection that is still open was judged when it was made
        client = guard.client(str(parsed.copy_with(raw_path=b"/")), timeout=TIMEOUT_SECONDS)
        response = client.post(
            parsed,
            content=body,
            headers=headers(secrets_in_force, message_id, timestamp, body),
            extensions=bounds(max_bytes=MOST_ANSWERED, max_seconds=MOST_SECONDS),
        )
    except Refusal as refusal:
        return Answer(False, str(refusal))
    except httpx.TimeoutException:
        return Answer(False, "It did not answer in time.")
    except ExternalFailure as failure:
        return Answer(False, f"{failure}.")
    except httpx.HTTPError as error:
        if isinstance(error.__cause__, Refusal):
            return Answer(False, str(error.__cause__))
        return Answer(False, "It could not be reached.")
    return of_status(response.status_code)
