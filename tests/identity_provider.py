"""An OpenID provider in this process that signs whatever a test wants: honest tokens, and every kind of forged one.

The certified provider (tests/oidc) shows that sign-in works; this one shows what is refused.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from backend.access.claims import LOGOUT_EVENT
from backend.access.issuer_settings import METADATA
from backend.access.sign_in_file import Provider, SignIn

CLIENT = "countersign"
SECRET = "a-client-secret-of-the-tests-0123456789"
COOKIE_SECRET = "a-cookie-secret-of-the-tests-0123456789"

Claims = dict[str, Any]


@dataclass
class IdentityProvider:
    """A running provider. Its token endpoint answers with `forge(honest claims)`.

    Attributes:
        key: what it signs with; exchange it to rotate.
        published: the keys that it publishes, newest first.
        down: answer 503 to everything.
        asked: the paths that were asked for.
    """

    port: int = 0
    name: str = "corp"
    key: RSAKey = field(default_factory=lambda: rsa_key("one"))
    published: list[Any] = field(default_factory=list)
    metadata: Claims = field(default_factory=dict)
    people: Claims = field(default_factory=lambda: {"sub": "u-ada", "name": "Ada Admin", "groups": ["ml-admins"]})
    forge: Callable[[Claims], str] | None = None
    down: bool = False
    asked: list[str] = field(default_factory=list)
    nonces: dict[str, str] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **more: Any) -> Provider:
        """What Countersign knows of it."""
        told = {"name": self.name, "title": "Example Corp", "client_id": CLIENT, "client_secret": SECRET}
        return Provider.model_validate({**told, "server_metadata_url": self.issuer + METADATA, **more})

    def claims(self, **changed: Any) -> Claims:
        """Honest claims of an ID token, with changes; None takes one away."""
        now = int(changed.pop("now", time.time()))
        told = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": "n-1", "sid": "s-1", **self.people}
        return {name: value for name, value in {**told, **changed}.items() if value is not None}

    def logout_claims(self, **changed: Any) -> Claims:
        """Honest claims of a logout token, with changes; None takes one away."""
        now = int(changed.pop("now", time.time()))
        told: Claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": "j-1", "sid": "s-1"}
        told |= {"sub": self.people["sub"], "events": {LOGOUT_EVENT: {}}}
        return {name: value for name, value in {**told, **changed}.items() if value is not None}

    def sign(self, claims: Claims, *, key: Any = None, alg: str = "RS256", **header: Any) -> str:
        """A signed token."""
        used = key or self.key
        told = {"alg": alg, "kid": used.kid, "typ": "JWT", **header}
        whole = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(whole, claims, used, algorithms=[alg])

    def unsigned(self, claims: Claims, *, alg: str = "none") -> str:
        """A token that says of itself that it needs no signature."""
        parts = [json.dumps({"alg": alg, "typ": "JWT"}), json.dumps(claims)]
        return ".".join(urlsafe_b64encode(one.encode()).rstrip(b"=").decode() for one in parts) + "."

    def signed_with_the_public_key(self, claims: Claims) -> str:
        """HS256 with the published key as if it were a shared secret, which a careless library would check with it."""
        parts = [json.dumps({"alg": "HS256", "typ": "JWT", "kid": self.key.kid}), json.dumps(claims)]
        signed = b".".join(urlsafe_b64encode(one.encode()).rstrip(b"=") for one in parts)
        mac = hmac.digest(self.key.as_pem(private=False), signed, "sha256")
        return (signed + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()

    def signed_with_the_client_secret(self, claims: Claims) -> str:
        """HS256 with the secret that both sides share: good for whoever takes symmetric signatures, which is nobody here."""
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET), algorithms=["HS256"])

    def rotate(self, *, keep_old: bool = False) -> None:
        """Signs with another key from now on."""
        old = self.signing_keys()
        self.key = rsa_key(f"key-{time.monotonic_ns()}")
        self.published = [self.key, *(old if keep_old else [])]

    def signing_keys(self) -> list[Any]:
        return self.published or [self.key]

    def document(self) -> Claims:
        at = self.issuer
        return {
            "issuer": at,
            "jwks_uri": f"{at}/jwks",
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "end_session_endpoint": f"{at}/end",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],  # as careless ones do
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }


@cache
def rsa_key(name: str) -> RSAKey:
    """A key of that number: made once in this process, which takes a while."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


def ec_key() -> ECKey:
    """A key of another kind."""
    return ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}, private=True)


def signs_in(*providers: Provider, **more: Any) -> SignIn:
    """Settings of sign-in with these providers."""
    told = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": COOKIE_SECRET}
    return SignIn.model_validate({**told, "providers": providers, **more})


@contextmanager
def identity_provider(name: str = "corp") -> Iterator[IdentityProvider]:
    """Runs one on a free port of loopback."""
    found = IdentityProvider(name=name, key=rsa_key(name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answers(found))
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _answers(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            provider.asked.append(path)
            if provider.down:
                self._send(503, {})
            elif path == METADATA:
                self._send(200, provider.document())
            elif path == "/jwks":
                self._send(200, {"keys": [one.as_dict(private=False) for one in provider.signing_keys()]})
            elif path == "/authorize":
                code = f"code-{len(provider.nonces)}"
                provider.nonces[code] = query["nonce"][0]
                self._go(f"{query['redirect_uri'][0]}?{urlencode({'code': code, 'state': query['state'][0]})}")
            elif path == "/end":
                self._go(query["post_logout_redirect_uri"][0])
            else:
                self._send(404, {})

        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            provider.asked.append(urlsplit(self.path).path)
            claims = provider.claims(nonce=provider.nonces.get(body["code"][0], "unknown"))
            token = provider.forge(claims) if provider.forge else provider.sign(claims)
            self._send(200, {"access_token": "a", "token_type": "Bearer", "id_token": token})

        def _send(self, status: int, content: Claims) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _go(self, to: str) -> None:
            self.send_response(302)
            self.send_header("location", to)
            self.send_header("content-length", "0")
            self.end_headers()

    return Answers
