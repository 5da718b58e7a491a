"""A settings model becomes a form, and what is wrong with what was typed stands beside its field."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from streamlit.testing.v1 import AppTest

from app.kit import forms
from backend.delivery.routers.names import ROUTERS
from backend.delivery.routers.port import Router
from backend.delivery.targets.names import TARGETS, target_type
from backend.delivery.targets.port import Target
from backend.policy.rules import Policy


class Kind(Enum):
    PLAIN = "plain"
    FANCY = "fancy"


def _url(text: str) -> str:
    if not text.startswith("http"):
        raise ValueError("give an address that begins with http")
    return text


class Model(BaseModel):
    """One field of each kind."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, AfterValidator(_url)] = Field(title="Address", description="Where it answers.")
    folder: Path | None = None
    token: SecretStr | None = None
    seconds: float = Field(10.0, ge=0.1, le=120)
    most: int = Field(5, ge=1, le=10)
    verify: bool = True
    kind: Kind = Kind.PLAIN
    mode: Literal["fast", "safe"] = "safe"
    hosts: tuple[str, ...] = ()
    start: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    schema_number: int = Field(1, alias="schema")

    @model_validator(mode="after")
    def _together(self) -> Model:
        if self.mode == "fast" and self.verify:
            raise ValueError("fast goes without verifying")
        return self


TYPED = {
    "url": " http://triton:8000 ", "folder": "/models", "token": "s3cret ", "seconds": 2.5, "most": 3, "verify": False,
    "kind": "fancy", "mode": "fast", "hosts": "a\n\n b ", "start": "2026-11-25 19:14", "labels": '{"team": "ops"}',
    "schema_number": 1,
}  # fmt: skip


def test_what_was_typed_becomes_the_settings() -> None:
    found, errors = forms.validated(Model, TYPED)
    assert errors == {}
    assert found is not None
    assert found.url == "http://triton:8000"
    assert found.token is not None
    assert found.token.get_secret_value() == "s3cret ", "a secret is taken as it is"
    assert (found.folder, found.hosts, found.kind) == (Path("/models"), ("a", "b"), Kind.FANCY)
    assert found.start == datetime(2026, 11, 25, 19, 14, tzinfo=UTC)
    assert found.labels == {"team": "ops"}


def test_an_empty_field_means_the_models_own_default() -> None:
    found, errors = forms.validated(Model, {"url": "http://x", "folder": "", "hosts": "", "labels": "", "seconds": None})
    assert errors == {}
    assert found == Model(url="http://x")


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"url": ""}, "url", "Fill this in."),
        ({"url": "ftp://x"}, "url", "Give an address that begins with http."),
        ({"seconds": 0.01}, "seconds", "Input should be greater than or equal to 0.1."),
        ({"most": 2.5}, "most", "Input should be a valid integer, got a number with a fractional part."),
        ({"labels": "{"}, "labels", "This is not JSON: Expecting property name enclosed in double quotes at character 2."),
        ({"labels": "[1]"}, "labels", "Input should be a valid dictionary."),
        ({"start": "soon"}, "start", "'soon' is not a time. Write it like 2026-11-25 19:14, in UTC."),
        ({"schema_number": "x"}, "schema_number", None),
        ({"verify": True}, forms.WHOLE_FORM, "Fast goes without verifying."),
    ],
)
def test_what_is_wrong_stands_beside_its_field(wrong: dict[str, object], field: str, says: str | None) -> None:
    found, errors = forms.validated(Model, {**TYPED, **wrong})
    assert found is None
    assert list(errors) == [field]
    assert says is None or errors[field] == says


def test_no_error_repeats_a_secret() -> None:
    class Strict(BaseModel):
        token: SecretStr = Field(min_length=40)

    _, errors = forms.validated(Strict, {"token": "hunter2"})
    assert errors
    assert "hunter2" not in str(errors)


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_the_settings_of_every_target_can_be_drawn(kind: str) -> None:
    known = (str, Path, bool, int, float, datetime)
    for name, info in target_type(kind).Settings.model_fields.items():
        drawn = forms.kind_of(info.annotation)
        assert drawn in known or isinstance(drawn, type) or hasattr(drawn, "__origin__"), name


def test_a_form_is_drawn_sent_corrected_and_read() -> None:
    test = AppTest.from_function(_page, default_timeout=60).run()
    assert not test.exception
    labels = [one.label for one in (*test.text_input, *test.text_area, *test.number_input, *test.selectbox, *test.toggle)]
    assert len(labels) == len(Model.model_fields)
    assert "Address" in labels
    test.text_input(key="f.url").set_value("nowhere")
    send(test)
    assert "Give an address that begins with http" in text(test)
    assert test.text_input(key="f.url").value == "nowhere", "what was typed stays"
    test.text_input(key="f.url").set_value("http://triton")
    send(test)
    assert "read http://triton" in text(test)
    assert "Give an address" not in text(test)


def test_a_policy_can_be_drawn() -> None:
    assert not AppTest.from_function(_policy, default_timeout=60).run().exception
    assert Policy.model_fields["ramp"].annotation is not None


def send(test: AppTest) -> None:
    test.button(key="send").click().run()


def text(test: AppTest) -> str:
    return "\n".join(one.value for one in test.markdown).replace("\\", "")


def _page() -> None:
    import streamlit as st

    from app.kit import forms
    from tests.pages.test_forms import Model

    draft = forms.draw(Model, key="f")
    if st.button("Send", key="send"):
        read = draft.read()
        if read is not None:
            st.markdown(f"read {read.url}")


def _policy() -> None:
    from app.kit import forms
    from backend.policy.rules import BUILT_IN, Policy

    forms.draw(Policy, key="p", start=BUILT_IN["production"].model_dump())


@pytest.mark.parametrize("adapter", [*TARGETS.values(), *ROUTERS.values()], ids=lambda one: f"{one.__name__}")
def test_every_setting_of_an_adapter_has_a_title_and_says_what_it_is(adapter: type[Target] | type[Router]) -> None:
    fields = adapter.Settings.model_fields
    assert [name for name, info in fields.items() if not info.title or not info.description] == []
    titles = [info.title for info in fields.values()]
    assert len({*titles}) == len(titles), "two fields of one form have the same title"
