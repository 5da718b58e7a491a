"""The client against servers that misbehave: what is sent where, what is sent again, and what is told of a failure."""

from __future__ import annotations

import copy
import ipaddress
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from backend.client import errors
from backend.client.countersign import Countersign
from backend.client.credentials import FromFile, FromGitHub, Given, from_environment
from backend.client.results import ChangeLine, Me
from backend.client.shapes import read
from backend.client.waiting import Clock, Look, end_of, wait
from backend.client.wire import Patience, Wire, address
from tests.live_api import serving

SECRET = "cst_0123456789_a-secret-that-nobody-may-see"
ME = {"id": "idn_1", "name": "ci", "kind": "service", "owner_id": None, "roles": ["contributor"], "may": []}
LINE = {
    "id": "chg_1", "number": 7, "title": "Newer", "state": "review", "state_reason": "", "endpoint": "ep", "environment": "dev",
    "model": "m", "version": 2, "requester": "ana", "decide_by": None, "updated_at": "2026-03-01T06:00:00Z",
}  # fmt: skip


@dataclass
class Script:
    """A server that answers by turns, the last one for ever, and keeps what it was asked."""

    turns: list[Callable[[httpx.Request], httpx.Response]]
    asked: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.turns[min(len(self.asked), len(self.turns)) - 1](request)

    def client(self, **options: Any) -> Countersign:
        options.setdefault("token", SECRET)
        patience = Patience(sleep=self.slept.append)
        return Countersign("https://server.test", patience=patience, transport=httpx.MockTransport(self), **options)


def says(content: Any, status: int = 200, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(
        status, json=content, headers={name.replace("_", "-"): one for name, one in headers.items()}
    )


def problem(status: int, code: str, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    content = {"type": f"urn:{code}", "title": "A title", "status": status, "detail": "It is so.", "code": code}
    content |= {"remedy": "Do this.", "request_id": "req_1", "errors": [{"field": "body.title", "detail": "too long"}]}
    return says(content, status, content_type="application/problem+json", **headers)


def loses(kind: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def lose(request: httpx.Request) -> httpx.Response:
        raise kind("gone", request=request)

    return lose


# -- where a token may go


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://countersign.example.com", "https://countersign.example.com"),
        ("https://example.com/ml/", "https://example.com/ml"),
        ("https://example.com/api/v1", "https://example.com"),
        ("http://127.0.0.1:8501", "http://127.0.0.1:8501"),
        ("http://localhost:8501/", "http://localhost:8501"),
        ("http://[::1]:8501", "http://[::1]:8501"),
    ],
)
def test_where_a_token_may_be_sent(url: str, seen: str) -> None:
    assert address(url) == seen


@pytest.mark.parametrize(
    "url",
    [
        "http://countersign.example.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://localhost.example.com",
        "http://127.0.0.1@evil.example.com", "https://good.example.com@evil.example.com", "https://user:pw@example.com",
        "ftp://127.0.0.1", "127.0.0.1:8501", "https://", "", "https://example.com/?token=x", "https://example.com/#x",
        "http://0.0.0.0:8501", "http://2130706433.example", "http://[::ffff:10.0.0.1]",
    ],
)  # fmt: skip
def test_where_a_token_is_never_sent(url: str) -> None:
    server = Script([says(ME)])
    with pytest.raises(errors.BadAddress) as refused:
        Countersign(url, SECRET, transport=httpx.MockTransport(server))
    assert refused.value.remedy
    assert server.asked == []


def test_a_redirect_is_not_followed() -> None:
    server = Script([says({}, 307, location="https://evil.test/api/v1/me")])
    with pytest.raises(errors.StrangeAnswer):
        server.client().me()
    assert [one.url.host for one in server.asked] == ["server.test"]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\x00b"])
def test_a_name_leads_to_no_other_path(name: str) -> None:
    server = Script([says(ME)])
    with pytest.raises(errors.Refused) as refused:
        server.client().models.show(name)
    assert (refused.value.code, server.asked) == ("not-found", [])


def test_a_name_is_quoted_whole() -> None:
    server = Script([problem(404, "not-found")])
    with pytest.raises(errors.NotFound):
        server.client().models.version("a?b#c %2e", 1)
    assert server.asked[0].url.raw_path == b"/api/v1/models/a%3Fb%23c%20%252e/versions/1"


def test_the_token_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for turn in (
        says({"odd": 1}),
        says({}, 302),
        problem(403, "not-allowed"),
        loses(httpx.ReadError),
        loses(httpx.ConnectError),
    ):
        server = Script([turn])
        client = server.client()
        told += [repr(client), str(client), repr(vars(client)), repr(client.changes)]
        with pytest.raises(errors.ClientError) as failed:
            client.me()
        told += [
            repr(failed.value),
            str(failed.value),
            "".join(traceback.format_exception(failed.value)),
            repr(vars(failed.value)),
        ]
        assert failed.value.__context__ is None
        assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    told += [repr(Given(SECRET)), repr(FromGitHub("https://x.test", SECRET, "a", lambda *_: {})), caplog.text]
    assert not any(SECRET in one for one in told)


# -- TLS


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate of nobody's authority for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    kept, secret = folder / "certificate.pem", folder / "key.pem"
    kept.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return kept, secret


def test_a_certificate_that_nobody_vouches_for_gets_no_token(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        asked.append(request.headers["authorization"])
        return JSONResponse(ME)

    certificate, key = certificates(tmp_path)
    application = Starlette(routes=[Route("/v1/me", answer)])
    with serving(application, certificate=certificate, key=key) as url:
        with Countersign(url, SECRET) as client, pytest.raises(errors.StrangeAnswer) as refused:
            client.me()
        assert "COUNTERSIGN_CA_FILE" in refused.value.remedy
        elsewhere = url.replace("127.0.0.1", "localhost")  # the certificate is not of that name
        with Countersign(elsewhere, SECRET, ca_file=certificate) as client, pytest.raises(errors.StrangeAnswer):
            client.me()
        assert asked == []
        with Countersign(url, SECRET, ca_file=certificate) as client:
            assert client.me().name == "ci"
    assert asked == [f"Bearer {SECRET}"]
    with pytest.raises(errors.BadAddress):
        Countersign(url, SECRET, ca_file=key)


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def answer(_request: Request) -> JSONResponse:
        return JSONResponse(ME)

    with serving(Starlette(routes=[Route("/v1/me", answer)])) as url, Countersign(url, SECRET) as client:
        assert client.me().name == "ci"


# -- what is sent again


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError])
def test_a_look_is_repeated_when_the_connection_is_lost(kind: type[httpx.TransportError]) -> None:
    server = Script([loses(kind), loses(kind), says(ME)])
    assert server.client().me().name == "ci"
    assert len(server.slept) == 2


def test_looks_are_bounded() -> None:
    server = Script([loses(httpx.ReadError)])
    with pytest.raises(errors.Unreachable) as lost:
        server.client().me()
    assert (len(server.asked), lost.value.applied_unknown) == (4, True)
    assert sum(server.slept) < 4


def test_a_proposal_whose_answer_was_lost_is_sent_again_under_one_key() -> None:
    server = Script([loses(httpx.ReadError), problem(409, "stale-base")])
    with pytest.raises(errors.Conflict):
        server.client().changes.propose("ep", 2, title="t", reason="r")
    keys = {one.headers["idempotency-key"] for one in server.asked}
    assert (len(server.asked), len(keys)) == (2, 1)
    with pytest.raises(errors.Conflict):
        server.client().changes.propose("ep", 2, title="t", reason="r")
    assert server.asked[-1].headers["idempotency-key"] not in keys
    with pytest.raises(errors.Conflict):
        server.client().changes.propose("ep", 2, title="t", reason="r", key="build-1")
    assert server.asked[-1].headers["idempotency-key"] == "build-1"


def test_what_could_happen_twice_is_sent_once() -> None:
    """Making a token: a second one would be good and known to nobody."""
    server = Script([loses(httpx.ReadError)])
    with pytest.raises(errors.Unreachable) as lost:
        server.client().tokens.create("ci", lifetime_seconds=60)
    assert (len(server.asked), lost.value.applied_unknown) == (1, True)
    never_sent = Script([loses(httpx.ConnectError)])
    with pytest.raises(errors.Unreachable):
        never_sent.client().tokens.create("ci", lifetime_seconds=60)
    assert len(never_sent.asked) == 4


@pytest.mark.parametrize("bound", [{"if_match": '"e1"'}, {"only_new": True}])
def test_a_write_over_what_was_looked_at_is_not_sent_again_once_its_answer_was_lost(bound: dict[str, Any]) -> None:
    """Its own first effect would be what the second finds: 412, "nothing was changed", although it was."""
    server = Script([loses(httpx.ReadError), problem(412, "stale")])
    wire = Wire(
        "https://server.test",
        Given(SECRET),
        patience=Patience(sleep=server.slept.append),
        transport=httpx.MockTransport(server),
    )
    with pytest.raises(errors.Unreachable) as lost:
        wire.send("PUT", ("ramps", "slow"), sent={}, **bound)
    assert (len(server.asked), lost.value.applied_unknown) == (1, True)
    assert "Look at how it stands" in lost.value.remedy


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says_so(status: int) -> None:
    server = Script([problem(status, "busy", retry_after="7"), says(ME)])
    assert server.client().me().id == "idn_1"
    assert server.slept == [7]
    for headers in ({}, {"retry_after": "3600"}, {"retry_after": "soon"}):
        server = Script([problem(status, "busy", **headers)])
        with pytest.raises(errors.Problem) as busy:
            server.client().me()
        assert (busy.value.status, len(server.asked)) == (status, 1)


def test_another_token_is_asked_for_once_when_one_ran_out() -> None:
    given = iter(["first-token", "second-token", "third-token"])
    tokens = FromGitHub("https://x.test", "bearer", "aud", lambda *_: {"value": next(given)})
    server = Script([says(ME), problem(401, "bad-token"), says(ME), problem(401, "bad-token")])
    client = server.client(token=tokens)
    client.me()
    client.me()
    with pytest.raises(errors.NotSignedIn):
        client.me()
    sent = [one.headers["authorization"].removeprefix("Bearer ") for one in server.asked]
    assert sent == ["first-token", "first-token", "second-token", "second-token", "third-token"]


# -- what is told


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Refused), (401, errors.NotSignedIn), (403, errors.NotAllowed), (404, errors.NotFound),
        (409, errors.Conflict), (412, errors.Conflict), (413, errors.Refused), (422, errors.Refused), (428, errors.Refused),
        (429, errors.TooOften), (500, errors.Defect), (502, errors.OtherSystemFailed), (503, errors.OtherSystemFailed),
    ],
)  # fmt: skip
def test_each_problem_is_a_type(status: int, kind: type[errors.Problem]) -> None:
    with pytest.raises(errors.Problem) as failed:
        Script([problem(status, "some-code")]).client().me()
    found = failed.value
    assert type(found) is kind
    assert (found.code, found.message, found.remedy, found.request_id) == ("some-code", "It is so.", "Do this.", "req_1")
    assert found.errors == (errors.FieldError("body.title", "too long"),)


def test_a_name_that_nothing_can_have_is_one_that_nothing_has() -> None:
    told = {"code": "bad-request", "detail": "path.change: no.", "errors": [{"field": "path.change", "detail": "no"}]}
    with pytest.raises(errors.NotFound) as failed:
        Script([says(told, 422)]).client().changes.show("nonsense")
    assert (failed.value.code, failed.value.message) == ("not-found", "No change is called that.")


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (lambda _: httpx.Response(200, text="<html>"), errors.StrangeAnswer),
        (lambda _: httpx.Response(404, text="not here"), errors.StrangeAnswer),
        (lambda _: httpx.Response(200, content=b"{", headers={"content-type": "application/json"}), errors.StrangeAnswer),
        (lambda _: httpx.Response(502, text="Bad gateway"), errors.Unreachable),
        (says([]), errors.StrangeAnswer),
        (says({**ME, "roles": [1]}), errors.StrangeAnswer),
        (says({**ME, "name": None}), errors.StrangeAnswer),
        (says({"detail": ["odd"], "code": 5}, 422), errors.Refused),
    ],
)
def test_what_is_no_answer_of_ours_is_told(
    turn: Callable[[httpx.Request], httpx.Response], kind: type[errors.ClientError]
) -> None:
    with pytest.raises(kind) as failed:
        Script([turn]).client().me()
    assert failed.value.remedy or isinstance(failed.value, errors.Refused)


def test_an_answer_without_an_end_is_not_read_for_ever() -> None:
    class Endless(httpx.SyncByteStream):
        read = 0

        def __iter__(self) -> Iterator[bytes]:
            while True:
                self.read += 1 << 20
                yield b" " * (1 << 20)

    stream = Endless()
    server = Script([lambda _: httpx.Response(200, stream=stream, headers={"content-type": "application/json"})])
    with pytest.raises(errors.StrangeAnswer):
        server.client().me()
    assert stream.read < 64 << 20


def test_a_field_that_is_new_is_passed_over_and_one_that_is_missing_is_named() -> None:
    assert read(Me, {**ME, "later": 1}).roles == ("contributor",)
    with pytest.raises(errors.StrangeAnswer) as strange:
        read(Me, {name: one for name, one in ME.items() if name != "kind"})
    assert "Me.kind" in strange.value.message


def test_lists_are_walked_page_by_page() -> None:
    pages = {None: ([7, 8], "x"), "x": ([9], None)}

    def answer(request: httpx.Request) -> httpx.Response:
        items, following = pages[request.url.params.get("after")]
        return httpx.Response(200, json={"items": [{**LINE, "number": one} for one in items], "next": following})

    server = Script([answer])
    walk = server.client().changes.list(state=["review", "approved"], text="")
    assert [one.number for one in walk] == [7, 8, 9]
    assert [one.url.params.get_list("state") for one in server.asked] == [["review", "approved"]] * 2
    assert "text" not in server.asked[0].url.params


def test_a_list_that_never_ends_ends() -> None:
    server = Script([says({"items": [LINE], "next": "same"})])
    assert len(list(server.client().changes.list())) == 2


# -- where tokens come from


def test_the_nearest_token_counts(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    told = {"COUNTERSIGN_TOKEN": " from-the-variable\n", "COUNTERSIGN_TOKEN_FILE": str(tmp_path / "token")}
    told |= {"COUNTERSIGN_ID_TOKEN": "from-gitlab", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x.test/?a=1"}
    told |= {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "ask"}
    asked: list[tuple[str, str, Any]] = []

    def ask(url: str, bearer: str, query: Any) -> dict[str, object]:
        asked.append((url, bearer, query))
        return {"value": "from-github"}

    found = []
    for name in ("COUNTERSIGN_TOKEN", "COUNTERSIGN_TOKEN_FILE", "COUNTERSIGN_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        source = from_environment("https://server.test", ask, told)
        assert source is not None
        found.append(source.token())
        del told[name]
    assert found == ["from-the-variable", "from-the-file", "from-gitlab", "from-github"]
    assert asked == [("https://x.test/?a=1", "ask", {"audience": "https://server.test"})]
    assert from_environment("https://server.test", ask, told) is None


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("the-first-one")
    source = FromFile(path)
    assert source.token() == "the-first-one"
    assert source.renew() is False
    path.write_text("the-second-one")
    assert (source.renew(), source.token()) == (True, "the-second-one")
    for wrong in (b"", b"two words", b"\xff\xfe", b"x" * 20_000, b"short"):
        path.write_bytes(wrong)
        with pytest.raises(errors.NoToken):
            source.token()
    path.unlink()
    with pytest.raises(errors.NoToken):
        source.token()


def test_a_token_cannot_break_a_header() -> None:
    for wrong in ("a\r\nx-evil: 1" * 2, "two words here", "", "tök" * 5):
        with pytest.raises(errors.NoToken):
            Given(wrong)


def test_github_without_the_permission_is_told() -> None:
    for answer in ({}, {"value": 5}, {"message": "no"}):
        with pytest.raises(errors.NoToken) as refused:
            FromGitHub("https://x.test", "ask", "aud", lambda *_, told=answer: told).token()
        assert "id-token: write" in refused.value.remedy


# -- waiting


def clock() -> tuple[Clock, list[float]]:
    at, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        at[0] += seconds

    return Clock(lambda: at[0], sleep), slept


def looks(*found: Look | errors.ClientError) -> Callable[[], Look]:
    given = iter(found)

    def look() -> Look:
        one = next(given)
        if isinstance(one, errors.ClientError):
            raise one
        return one

    return look


LOST = errors.Unreachable("The server cannot be reached.", applied_unknown=False)


def test_waiting_survives_lost_connections() -> None:
    said: list[str] = []
    busy = errors.problem(503, {"detail": "The database does not answer."})
    outcome = wait(
        looks((None, "review"), LOST, LOST, busy, (None, "review"), ("reached", "approved")),
        3600,
        told=said.append,
        clock=clock()[0],
    )
    assert (outcome.reached, outcome.end) == (True, "reached")
    assert said == ["review", "The server cannot be reached.", "The database does not answer.", "review", "approved"]


def test_waiting_ends_when_the_time_is_over_and_not_later() -> None:
    by, slept = clock()
    outcome = wait(lambda: (None, "review"), 25, clock=by)
    assert (outcome.end, sum(slept)) == ("time over", 25)
    assert max(slept) <= 10
    assert wait(lambda: (None, "review"), 0, clock=by).end == "time over"


def test_waiting_does_not_call_an_outage_a_decision() -> None:
    def lose() -> Look:
        raise LOST

    with pytest.raises(errors.Unreachable):
        wait(lose, 25, clock=clock()[0])


def test_waiting_ends_at_once_when_it_is_refused() -> None:
    with pytest.raises(errors.NotAllowed):
        wait(looks((None, "review"), errors.problem(403, {"code": "not-allowed"})), 3600, clock=clock()[0])


def test_each_state_has_its_end() -> None:
    from backend.changes.rules import CHANGE

    ends = {
        goal: {state: end_of(state, goal) for state in CHANGE.states} for goal in ("checked", "decided", "live", "rolled_back")
    }
    passing = {"checked": {"draft", "checking"}, "decided": {"draft", "checking", "review"}}
    passing["live"] = passing["decided"] | {"approved", "applying"}
    for goal, going_on in passing.items():
        assert {state for state, end in ends[goal].items() if end is None} == going_on
        assert {state for state, end in ends[goal].items() if end == "rejected"} == {"rejected", "withdrawn", "revoked"}
        assert {state for state, end in ends[goal].items() if end == "expired"} == {"expired"}
    assert {state for state, end in ends["live"].items() if end == "reached"} == {"done"}
    assert {state for state, end in ends["rolled_back"].items() if end is not None} == {"rolled_back"}


# -- what it costs


def test_it_is_imported_without_the_house() -> None:
    others = ("sqlalchemy", "sqlmodel", "pydantic", "fastapi", "streamlit", "pandas")
    program = f"""
import sys
from backend.client import ClientError
assert "httpx" not in sys.modules
from backend.client import Countersign
names = sorted(sys.modules)
print([one for one in names if one in {others!r} or one.startswith("backend.") and not one.startswith("backend.client")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["[]"]


def test_results_are_values() -> None:
    line = read(ChangeLine, LINE)
    assert copy.deepcopy(line) == line
    assert line.updated_at.utcoffset() is not None


def test_applying_is_never_sent_twice_and_planning_is() -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("lost")

    plan = {"digest": "sha256:" + "0" * 64, "differs": False, "counts": {}, "objects": [], "left": {}}
    lost = Script([away])
    with pytest.raises(errors.Unreachable) as refused:
        lost.client().config.apply({"a.yaml": "x"}, plan="sha256:0")
    assert refused.value.applied_unknown
    assert len(lost.asked) == 1
    planned = Script([away, lambda _request: httpx.Response(200, json=plan)])
    assert not planned.client().config.plan([("ä.yaml", "Größe")]).differs
    assert "Größe".encode() in planned.asked[1].content, "escapes would make a file larger than is taken"


def test_a_file_whose_name_begins_like_an_address_is_no_missing_thing() -> None:
    told = {
        "detail": "path.yaml:1:1: This is no declaration.", "remedy": "Begin anew.", "code": "bad-config",
        "errors": [{"field": "path.yaml:1:1", "detail": "No declaration.", "remedy": "Begin anew.", "code": "bad-config"}],
    }  # fmt: skip
    found = errors.problem(422, told)
    assert isinstance(found, errors.Refused)
    assert found.errors == (errors.FieldError("path.yaml:1:1", "No declaration.", "Begin anew.", "bad-config"),)
