"""Settings in, one explicitly constructed backend out. Nothing here connects; the first use of each part does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend import migrate
from backend.access.service import Identities
from backend.audit import heads
from backend.audit.service import Audit
from backend.core import sealed
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.delivery.store import PackageStore
from backend.policy.service import Policies
from backend.settings import Settings


@dataclass(frozen=True)
class Backend:
    """Every service, made once a process."""

    settings: Settings
    database: Database
    guard: Guard
    packages: PackageStore
    identities: Identities
    policies: Policies
    audit: Audit

    def close(self) -> None:
        """Returns every connection."""
        self.guard.close()
        self.database.close()


def build(settings: Settings) -> Backend:
    """The backend of one process."""
    database = Database(settings.sqlalchemy_url)
    return Backend(
        settings=settings,
        database=database,
        guard=Guard(settings.allowed_networks.split(",")),
        packages=PackageStore(settings.package_store, settings.data_dir / "package-cache"),
        identities=Identities(database, settings),
        policies=Policies(database),
        audit=Audit(database, heads.HeadStore(settings.ledger_heads, keys_folder(settings))),
    )


def prepare(backend: Backend) -> None:
    """Makes a data folder usable: keys, schema, built-in environments and identities. Repeating it changes nothing."""
    folder = keys_folder(backend.settings)
    sealed.create_keys(folder)
    heads.create_key(folder)
    migrate.upgrade(backend.database)
    backend.identities.seed_demo()
    backend.policies.seed()


def missing_database(settings: Settings) -> Refusal | None:
    """Why there is nothing to open yet: a look must not create an empty database."""
    if settings.database_url is not None or (settings.data_dir / "countersign.db").exists():
        return None
    return Refusal(
        f"There is no Countersign database in {settings.data_dir}.",
        "Name its folder with `--data DIR`, or make a new one with `countersign migrate`.",
        code="no-database",
    )


def keys_folder(settings: Settings) -> Path:
    """Where the sealing key and the ledger's signing key lie: outside the database."""
    return settings.data_dir / "keys"
