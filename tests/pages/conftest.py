"""A migrated installation with the demo identities, and pages opened in it as somebody."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app import wiring
from backend import bootstrap
from backend.bootstrap import Backend
from backend.settings import Settings
from tests import plain_logs
from tests.browsers import UNWATCHED, chromium
from tests.installations import copied
from tests.model_story import told

__all__ = ["backend", "chromium", "filled", "full", "full_page", "page", "prepared"]

ROOT = Path(__file__).resolve().parents[2]
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `countersign migrate` makes it, copied for each test."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    backend = bootstrap.build(Settings(data_dir=folder, demo_identities=True))
    bootstrap.prepare(backend)
    backend.close()
    return folder


@pytest.fixture
def backend(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend that the pages of this test use."""
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    yield from _wired(folder, monkeypatch)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, week: Path) -> Path:
    """A data folder in which people worked for a week, with what is told of its models; leave it as it is."""
    folder = copied(week, tmp_path_factory.mktemp("filled") / "data")
    told(folder)
    return folder


@pytest.fixture
def full(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend that the pages of this test use, on a filled folder of their own."""
    yield from _wired(copied(filled, tmp_path / "data"), monkeypatch)


def _wired(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(folder))
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "true")
    for name, value in UNWATCHED.items():
        monkeypatch.setenv(name, value)
    wiring.forget()
    st.cache_data.clear()  # what a page keeps for a while is of another installation
    yield wiring.backend()
    wiring.forget()
    plain_logs.configure()


@pytest.fixture
def page(backend: Backend) -> Open:
    """`page("audit", "otto", row="3")`: the page as that identity sees it, run once."""
    return _opener()


@pytest.fixture
def full_page(full: Backend) -> Open:
    """The same in a filled installation."""
    return _opener()


def _opener() -> Open:
    def opened(file: str, identity: str | None, **query: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
        if identity is not None:
            test.session_state["identity.name"] = identity
        test.run()
        for name, value in query.items():
            test.query_params[name] = value
        return test if file == "overview" and not query else test.switch_page(f"../pages/{file}.py").run()

    return opened


def raw(test: AppTest) -> str:
    """Everything that a page says in Markdown, headers, tables, messages and labels, as it was handed to Streamlit."""
    kinds = (test.header, test.subheader, test.markdown, test.warning, test.error, test.success, test.toast)
    said = [str(one.value) for kind in kinds for one in kind]
    said += [one.label for one in test.button]
    said += [one.value.to_csv() for one in (*test.table, *test.dataframe)]
    return "\n".join(said)


def words(test: AppTest) -> str:
    """The same as it is read: without what makes Markdown literal and addresses text, and with plain spaces."""
    return raw(test).replace("\\", "").replace("\u00a0", " ").replace("\u2060", "")


def press(test: AppTest, label: str) -> None:
    """Clicks the enabled button of that name."""
    next(one for one in test.button if one.label == label and not one.disabled).click().run()


def offered(test: AppTest, label: str) -> bool:
    """Whether a button of that name can be clicked."""
    return any(one.label == label and not one.disabled for one in test.button)
