"""Where a version comes from and where it went: run, commit, data sets, version, packages, endpoints, from rows.

Each thing has an id of its own, so that the graph and the list beside it speak of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import streamlit as st

from app import ways
from app.kit import charts, components, lineage
from app.kit.lineage import Edge, Node
from app.kit.palette import current
from app.kit.plain import escape
from app.kit.states import look
from app.model_pages.version_facts import megabytes, run_in_mlflow
from app.model_pages.versions import Whole
from backend.delivery.placed import Placement
from backend.delivery.records import Share
from backend.registry.queries import VersionPage

_MOST_DATASETS = 4
_MOST_ENDPOINTS = 8


@dataclass(frozen=True)
class Origins:
    """The graph of one version; `more` is what stands beside it and not in it."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    more: str = ""


def of(found: Whole) -> Origins:
    """The graph of the chosen version; only what was recorded is in it."""
    chosen = found.chosen
    assert chosen is not None  # noqa: S101 - the page asks only where one was chosen
    before = list(_before(chosen))
    version = _version(found, chosen)
    packages = [
        Node(one.digest, components.short(one.digest), "Package", f"{one.target}, {megabytes(one.size)}", whole=one.digest)
        for one in found.packages
    ]
    endpoints = [(one, share) for one in found.placements for share in one.shares if share.version == chosen.told.number]
    shown = endpoints[:_MOST_ENDPOINTS]
    nodes = (*before, version, *packages, *(_endpoint(one, share) for one, share in shown))
    edges = (*_into(before, version), *((version.id, one.id) for one in packages), *_onto(version, packages, shown))
    return Origins(nodes, tuple(edges), _more(chosen, len(endpoints)))


def draw(found: Origins) -> None:
    """The graph."""
    said = "; ".join(f"{one.kind} {one.name}" for one in found.nodes)
    charts.show(lineage.graph(current(), found.nodes, found.edges), key="lineage", alt=f"Lineage from left to right: {said}")
    if found.more:
        st.markdown(f":small[:gray[{found.more}]]")


def listed(found: Origins, model: str, version: int) -> None:
    """Every node by name, whole, with the way to it or what to copy: for a keyboard, a screen reader, and a narrow window."""
    with st.expander("Everything in the graph, to open and to copy", icon=":material/list:", expanded=True):
        for node in found.nodes:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(f":small[:gray[{escape(node.kind)}]]", width=88)
                st.markdown(f":small[**{escape(node.name)}** :gray[{escape(node.more)}]]", width="stretch")
                _way(node, model, version)
                if node.whole:
                    components.digests({node.kind: node.whole}, "Copy")


def _way(node: Node, model: str, version: int) -> None:
    """What leads to a node that has a page here or in MLflow."""
    opens: dict[str, tuple[str, dict[str, str]]] = {
        "Endpoint": ("endpoint", {"endpoint": node.name}),
        "Version": ("model", {"model": model, "version": str(version)}),
    }
    if node.kind in opens and st.button("Open", key=f"open.{node.id}", type="tertiary", icon=":material/chevron_right:"):
        page, query = opens[node.kind]
        ways.go(page, **query)
    url = run_in_mlflow(node.whole) if node.kind == "Run" else None
    if url is not None:
        st.link_button("Open in MLflow", url, icon=":material/open_in_new:", type="tertiary")


def _before(chosen: VersionPage) -> Iterator[Node]:
    """What came before the version, in the graph's order."""
    told = chosen.told
    if told.code_version:
        yield Node("commit", components.short(told.code_version).replace("\\", ""), "Code commit", whole=told.code_version)
    for number, one in enumerate(told.datasets[:_MOST_DATASETS]):
        digest = str(one.get("digest") or "")
        says = f"{one.get('context') or 'no context'}, digest {digest or 'unknown'}"
        yield Node(f"data.{number}", str(one.get("name") or "unnamed"), "Data set", says, whole=digest)
    if told.run_id:
        name = components.short(told.run_id).replace("\\", "")
        yield Node("run", name, "Run", f"by {told.author or 'unknown'}", whole=told.run_id)


def _version(found: Whole, chosen: VersionPage) -> Node:
    kept = chosen.registered
    digest = (kept.artifact_digest or "") if kept is not None else ""
    says = "registered" if digest else "not registered here"
    tone = look("version", "registered" if kept is not None else "unregistered").tone
    return Node("version", f"{found.line.name} v{chosen.told.number}", "Version", says, tone, digest)


def _endpoint(one: Placement, share: Share) -> Node:
    does = f"{share.buckets / 100:g} %" if share.role == "arm" else share.role
    says = f"{one.endpoint.environment}, {does}, {look('endpoint', one.endpoint.state).word}"
    return Node(f"endpoint.{one.endpoint.id}", one.endpoint.name, "Endpoint", says, look("endpoint", one.endpoint.state).tone)


def _into(before: Sequence[Node], version: Node) -> list[Edge]:
    """Through the run, where there is one."""
    run = next((one for one in before if one.id == "run"), None)
    if run is None:
        return [(one.id, version.id) for one in before]
    return [*((one.id, run.id) for one in before if one is not run), (run.id, version.id)]


def _onto(version: Node, packages: Sequence[Node], shown: Sequence[tuple[Placement, Share]]) -> list[Edge]:
    """From the package that an endpoint was given; straight from the version where that package is not known here."""
    known = {one.id for one in packages}
    return [
        (share.package_digest if share.package_digest in known else version.id, f"endpoint.{one.endpoint.id}")
        for one, share in shown
    ]


def _more(chosen: VersionPage, endpoints: int) -> str:
    parts = []
    if (left := len(chosen.told.datasets) - _MOST_DATASETS) > 0:
        parts.append(f"{left} more data sets")
    if (left := endpoints - _MOST_ENDPOINTS) > 0:
        parts.append(f"{left} more endpoints")
    if chosen.told.run_id is None:
        parts.append("no run is recorded for this version")
    return ", ".join(parts)
