"""`countersign xds`: becomes the ADS server's process; `xds bootstrap` prints what an Envoy of its fleet starts with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from backend.cli.output import guarded
from backend.cli.session import refuse_elsewhere
from backend.core.errors import Refusal
from backend.embedded.envoy import AccessLogTo
from backend.embedded.envoy_ads import ClientTls, FleetMember, bootstrap

_FILE = click.Path(path_type=str)


def _place(value: str) -> tuple[str, int]:
    """`host:port` as the host without brackets, and the port. ValueError, which click tells, for anything else."""
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(value)
    return host.strip("[]"), int(port)


@click.group(invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (COUNTERSIGN_DATA_DIR).")
@click.pass_context
@guarded
def xds(context: click.Context, data: Path | None) -> None:
    """Run the ADS server in the foreground until it is told to stop: it gives Envoys the routes that workers hand to it.

    It needs COUNTERSIGN_XDS_TOKEN and its data folder, and no database. SIGTERM or SIGINT ends it; Envoys go on with what they
    have.
    """
    if context.invoked_subcommand is not None:
        return
    refuse_elsewhere(data)
    environment = os.environ | ({"COUNTERSIGN_DATA_DIR": str(data)} if data is not None else {})
    safe_path = ["-P"] if sys.flags.safe_path else []
    os.execve(sys.executable, [sys.executable, *safe_path, "-m", "backend.xds"], environment)


@xds.command("bootstrap")
@click.option("--node", required=True, help="Name of this Envoy; each has one of its own.")
@click.option("--ads", type=_place, default="127.0.0.1:18000", show_default=True, help="Where the ADS server listens.")
@click.option("--listener", type=_place, default="127.0.0.1:10000", show_default=True, help="Where callers ask.")
@click.option("--admin", type=_place, default="127.0.0.1:9901", show_default=True, help="Where its admin endpoint answers.")
@click.option("--ca", type=_FILE, help="File of the certificates that sign the ADS server's, as Envoy sees it.")
@click.option("--certificate", type=_FILE, help="File of this Envoy's certificate.")
@click.option("--key", type=_FILE, help="File of that certificate's key.")
@click.option("--access-log", type=_FILE, help="File for its access log.")
@click.option("--access-log-port", type=click.IntRange(1, 65_535), help="Port of `countersign ingest` on the Envoy's machine.")
@click.option("--answers-port", type=click.IntRange(1, 65_535), help="Beside it, its port for what shadow arms answered.")
@click.option("--json", "as_json", is_flag=True, help="JSON on one line; without it, on several.")
@guarded
def print_bootstrap(
    node: str,
    ads: tuple[str, int],
    listener: tuple[str, int],
    admin: tuple[str, int],
    ca: str | None,
    certificate: str | None,
    key: str | None,
    access_log: str | None,
    access_log_port: int | None,
    answers_port: int | None,
    as_json: bool,
) -> None:
    """Print the configuration that an Envoy of the fleet starts with (`envoy --config-path FILE`). Nothing is called."""
    log_to = AccessLogTo(access_log_port, answers=answers_port) if access_log_port is not None else None
    member = FleetMember(_node(node), ads, listener, admin, _tls(ca, certificate, key), access_log, log_to)
    click.echo(json.dumps(bootstrap(member), indent=None if as_json else 2))


def _node(name: str) -> str:
    if not name or len(name) > 128 or not all(one.isascii() and (one.isalnum() or one in "._:/@-") for one in name):
        raise Refusal(f"{name[:80]!r} cannot name an Envoy.", "Use letters, digits and . _ : / @ -", code="bad-name")
    return name


def _tls(ca: str | None, certificate: str | None, key: str | None) -> ClientTls | None:
    if ca is None and certificate is None and key is None:
        return None
    if ca is None or certificate is None or key is None:
        raise Refusal("TLS needs three files.", "Give --ca, --certificate and --key, or none of them.", code="bad-tls")
    return ClientTls(ca, certificate, key)
