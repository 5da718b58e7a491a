"""`countersign apply` and `countersign export`: what there shall be as files, compared, and made so.

Exit codes of `apply --dry-run`: 0 there is no difference, 8 there is one, 2 something of it is refused.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from backend.blueprints.needs import needs
from backend.blueprints.text import MOST_BYTES, Source
from backend.cli import inputs
from backend.cli.output import DIFFERS, REFUSED, emit, guarded, json_option, note, printable
from backend.cli.session import Session, acting
from backend.client.errors import FieldError, Problem, Refused
from backend.client.results import ConfigApplied, ConfigField, ConfigObject, ConfigPlan
from backend.core.errors import Refusal

_ENDINGS = (".yaml", ".yml", ".json")
_SIGNS = {"create": "+", "change": "~", "remove": "-", "waits": "?", "none": " "}
_MOST_NAMES = 5
_MOST_FILES = 1_000


@click.command()
@acting
@click.option(
    "-f",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file, a folder of .yaml, .yml and .json files, or `-` for standard input; repeatable.",
)
@click.option("-R", "--recursive", is_flag=True, help="Folders in folders, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; exit code 8 where there is a difference.")
@click.option("--plan", "digest", metavar="DIGEST", help="Apply exactly the plan of this digest, as --dry-run printed it.")
@click.option("--yes", is_flag=True, help="Apply what is different now, without being asked.")
@click.option("--prune", is_flag=True, help="Remove what the files declare as absent.")
@click.option("--renew-credentials", "renew", is_flag=True, help="Enter credentials anew that are set already.")
@click.option("--title", default="", help="Title of the changes that are proposed.")
@click.option("--reason", default="", help="Why, in a sentence: for changes, and for what asks for a reason.")
@json_option
@guarded
def apply(
    opened: Session,
    files: tuple[Path, ...],
    recursive: bool,
    dry_run: bool,
    digest: str | None,
    yes: bool,
    prune: bool,
    renew: bool,
    title: str,
    reason: str,
    as_json: bool,
) -> None:
    """Make teams, policies, servers, endpoints and ramps as files declare them: all of it, or nothing.

    What an endpoint serves becomes a proposed change. Docs: docs/config.md.
    """
    sources = _sources(files, recursive)
    named = inputs.digest(digest) if digest is not None else None
    told = {"prune": prune, "renew_credentials": renew}
    client, pairs = opened.client.config, [(one.name, one.text) for one in sources]
    with _each_told(as_json):
        found = client.plan(pairs, **told)
    if dry_run:
        _end_dry(found, as_json)
    _show(found, as_json)
    _refuse(found)
    if named is None and not yes and found.differs:
        _ask()
    secrets = _credentials(sources, found)
    with _each_told(as_json):
        done = client.apply(pairs, plan=named or found.digest, title=title, reason=reason, credentials=secrets, **told)
    emit(as_json, {**_plan_told(done.plan), "done": done.done}, _done_lines(done))
    if done.refused:
        sys.exit(REFUSED)


@click.command()
@acting
@click.option("--kind", "kinds", multiple=True, help="Only this kind, such as Team; repeatable.")
@click.option("--name", "names", multiple=True, help="Only the objects of this name; repeatable.")
@json_option
@guarded
def export(opened: Session, kinds: tuple[str, ...], names: tuple[str, ...], as_json: bool) -> None:
    """Write what is there, as far as you see it, as YAML that `apply` takes. No credential is among it."""
    found = opened.client.config.export(kinds=kinds, names=names)
    emit(as_json, {"objects": found.objects}, found.text.splitlines())


def _sources(files: Sequence[Path], recursive: bool) -> list[Source]:
    """Every file in order; what a folder holds by name. Bounded before it is read."""
    found: list[Source] = []
    left = MOST_BYTES
    paths = [one for file in files for one in _within(file, recursive)]
    if len(paths) > _MOST_FILES:
        raise Refusal(f"These are more than {_MOST_FILES:,} files.", "Apply them one after the other.", code="too-large")
    for path in paths:
        text = _text(path, left)
        left -= len(text.encode())
        found.append(Source(os.fsencode(path).decode("utf-8", "replace"), text))
    return found


def _within(file: Path, recursive: bool) -> Iterator[Path]:
    if str(file) == "-" or not file.is_dir():
        yield file
        return
    inside = sorted(file.rglob("*") if recursive else file.iterdir())
    chosen = [one for one in inside if one.suffix in _ENDINGS and one.is_file()]
    if not chosen:
        raise Refusal(f"{file} holds no .yaml, .yml or .json file.", "Name another folder, or a file.", code="bad-file")
    yield from chosen


def _text(path: Path, most: int) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with path.open("rb") as stream:
                data = stream.read(most + 1)
        if len(data) > most:
            says = f"{path} makes it more than {MOST_BYTES >> 20} MiB."
            raise Refusal(says, "Apply the files one after the other.", code="too-large")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path} cannot be read as text.", "Name a readable file in UTF-8.", code="bad-file") from error


@contextmanager
def _each_told(as_json: bool) -> Iterator[None]:
    """Everything that is wrong with the files, for people: the error itself tells the first of it."""
    try:
        yield
    except Problem as problem:
        for error in problem.errors[1:] if not as_json else ():
            note(printable(f"{error.field}: {error.says} {error.remedy}"))
        raise


def _refuse(plan: ConfigPlan) -> None:
    """As applying it would be refused, before anybody is asked whether it shall be applied."""
    if plan.faults:
        first, more = plan.faults[0], len(plan.faults) - 1
        message = f"{first.where}: {first.message}" + (f" And {more} more." if more else "")
        errors = [FieldError(one.where, one.message, one.remedy, one.code) for one in plan.faults]
        raise Refused(message, first.remedy, code="plan-refused", status=422, errors=errors)


def _credentials(sources: Sequence[Source], plan: ConfigPlan) -> dict[str, str]:
    """`KIND/NAME` -> credential, read here, by this process, for what is going to be written and nothing else."""
    written = {(one.kind, one.name) for one in plan.objects if one.action in ("create", "change")}
    found = {key: _secret(told) for key, told in needs(sources).items() if key in written}
    return {f"{kind}/{name}": secret for (kind, name), secret in found.items() if secret is not None}


def _secret(told: Mapping[str, str]) -> str | None:
    """None where there is nothing: applying refuses to go on where it is needed, and does not ask where it is not."""
    if "fromEnv" in told:
        return os.environ.get(told["fromEnv"]) or None
    try:
        with Path(told["fromFile"]).open(encoding="utf-8") as stream:
            return stream.read(1 << 16).strip() or None
    except (OSError, UnicodeDecodeError, KeyError):
        return None


def _ask() -> None:
    """A person agrees to what is shown; where nobody can, the plan's digest has to be named."""
    if not sys.stdin.isatty():
        raise Refusal(
            "Applying is bound to a plan that somebody looked at.",
            "Name it with `--plan DIGEST`, as `--dry-run` prints it, or `--yes` for what is different now.",
            code="not-named",
        )
    if click.prompt("Type yes to apply what is shown above", err=True).strip() != "yes":
        raise Refusal("You did not agree.", "Nothing was done.", code="not-agreed")


def _show(plan: ConfigPlan, as_json: bool) -> None:
    """For people, on standard error: what standard output holds is what became of it."""
    for line in () if as_json else _plan_lines(plan):
        note(line)


def _end_dry(plan: ConfigPlan, as_json: bool) -> None:
    emit(as_json, _plan_told(plan), [*_plan_lines(plan), f"The plan is {plan.digest}"])
    sys.exit(REFUSED if plan.faults else DIFFERS if plan.differs else 0)


def _plan_lines(plan: ConfigPlan) -> Iterator[str]:
    for one in plan.objects:
        if one.action != "none" or one.refused is not None or one.notes:
            yield from _object_lines(one)
    counts = plan.counts
    refused = f"; {len(plan.faults)} refused" if plan.faults else ""
    yield (
        f"{counts['create']} to create, {counts['change']} to change, {counts['remove']} to remove; "
        f"{counts['none']} as declared, {counts['waits']} waiting for somebody{refused}."
    )
    for kind, names in plan.left.items():
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield printable(f"In no file, and left alone: {kind} {', '.join(names[:_MOST_NAMES])}{more}.")


def _object_lines(one: ConfigObject) -> Iterator[str]:
    hows = {
        "request": "a second person confirms it",
        "move": "another person confirms the move",
        "change": "proposed as a change",
    }
    says = ", ".join(hows[how] for how in one.how if how in hows)
    sign = "!" if one.refused is not None else _SIGNS[one.action]
    yield printable(f"{sign} {one.kind} {one.name}" + (f" ({says})" if says else ""))
    for change in one.fields:
        yield "    " + printable(_field_line(change))
    for text in one.notes:
        yield "    " + printable(text)
    if one.refused is not None:
        yield "    refused: " + printable(str(one.refused))


def _field_line(change: ConfigField) -> str:
    if isinstance(change.old, list) and isinstance(change.new, list) and all(isinstance(one, str) for one in change.new):
        told = [f"+{one}" for one in change.new if one not in change.old] + [
            f"-{one}" for one in change.old if one not in change.new
        ]
        return f"{change.field}: {', '.join(told)}"
    if change.old is None:
        return f"{change.field}: {_value(change.new)}"
    return f"{change.field}: {_value(change.old)} -> {_value(change.new)}"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:397]}..."


def _done_lines(applied: ConfigApplied) -> Iterable[str]:
    for one in applied.done:
        refused = f" {one.refused}" if one.refused is not None else ""
        yield printable(f"{one.kind} {one.name}: {one.says}{refused}")
    if not applied.done:
        yield "Everything is as declared."


def _plan_told(plan: ConfigPlan) -> dict[str, Any]:
    return {
        "plan": plan.digest,
        "differs": plan.differs,
        "counts": plan.counts,
        "objects": plan.objects,
        "left": plan.left,
    }
