"""From rows to adapters: opens the sealed credential, or reads the one that is referred to, and hands over the settings.

Nothing is called here.
"""

from __future__ import annotations

from collections.abc import Callable

from backend.core.credentials import References, is_reference
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.core.sealed import Opener
from backend.delivery.addresses import origins
from backend.delivery.door import Door
from backend.delivery.routers import names as routers
from backend.delivery.routers.port import Router
from backend.delivery.rows import RouterRow, Server
from backend.delivery.targets import names as targets
from backend.delivery.targets.port import Target


class Connections:
    """Adapters for servers and routers.

    Args:
        guard: every outgoing call goes through it.
        opener: opens credentials; only the worker's process has the key, the web process passes None.
        references: finds those that an administrator keeps in files or variables; asked by the worker only, too.
        mark: what says now that a request through a router is ours (`inference_log.probes`).
    """

    def __init__(
        self,
        guard: Guard,
        opener: Opener | None,
        references: References | None = None,
        mark: Callable[[], str] | None = None,
    ) -> None:
        self._guard = guard
        self._mark = mark
        self._opener = opener
        self._references = references or References(None)

    def target(self, server: Server) -> Target:
        """The adapter for a server."""
        return targets.build(server.kind, server.settings, self._open(server), self._guard, name=server.name)

    def router(self, router: RouterRow) -> Router:
        """The adapter for a router."""
        return routers.build(router.kind, router.settings, self._open(router), self._guard, name=router.name)

    def door(self, router: RouterRow) -> Door:
        """Where callers reach the endpoints behind a router."""
        return routers.door(router.kind, router.settings, router.public_url, self._guard, name=router.name, mark=self._mark)

    def _open(self, row: Server | RouterRow) -> str | None:
        if row.sealed_credential is None:
            return None
        if self._opener is None:
            raise Refusal(
                f"The credential of {row.name} can only be opened by the worker.",
                "Ask for it through the worker: look at the endpoint again, or test the server there.",
                code="credential-not-here",
            )
        if is_reference(row.sealed_credential):
            return self._references.read(row.sealed_credential, origins(row.settings))
        return self._opener.open(row.id, row.sealed_credential)
