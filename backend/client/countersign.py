"""The client: one server, one identity, a noun each."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from backend.client.access import Bindings, DataSets, Identities, Requests, Teams, Tokens
from backend.client.changes import Changes
from backend.client.config import Config, Ramps
from backend.client.credentials import TOKEN, Given, from_environment
from backend.client.credentials import Tokens as TokenSource
from backend.client.endpoints import Endpoints, Fleet, Rollouts
from backend.client.errors import NoToken
from backend.client.experiments import Experiments
from backend.client.findings import Findings
from backend.client.inference_log import InferenceLogs
from backend.client.metrics import EndpointMetrics, Slos
from backend.client.models import Models
from backend.client.monitors import Monitors, Profiles
from backend.client.notify import Notify
from backend.client.records import Audit, Freezes, Policies
from backend.client.results import Me
from backend.client.servers import Keys, Routers, Servers, WaysOut
from backend.client.shapes import read
from backend.client.sign_in import Sessions, SignIn
from backend.client.window_reports import WindowReports
from backend.client.wire import Patience, Wire, address, asked

if TYPE_CHECKING:
    import httpx


class Countersign:
    """A server, as one identity.

    Args:
        url: `https://...`, or `http://` of this machine alone. A token is sent nowhere else, and follows no redirect.
        token: a token, or where one comes from; by default what the environment names (`credentials.from_environment`).
        ca_file: certificates of one's own authority.
        patience: how often what is safe to repeat is repeated.
        seconds: the longest that any answer may take; by default a minute, and longer where a server reads whole models.
        transport: in place of the network.
    """

    def __init__(
        self,
        url: str,
        token: str | TokenSource | None = None,
        *,
        ca_file: Path | None = None,
        patience: Patience | None = None,
        seconds: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        where = address(url)
        source = Given(token) if isinstance(token, str) else token or from_environment(where, asked)
        if source is None:
            raise NoToken(
                "There is no token to act by.", f"Put one into {TOKEN}, or into a file and its name into {TOKEN}_FILE."
            )
        self._wire = Wire(where, source, ca_file=ca_file, patience=patience, seconds=seconds, transport=transport)
        self.url = where
        self.models = Models(self._wire)
        self.changes = Changes(self._wire)
        self.endpoints = Endpoints(self._wire)
        self.rollouts = Rollouts(self._wire)
        self.metrics = EndpointMetrics(self._wire)
        self.slos = Slos(self._wire)
        self.monitors = Monitors(self._wire)
        self.profiles = Profiles(self._wire)
        self.experiments = Experiments(self._wire)
        self.findings = Findings(self._wire)
        self.fleet = Fleet(self._wire)
        self.servers = Servers(self._wire)
        self.routers = Routers(self._wire)
        self.outgoing = WaysOut(self._wire)
        self.keys = Keys(self._wire)
        self.identities = Identities(self._wire)
        self.teams = Teams(self._wire)
        self.requests = Requests(self._wire)
        self.tokens = Tokens(self._wire)
        self.bindings = Bindings(self._wire)
        self.data_sets = DataSets(self._wire)
        self.inference_logs = InferenceLogs(self._wire)
        self.window_reports = WindowReports(self._wire)
        self.sessions = Sessions(self._wire)
        self.sign_in = SignIn(self._wire)
        self.policies = Policies(self._wire)
        self.freezes = Freezes(self._wire)
        self.notify = Notify(self._wire)
        self.ramps = Ramps(self._wire)
        self.config = Config(self._wire)
        self.audit = Audit(self._wire)

    def me(self) -> Me:
        """Whom the token acts as."""
        return read(Me, self._wire.get("me").content)

    def close(self) -> None:
        """Returns every connection."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Countersign({self.url!r})"
