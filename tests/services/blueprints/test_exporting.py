"""Exports of an installation in which people have worked for a week: applied again they change nothing, and tell no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend import bootstrap
from backend.access.service import actor_of, named_identity
from backend.blueprints.faults import Faulty
from backend.blueprints.kinds import Told
from backend.blueprints.needs import needs
from backend.blueprints.text import Source
from backend.blueprints.writing import written
from backend.bootstrap import Backend
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.settings import Settings
from scripts.tables import config_schema
from tests.command_line import CommandLine
from tests.installations import PRODUCTION, SERVERS, copied

SECRET = "planted-7f3a9c51-never-told"


@dataclass(frozen=True)
class Place:
    """An installation, and who may do what there."""

    folder: Path
    backend: Backend
    otto: Actor

    def exported(self, actor: Actor | None = None, **options: Any) -> str:
        return written(self.backend.blueprints.export(actor or self.otto, **options))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, week: Path) -> Iterator[Place]:
    folder = copied(week, tmp_path_factory.mktemp("exports") / "data")
    backend = bootstrap.build(Settings(data_dir=folder, demo_identities=True))
    otto, olga = backend.identities.act_as("otto"), backend.identities.act_as("olga")
    backend.teams.create(otto, "flights", "Flight delays: *all* of them")
    backend.teams.add_member(otto, "flights", "ana")
    owning = backend.teams.set_owner(otto, "endpoint", PRODUCTION, "flights")
    assert owning is not None
    backend.teams.confirm_owner(backend.identities.act_as("nora"), owning.id)
    backend.ramps.set(olga, "careful", [{"share": 1_250, "hold_seconds": 5_400, "person": True}])
    path = folder / "servers" / "secret.json"
    backend.servers.register(
        olga, name="secret", kind="memory", settings={"path": str(path)}, upstream=f"memory:{path}", credential=SECRET
    )
    path = folder / "servers" / "referred.json"
    backend.servers.register(
        olga, name="referred", kind="memory", settings={"path": str(path)}, upstream=f"memory:{path}", credential_from="file:eu"
    )
    yield Place(folder, backend, otto)
    backend.close()


def test_what_is_exported_applies_without_a_difference(place: Place) -> None:
    text = place.exported()
    plan = place.backend.blueprints.plan(place.otto, [Source("all.yaml", text)])
    assert not plan.differs, [one for one in plan.objects if one.action != "none"]
    assert not plan.faults
    assert plan.left == {}
    assert {one.kind for one in plan.objects} == {"Ramp", "Environment", "Server", "Router", "Team", "Endpoint"}
    assert place.exported() == text, "one state has one text"
    assert SECRET not in text
    assert "set: true" in text
    assert 'reference: "file:eu"' in text


def test_what_is_exported_fits_the_published_schema(place: Place) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(config_schema()))
    for one in place.backend.blueprints.export(place.otto):
        schema.validate(json.loads(json.dumps(one)))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_part_of_an_export_in_any_order_applies_without_a_difference(place: Place, data: st.DataObject) -> None:
    objects = data.draw(st.permutations(place.backend.blueprints.export(place.otto)))
    chosen = objects[: data.draw(st.integers(1, len(objects)))]
    parts = [{**one, "spec": _some(data, one["spec"])} for one in chosen]
    plan = place.backend.blueprints.plan(place.otto, [Source("part.yaml", written(parts))])
    assert not plan.differs
    assert not plan.faults


def _some(data: st.DataObject, spec: dict[str, Any]) -> dict[str, Any]:
    """Some fields of a spec: what is left out is not managed. A ramp is its steps."""
    return {name: value for name, value in spec.items() if name == "steps" or data.draw(st.booleans())}


def test_only_kinds_and_names_that_are_there_are_exported(place: Place) -> None:
    assert place.exported(kinds=["Team"]).count("kind: Team") == 1
    assert place.exported(names=[SERVERS[0]]).count("apiVersion") == 1
    for options in ({"kinds": ["Grant"]}, {"names": ["nothing-there"]}):
        with pytest.raises(NotFound):
            place.exported(**options)


def test_one_sees_and_compares_only_what_ones_roles_reach(place: Place) -> None:
    backend = place.backend
    backend.identities.create(place.otto, "nils")
    backend.identities.grant(place.otto, "nils", "viewer", "environment:staging")
    with backend.database.read() as session:
        nils = actor_of(named_identity(session, "nils"))
    text = place.exported(nils)
    assert f"name: {PRODUCTION}\n" not in text
    assert "secret" not in text
    assert "endpoints:" not in text, "a part of what a team owns would read like the whole"
    hidden = f"apiVersion: countersign/v1\nkind: Endpoint\nmetadata: {{name: {PRODUCTION}}}\nspec: {{repair: report}}\n"
    plan = backend.blueprints.plan(nils, [Source("x.yaml", hidden)])
    assert plan.objects[0].fields == ()
    assert plan.objects[0].action == "create", "it tells of nothing that is there"
    stranger = backend.identities.create(place.otto, "stranger")
    with pytest.raises(Refusal) as refused:
        backend.blueprints.export(stranger)
    assert refused.value.code == "not-allowed"


def test_a_template_is_in_no_file_until_somebody_names_a_ramp_of_his_own_so(place: Place) -> None:
    backend, olga = place.backend, place.backend.identities.act_as("olga")
    assert "canary" not in place.exported(kinds=["Ramp"])
    steps = "[{shadow: true, hold: 30m, person: true}, {share: 1, hold: 10m, units: 100, statistics: not_failed}]"
    declared = f"apiVersion: countersign/v1\nkind: Ramp\nmetadata: {{name: canary}}\nspec: {{steps: {steps}}}\n"
    plan = backend.blueprints.plan(olga, [Source("ramp.yaml", declared)])
    assert [(one.name, one.action) for one in plan.objects] == [("canary", "create")]
    backend.blueprints.apply(olga, [Source("ramp.yaml", declared)], plan=plan.digest)
    text = place.exported(names=["canary"])
    assert not backend.blueprints.plan(olga, [Source("ramp.yaml", text)]).differs
    assert not backend.blueprints.plan(olga, [Source("ramp.yaml", declared)]).differs
    with pytest.raises(Faulty, match="share"):
        backend.blueprints.plan(olga, [Source("ramp.yaml", declared.replace("share: 1,", "share: 0,"))])
    lacking = backend.blueprints.plan(olga, [Source("ramp.yaml", declared.replace("share: 1, ", ""))])
    assert [one.code for one in lacking.faults] == ["bad-ramp"]
    backend.ramps.remove(olga, "canary")


def server(name: str, spec: str) -> list[Source]:
    head = f"apiVersion: countersign/v1\nkind: Server\nmetadata: {{name: {name}}}\nspec:\n"
    return [Source("s.yaml", head + "".join(f"  {line}\n" for line in spec.splitlines()))]


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "127.0.0.1", "2130706433", "10.0.0.1"])
def test_an_address_that_nobody_allowed_is_refused_in_the_plan(place: Place, host: str) -> None:
    spec = f"kind: triton\nupstream: 93.184.216.34:80\nsettings: {{url: 'http://{host}/', model_repository: /srv/m}}"
    plan = place.backend.blueprints.plan(place.otto, server("metadata", spec))
    assert [one.code for one in plan.faults] in (["address-not-allowed"], ["bad-url"]), plan.faults


def test_a_server_may_not_write_where_countersign_keeps_its_own(place: Place) -> None:
    path = place.folder / "keys" / "x.json"
    spec = f"kind: memory\nupstream: 'memory:{path}'\nsettings: {{path: '{path}'}}"
    plan = place.backend.blueprints.plan(place.otto, server("own", spec))
    assert [one.code for one in plan.faults] == ["path-reserved"]


def test_a_credential_is_named_entered_once_and_never_told(place: Place) -> None:
    backend, path = place.backend, place.folder / "servers" / "named.json"
    spec = f"kind: memory\nupstream: 'memory:{path}'\nsettings: {{path: '{path}'}}\ncredential: {{fromEnv: THE_KEY}}"
    sources = server("named", spec)
    assert needs(sources) == {("Server", "named"): {"fromEnv": "THE_KEY"}}
    plan = backend.blueprints.plan(place.otto, sources)
    assert ("credential", None, "set") in [(one.field, one.old, one.new) for one in plan.objects[0].fields]
    assert not plan.faults, "a plan needs no credential"
    with pytest.raises(Refusal) as refused:
        backend.blueprints.apply(place.otto, sources)
    assert refused.value.code == "credential-missing"
    told = Told(secrets={("Server", "named"): SECRET})
    backend.blueprints.apply(place.otto, sources, plan=plan.digest, told=told)
    assert not backend.blueprints.plan(place.otto, sources).differs
    renewed = backend.blueprints.plan(place.otto, sources, told=Told(renew=True))
    assert [one.field for one in renewed.objects[0].fields] == ["credential"]
    for file in place.folder.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    made_up = server("made-up", spec.replace("named.json", "made-up.json").replace("fromEnv: THE_KEY", "set: true"))
    assert [one.code for one in backend.blueprints.plan(place.otto, made_up).faults] == ["credential-needed"]


def credential(place: Place, name: str) -> str:
    (exported,) = place.backend.blueprints.export(place.otto, kinds=["Server"], names=[name])
    return json.dumps(exported["spec"].get("credential"))


def test_a_reference_is_a_field_like_any_other_and_needs_no_secret(place: Place) -> None:
    """Declared, changed, entered in its place and referred to again: each is one difference, and then there is none."""
    path = place.folder / "servers" / "changing.json"
    spec = f"kind: memory\nupstream: 'memory:{path}'\nsettings: {{path: '{path}'}}\ncredential: "
    sealed = Told(secrets={("Server", "changing"): SECRET})
    walk = [
        ("{reference: 'file:eu'}", (None, "file:eu"), '{"reference": "file:eu"}'),
        ("{reference: 'env:EU_2'}", ("file:eu", "env:EU_2"), '{"reference": "env:EU_2"}'),
        ("{fromEnv: THE_KEY}", ("env:EU_2", "set"), '{"set": true}'),
        ("{reference: 'file:eu'}", ("set", "file:eu"), '{"reference": "file:eu"}'),
    ]
    for refers, change, exported in walk:
        sources = server("changing", spec + refers)
        plan = place.backend.blueprints.plan(place.otto, sources)
        assert [(one.old, one.new) for one in plan.objects[0].fields if one.field == "credential"] == [change]
        place.backend.blueprints.apply(place.otto, sources, plan=plan.digest, told=sealed)
        assert not place.backend.blueprints.plan(place.otto, sources).differs
        assert credential(place, "changing") == exported
    kept = server("changing", spec + "{set: true}")
    assert not place.backend.blueprints.plan(place.otto, kept).differs, "as it is, whichever it is"
    moved = server("changing", spec.replace("changing.json", "moved.json") + "{reference: 'file:eu'}")
    place.backend.blueprints.apply(place.otto, moved)
    assert credential(place, "changing") == '{"reference": "file:eu"}'


@pytest.mark.parametrize(
    "refers", ["{reference: '../keys/x'}", "{reference: 'file:eu', fromEnv: A}", "{reference: 'vault:x'}", "{}"]
)
def test_what_is_no_reference_or_names_two_places_is_refused(place: Place, refers: str) -> None:
    path = place.folder / "servers" / "none.json"
    spec = f"kind: memory\nupstream: 'memory:{path}'\nsettings: {{path: '{path}'}}\ncredential: {refers}"
    try:
        faults = place.backend.blueprints.plan(place.otto, server("none", spec)).faults
    except Faulty as faulty:
        faults = faulty.faults
    assert [(one.code, one.where.startswith("s.yaml:8:")) for one in faults] == [("bad-config", True)], faults


def test_what_files_need_is_known_without_any_backend() -> None:
    """At a command that acts far away. What else is wrong with the files is the plan's to say."""
    text = "kind: Server\nmetadata: {name: a}\nspec: {credential: {fromFile: /run/a}, odd: 1}\n---\n[1]\n---\nkind: Later\n"
    assert needs([Source("x.yaml", text)]) == {("Server", "a"): {"fromFile": "/run/a"}}
    program = "import sys, backend.cli.config; print({'sqlmodel', 'pydantic', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_command_line_plans_asks_applies_and_exports(place: Place, tmp_path: Path) -> None:
    countersign = CommandLine(data_dir=str(place.folder), demo_identities="true")
    file = tmp_path / "teams.yaml"
    file.write_text("apiVersion: countersign/v1\nkind: Team\nmetadata: {name: taxis}\nspec: {title: Taxis, members: [carla]}\n")
    (tmp_path / "ignored.txt").write_text("{")
    dry = countersign("apply", "-f", str(tmp_path), "--dry-run", by="otto")
    assert (dry.code, dry.content["differs"]) == (8, True)
    unnamed = countersign("apply", "-f", str(file), by="otto")
    assert (unnamed.code, unnamed.error) == (2, "not-named")
    done = countersign("apply", "-f", str(file), "--plan", dry.content["plan"], by="otto")
    assert (done.code, [one["says"] for one in done.content["done"]]) == (0, ["Created."])
    assert countersign("apply", "-f", "-", "--dry-run", by="otto", given=file.read_text()).code == 0
    stale = countersign("apply", "-f", str(file), "--plan", dry.content["plan"], by="otto")
    assert (stale.code, stale.error) == (2, "stale-plan")
    file.write_text("apiVersion: countersign/v1\nkind: Team\nmetadata: {name: taxis}\nspec: {members: [carla, otto]}\n")
    refused = countersign("apply", "-f", str(file), "--dry-run", by="otto")
    assert (refused.code, refused.content["objects"][0]["refused"]["code"]) == (2, "own-identity")
    file.write_text("spec: {\n")
    assert countersign("apply", "-f", str(file), "--dry-run", by="otto").error == "bad-config"
    assert [one["kind"] for one in countersign("export", "--kind", "Ramp", by="otto").content["objects"]] == ["Ramp"]
    assert "steps:" in countersign.text("export", "--kind", "Ramp", by="otto")


def test_a_ramp_has_a_name_that_proposals_use_and_policies_ask_for(place: Place) -> None:
    countersign = CommandLine(data_dir=str(place.folder), demo_identities="true")
    assert countersign("ramp", "set", "quick", "50:1m", by="olga").content["ramp"]["revision"] == 1
    assert countersign("ramp", "set", "quick", "25:1m,50:2m", by="olga").content["ramp"]["revision"] == 2
    assert "quick         1     25 %" in countersign.text("ramp", "list", by="olga")
    assert countersign("ramp", "set", "quick", "50:1m,25:1m", by="olga").error == "bad-ramp"
    assert countersign("ramp", "set", "10", "50:1m", by="olga").error == "bad-name"
    assert countersign("ramp", "set", "quick", "50:1m", by="ana").error == "not-allowed"
    gated = "shadow:30m:person,1:10m:units=1000,25:1h:units=5000:proved:person"
    told = countersign("ramp", "set", "quick", gated, by="olga").content["ramp"]["steps"]
    assert [(one["share"], one["min_units"], one["statistics"], one["person"], one["shadow"]) for one in told] == [
        (0, 0, None, True, True), (100, 1_000, None, False, False), (2_500, 5_000, "passed", True, False),
    ]  # fmt: skip
    listed = [" ".join(line.split()) for line in countersign.text("ramp", "list", by="olga").splitlines()]
    at = listed.index("quick 1 copies 30m, then a person")
    assert listed[at + 1 : at + 3] == [
        "2 1 % 10m, then 1,000 units",
        "3 25 % 1h, then 5,000 units, then guardrails proved, then a person",
    ]
    assert countersign("ramp", "remove", "quick", by="olga").code == 0
    assert countersign("ramp", "remove", "quick", by="olga").error == "not-found"
