"""`countersign notify`: where messages go, who hears of what, how one wants to be told, and what became of each message."""

from __future__ import annotations

from dataclasses import replace
from typing import TextIO

import click

from backend.cli.output import emit, facts, guarded, json_option, note, printable, table
from backend.cli.session import Session, acting
from backend.client.results import NewRoute

_ROUTE = click.argument("route")
_MESSAGE = click.argument("message_id", metavar="MESSAGE")


@click.group()
def notify() -> None:
    """Messages: where they go, who hears of what, and what became of each."""


@notify.command()
@acting
@json_option
@guarded
def events(opened: Session, as_json: bool) -> None:
    """List what one may hear of."""
    found = opened.client.notify.events()
    rows = [(one.name, one.says, one.urgent, ", ".join(one.audience)) for one in found]
    emit(as_json, {"events": found}, table(("event", "", "urgent", "told by default"), rows))


@notify.command()
@acting
@click.option("--all", "everybody", is_flag=True, help="Everybody's, for auditors and admins.")
@json_option
@guarded
def routes(opened: Session, everybody: bool, as_json: bool) -> None:
    """List your routes and those that you look after."""
    found = opened.client.notify.routes(everybody=everybody)
    rows = [(one.name, one.shown, one.owner, one.health, one.waiting, one.dead, one.says) for one in found]
    emit(as_json, {"routes": found}, table(("route", "to", "whose", "is", "waiting", "given up", "latest"), rows))


@notify.command()
@acting
@_ROUTE
@json_option
@guarded
def show(opened: Session, route: str, as_json: bool) -> None:
    """Show a route and how it does."""
    found = opened.client.notify.route(route)
    told = (("route", found.name), ("id", found.id), ("to", found.shown), ("whose", found.owner), ("is", found.health),
            ("latest", found.says), ("last taken", found.ok_at), ("failing since", found.failing_since),
            ("waiting", found.waiting), ("given up", found.dead), ("two secrets until", found.two_secrets_until))  # fmt: skip
    emit(as_json, {"route": found}, facts(told))


@notify.command()
@acting
@click.argument("name")
@click.option("--address-from", type=click.File(), default="-", help="File with the address; standard input by default.")
@click.option("--team", help="For a team instead of yourself.")
@click.option("--everybody", is_flag=True, help="For the whole installation.")
@json_option
@guarded
def add(opened: Session, name: str, address_from: TextIO, team: str | None, everybody: bool, as_json: bool) -> None:
    """Add a route called NAME: `https://...` for a signed webhook, or an address in Apprise's form.

    The address is read from a file or standard input, so that it is in no shell's history. A webhook's secret is printed once.
    """
    address = address_from.read(4_000).strip()
    _made(opened.client.notify.add_route(name, address, team=team, everybody=everybody), as_json)


@notify.command()
@acting
@_ROUTE
@json_option
@guarded
def rotate(opened: Session, route: str, as_json: bool) -> None:
    """Give a webhook another signing secret; for a day both sign."""
    _made(opened.client.notify.rotate(route), as_json)


@notify.command()
@acting
@_ROUTE
@click.option("--reason", default="", help="Why.")
@json_option
@guarded
def pause(opened: Session, route: str, reason: str, as_json: bool) -> None:
    """Send nothing on ROUTE until it is resumed."""
    opened.client.notify.pause(route, reason)
    emit(as_json, {"paused": route}, [f"{route} is paused."])


@notify.command()
@acting
@_ROUTE
@json_option
@guarded
def resume(opened: Session, route: str, as_json: bool) -> None:
    """Send on ROUTE again."""
    opened.client.notify.resume(route)
    emit(as_json, {"resumed": route}, [f"{route} is sent on again."])


@notify.command()
@acting
@_ROUTE
@json_option
@guarded
def remove(opened: Session, route: str, as_json: bool) -> None:
    """End ROUTE with its subscriptions; its address and secrets are forgotten."""
    opened.client.notify.remove(route)
    emit(as_json, {"removed": route}, [f"{route} is removed."])


@notify.command()
@acting
@_ROUTE
@click.option("--wait", type=click.IntRange(0, 120), default=30, show_default=True, help="Seconds to wait for the answer.")
@json_option
@guarded
def test(opened: Session, route: str, wait: int, as_json: bool) -> None:
    """Have a worker send a test message on ROUTE (`mail`: to yourself), and say what the receiver answered."""
    client, clock = opened.client.notify, opened.pace
    found, until = client.message(client.test(route).id), clock.now() + wait
    while found.line.state == "waiting" and clock.now() < until:
        clock.sleep(clock.shortest)
        found = client.message(found.line.id)
    says = found.line.result if found.line.state != "waiting" else "It waits still; is a worker running?"
    emit(as_json, {"message": found.line, "tries": found.tries}, [printable(says)])


@notify.command()
@acting
@click.argument("events_named", metavar="EVENT...", nargs=-1, required=True)
@click.option("--route", default="mail", show_default=True, help="A route's name, or `mail` for your own mail.")
@click.option("--of", metavar="KIND/NAME", default="", help="Of one model, endpoint, environment or change, e.g. model/churn.")
@json_option
@guarded
def subscribe(opened: Session, events_named: tuple[str, ...], route: str, of: str, as_json: bool) -> None:
    """Have a route, or your own mail, hear of EVENTs (`*` for all) of everything or of one object."""
    kind, _, name = of.partition("/")
    made = opened.client.notify.subscribe(events_named, route=route, object_kind=kind, object_name=name)
    emit(as_json, {"subscription": made}, [made.id])


@notify.command()
@acting
@click.argument("subscription")
@json_option
@guarded
def unsubscribe(opened: Session, subscription: str, as_json: bool) -> None:
    """Take SUBSCRIPTION (its id) back."""
    opened.client.notify.unsubscribe(subscription)
    emit(as_json, {"removed": subscription}, ["Taken back."])


@notify.command()
@acting
@json_option
@guarded
def subscriptions(opened: Session, as_json: bool) -> None:
    """List your subscriptions and those of routes that you look after."""
    found = opened.client.notify.subscriptions()
    rows = [(one.id, one.route, ", ".join(one.events), f"{one.object_kind} {one.object_name}".strip()) for one in found]
    emit(as_json, {"subscriptions": found}, table(("subscription", "route", "events", "of"), rows))


@notify.command()
@acting
@click.option("--zone", help="Time zone, such as Europe/Berlin.")
@click.option("--quiet", "hours", metavar="FROM-TO", help="Quiet hours such as 22:00-07:00; `none` ends them.")
@click.option("--urgent-through/--no-urgent-through", default=None, help="Whether what is urgent comes through quiet hours.")
@click.option("--mail/--no-mail", default=None, help="Whether you are mailed at all.")
@click.option("--mute", multiple=True, metavar="EVENT", help="What you do not want to hear of by default; `none` ends it.")
@json_option
@guarded
def preferences(
    opened: Session,
    zone: str | None,
    hours: str | None,
    urgent_through: bool | None,
    mail: bool | None,
    mute: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show how you are told, and change what is named."""
    client = opened.client.notify
    found = client.preferences()
    if any(one is not None for one in (zone, hours, urgent_through, mail)) or mute:
        begins, _, ends = (hours or "").partition("-")
        wanted = replace(
            found,
            zone=zone or found.zone,
            quiet_from=found.quiet_from if hours is None else None if hours == "none" else begins,
            quiet_to=found.quiet_to if hours is None else None if hours == "none" else ends,
            urgent_through=found.urgent_through if urgent_through is None else urgent_through,
            mail=found.mail if mail is None else mail,
            muted=() if mute == ("none",) else mute or found.muted,
        )
        found = client.set_preferences(wanted)
    quiet = f"{found.quiet_from} to {found.quiet_to}" if found.quiet_from else "none"
    told = (("zone", found.zone), ("quiet hours", quiet), ("urgent through", found.urgent_through), ("mail", found.mail),
            ("muted", ", ".join(found.muted)))  # fmt: skip
    emit(as_json, {"preferences": found}, facts(told))


@notify.command()
@acting
@click.option("--route", help="Of one route, or `mail`.")
@click.option("--state", type=click.Choice(["waiting", "sent", "dead", "dropped"]))
@click.option("--after", metavar="NEXT", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@json_option
@guarded
def log(opened: Session, route: str | None, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """List messages and what became of them, the newest first."""
    page = opened.client.notify.messages(route=route, state=state, after=after, limit=limit)
    rows = [(one.id, one.created_at, one.whom, one.event, one.state, one.attempts, one.result) for one in page.items]
    emit(
        as_json,
        {"messages": page.items, "next": page.next},
        table(("message", "at", "to", "event", "state", "tries", "latest"), rows),
    )


@notify.command()
@acting
@_MESSAGE
@json_option
@guarded
def message(opened: Session, message_id: str, as_json: bool) -> None:
    """Show a message with every try."""
    found = opened.client.notify.message(message_id)
    rows = [(one.at, one.seconds, one.ok, one.says) for one in found.tries]
    emit(as_json, {"message": found.line, "tries": found.tries}, table(("at", "seconds", "taken", ""), rows))


@notify.command()
@acting
@_MESSAGE
@click.option("--whole-route", is_flag=True, help="MESSAGE is a route: everything that was given up on it.")
@json_option
@guarded
def replay(opened: Session, message_id: str, whole_route: bool, as_json: bool) -> None:
    """Send MESSAGE again under the id that it had."""
    if whole_route:
        count = opened.client.notify.replay_route(message_id)
        emit(as_json, {"replayed": count}, [f"{count} wait again."])
        return
    opened.client.notify.replay(message_id)
    emit(as_json, {"replayed": 1}, ["It waits again."])


def _made(made: NewRoute, as_json: bool) -> None:
    if made.secret is not None and not as_json:
        note("The signing secret of this webhook is shown only now; give it to the receiver.")
    emit(as_json, {"route": made}, [made.secret or made.id])
