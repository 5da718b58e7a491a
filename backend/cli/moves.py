"""`countersign server|router edit`, `confirm-move` and `drop-move`: the same three commands for both."""

from __future__ import annotations

from pathlib import Path

import click

from backend.cli import inputs
from backend.cli.adapter import adapter
from backend.cli.output import emit, guarded, json_option
from backend.cli.session import Session, acting
from backend.client.results import Router, Server
from backend.client.servers import Routers, Servers
from backend.core.errors import StaleWrite


def add_moves(group: click.Group, noun: str) -> None:
    """Adds the three commands to the group of servers or of routers."""
    is_server = noun == "server"
    place = "--upstream" if is_server else "--public-url"

    @group.command("edit", help=f"Change where a {noun} is, its settings or its credential.")
    @acting
    @click.argument("name")
    @click.option(place, "place", metavar="HOST:PORT" if is_server else "URL", help="Where it is from now on.")
    @click.option("--forget-credential", "forget", is_flag=True, help="Use none from now on.")
    @adapter
    @json_option
    @guarded
    def edit(
        opened: Session,
        name: str,
        place: str | None,
        forget: bool,
        pairs: tuple[str, ...],
        file: Path | None,
        credential_env: str | None,
        credential_stdin: bool,
        credential_from: str | None,
        as_json: bool,
    ) -> None:
        places = _places(opened, noun)
        known = places.show(name)
        given = inputs.settings(pairs, file)
        settings = {**known.settings, **given} if given else None
        secret = inputs.credential(credential_env, credential_stdin)
        row = places.edit(
            name, if_match=known.etag, place=place, settings=settings, credential=secret, credential_from=credential_from,
            forget_credential=forget,
        )  # fmt: skip
        _tell(noun, row, as_json, _after_edit(noun, name, waits=row.move is not None))

    @group.command("confirm-move", help=f"Confirm a move of a {noun} that somebody else asked for.")
    @acting
    @click.argument("name")
    @click.option("--revision", type=int, required=True, help="The revision that you looked at, as `list --json` tells it.")
    @json_option
    @guarded
    def confirm_move(opened: Session, name: str, revision: int, as_json: bool) -> None:
        places = _places(opened, noun)
        known = places.show(name)
        if known.revision != revision:
            raise StaleWrite(noun, name)
        row = places.confirm_move(name, if_match=known.etag)
        _tell(noun, row, as_json, f"The {noun} {name} moved; what stands there is looked at again now.")

    @group.command("drop-move", help=f"Give up a move of a {noun} that waits.")
    @acting
    @click.argument("name")
    @json_option
    @guarded
    def drop_move(opened: Session, name: str, as_json: bool) -> None:
        places = _places(opened, noun)
        row = places.drop_move(name, if_match=places.show(name).etag)
        _tell(noun, row, as_json, f"The {noun} {name} stays where it is.")


def _places(opened: Session, noun: str) -> Servers | Routers:
    return opened.client.servers if noun == "server" else opened.client.routers


def _after_edit(noun: str, name: str, *, waits: bool) -> str:
    if not waits:
        return f"The {noun} {name} is changed; what stands there is looked at again now."
    return (
        f"Managed endpoints that need approvals stand there, so that another operator or admin has to confirm it:\n"
        f"  countersign {noun} list --json, then countersign {noun} confirm-move {name} --revision N"
    )


def _tell(noun: str, row: Server | Router, as_json: bool, says: str) -> None:
    emit(as_json, {noun: row}, [says])
