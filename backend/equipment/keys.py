"""The keys of one installation, and what else of Countersign's own lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy.engine import make_url

from backend.audit import heads
from backend.core import sealed
from backend.core.sealed import PUBLIC_NAME, Opener, Sealer
from backend.delivery.resealing import SERVERS_AND_ROUTERS, Place
from backend.inference_log import pseudonyms
from backend.notify import keeping
from backend.notify.rows import Route
from backend.settings import Settings

SEALED = (*SERVERS_AND_ROUTERS, Place(Route, keeping.sealed_texts, keeping.renew_sealed))
"""Every place where something sealed lies: what is missing here loses its key at a rotation."""


def folder(settings: Settings) -> Path:
    """Where the sealing key and the ledger's signing key lie: outside the database."""
    return settings.data_dir / "keys"


def make(settings: Settings) -> None:
    """The sealing and the signing key. They come before the backend, whose services take them as they find them."""
    sealed.create_keys(folder(settings))
    heads.create_key(folder(settings))


def sealer(settings: Settings) -> Sealer | None:
    """What seals credentials; None before the keys were made."""
    there = folder(settings)
    return Sealer.from_folder(there) if (there / PUBLIC_NAME).exists() else None


def opener(settings: Settings) -> Opener | None:
    """What opens them, in processes that may read the private key; None elsewhere."""
    there = folder(settings)
    return Opener.from_folder(there) if any(os.access(one, os.R_OK) for one in sealed.private_files(there)) else None


def pseudonym_key(settings: Settings) -> bytes:
    """The key of the inference log's pseudonyms, made at its first use. It is no key of `folder`: the web process needs it, and
    sees only the public halves of those.
    """
    return pseudonyms.key(settings.data_dir / "ingest")


def spool_folder(settings: Settings) -> Path:
    """Where rows wait on this machine until they are taken into the inference log."""
    return settings.data_dir / "ingest" / "spool"


def reserved(settings: Settings) -> tuple[Path, ...]:
    """Where Countersign keeps its own on this machine: no server and no router may be told to read or write there."""
    own = [settings.data_dir / name for name in ("package-cache", "uploads", "ingest", "scratch")] + [folder(settings)]
    own += [settings.credentials_dir] if settings.credentials_dir is not None else []
    stores = [_local(url) for url in (settings.package_store, settings.ledger_heads, settings.inference_log)]
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        own += [Path(url.database + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    return (*own, *(one for one in stores if one is not None))


def _local(url: str) -> Path | None:
    """The folder that an fsspec URL means on this machine, by fsspec's own reading; None elsewhere."""
    innermost = url.rpartition("::")[2]
    if fsspec.utils.get_protocol(innermost) not in ("file", "local"):
        return None
    return Path(LocalFileSystem._strip_protocol(innermost))
