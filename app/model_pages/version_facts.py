"""The facts of one version in words: where it comes from, what its bytes are, what of it may hurt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app import wiring
from app.kit import components
from app.kit.plain import escape
from app.kit.states import badge
from app.model_pages.versions import Whole
from backend.delivery.placed import PackageLine
from backend.registry.queries import VersionPage

_SHOWN, _MOST = 6, 40
_LONGEST = 90
"""Characters of a name or a value that stand among the facts; the whole is among the whole values."""


def state_of(found: VersionPage) -> list[str]:
    """The version's own badges."""
    kept = found.registered
    said = [badge("version", "registered" if kept is not None else "unregistered")]
    if found.told.removed_at is not None:
        said.append(badge("version", "removed"))
    if kept is not None and kept.pickled:
        said.append(badge("version", "pickled", f"{len(kept.pickled)} pickled"))
    if found.changed_since:
        said.append(badge("version", "changed"))
    return said


def facts(found: Whole, look: wiring.Reading) -> list[tuple[str, str]]:
    """The chosen version, field by field; cells are Markdown."""
    assert found.chosen is not None  # noqa: S101 - the page asks only where one was chosen
    told, kept = found.chosen.told, found.chosen.registered
    rows = [
        ("Created", components.since(told.created_at, look.now)),
        ("Author", _author(found)),
        ("Run", components.short(told.run_id) if told.run_id else ":gray[none]"),
        ("Code commit", components.short(told.code_version) if told.code_version else ":gray[none recorded]"),
        ("Metrics", _some(told.metrics) or ":gray[none logged]"),
        ("Data sets", escape(", ".join(str(one.get("name")) for one in told.datasets[:5])) or ":gray[none logged]"),
    ]
    if kept is None:
        return [*rows, ("Artifact", ":gray[not read yet: register it first]")]
    by = escape(found.names.get(kept.registered_by or "", "somebody"))
    registered = components.since(kept.registered_at, look.now)
    return [
        *rows,
        ("Artifact", f"{components.short(kept.artifact_digest or '')} · {_size(kept.artifact_files)}"),
        ("Signature", _signature(kept.signature)),
        ("Tags", _some(told.tags) or ":gray[none]"),
        ("Pickled code", _pickled(kept.pickled)),
        ("Packages", _packages(found.packages)),
        ("Registered", f"{by}, {registered}"),
        ("Changed in MLflow", escape(", ".join(found.chosen.changed_since)) or ":gray[nothing]"),
    ]


def description(found: Whole) -> tuple[int | None, str]:
    """(number, what MLflow says) of the chosen version."""
    return (found.chosen.told.number, found.chosen.told.description) if found.chosen is not None else (None, "")


def whole_values(found: Whole) -> dict[str, str]:
    """What the facts show cut, to be copied."""
    assert found.chosen is not None  # noqa: S101
    told, kept = found.chosen.told, found.chosen.registered
    values: dict[str, str | None] = {
        "Artifact digest": kept.artifact_digest if kept is not None else None,
        "Run": told.run_id,
        "Code commit": told.code_version,
        "Source in MLflow": told.source,
        **{f"Package for {one.target}": one.digest for one in found.packages},
        **{f"Data set {one.get('name')}": str(one.get("digest")) for one in told.datasets[:20]},
        **{f"Metric {name}": str(value) for name, value in [*told.metrics.items()][:_MOST]},
        **{f"Tag {name}": str(value) for name, value in [*told.tags.items()][:_MOST]},
    }
    return {name: value for name, value in values.items() if value}


def in_mlflow(model: str, number: int | None = None) -> str | None:
    """Where MLflow shows it; None where no registry is configured that a browser could open."""
    return _at_mlflow(f"models/{quote(model, safe='')}" + (f"/versions/{number}" if number is not None else ""))


def run_in_mlflow(run_id: str) -> str | None:
    """Where MLflow shows a run, whose experiment it looks up itself; None as above."""
    return _at_mlflow(f"runs/{quote(run_id, safe='')}")


def _at_mlflow(page: str) -> str | None:
    url = wiring.backend().settings.mlflow_url
    if url is None or not url.startswith(("http://", "https://")):
        return None
    return f"{url.rstrip('/')}/#/{page}"


def _some(values: Mapping[str, Any]) -> str:
    """The first six of many, one below the other: a value that is torn from its name would read as another's."""
    shown = [f"{escape(name, _LONGEST)} **{_value(value)}**" for name, value in [*values.items()][:_SHOWN]]
    more = [f":gray[and {len(values) - _SHOWN} more]"] if len(values) > _SHOWN else []
    return "  \n".join([*shown, *more])


def _value(value: object) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else value, _LONGEST)


def _author(found: Whole) -> str:
    assert found.chosen is not None  # noqa: S101
    told, kept = found.chosen.told, found.chosen.registered
    if kept is not None and kept.author_identity_id is not None:
        return f"{escape(found.names.get(kept.author_identity_id, kept.author))} {badge('author', 'verified')}"
    return f"{escape(told.author or 'unknown')} {badge('author', 'claimed')}"


def _size(files: Sequence[Sequence[Any]]) -> str:
    return f"{len(files)} files, {megabytes(sum(int(one[1]) for one in files))}"


def megabytes(size: int) -> str:
    """A size in the unit that fits it."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:.3g} GiB"


def _signature(signature: Mapping[str, Any] | None) -> str:
    if not signature:
        return ":gray[none logged]"
    return ", ".join(_sided(side, len(columns)) for side, columns in signature.items() if columns)


def _sided(side: str, count: int) -> str:
    return f"{count} {escape(side.removesuffix('s') if count == 1 else side)}"


def _pickled(files: Sequence[str]) -> str:
    if not files:
        return "none found"
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"{badge('version', 'pickled', 'Runs when loaded')} {escape(', '.join(files[:3]))}{more}"


def _packages(packages: Sequence[PackageLine]) -> str:
    if not packages:
        return ":gray[none built yet]"
    return "  \n".join(f"{components.short(one.digest)} · {escape(one.target)}, {megabytes(one.size)}" for one in packages[:5])
