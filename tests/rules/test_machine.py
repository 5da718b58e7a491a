"""State machines as tables."""

from __future__ import annotations

import pytest

from backend.core.errors import Refusal
from backend.core.machine import Machine

DOOR = Machine(
    "door", "shut", ("shut", "open", "gone"), {("shut", "open"): "open", ("open", "shut"): "shut", ("open", "burn"): "gone"}, {}
)


def test_the_table_decides() -> None:
    assert DOOR.next("shut", "open") == "open"
    assert DOOR.allowed("open") == ("burn", "shut")
    assert DOOR.final == {"gone"}
    assert DOOR.check_sql() == "state IN ('shut', 'open', 'gone')"
    assert "shut --> open: open" in DOOR.mermaid()


@pytest.mark.parametrize("event", ["burn", "shut", "fly"])
def test_what_is_not_in_the_table_is_refused_with_what_is_possible(event: str) -> None:
    with pytest.raises(Refusal) as refused:
        DOOR.next("shut", event)
    assert refused.value.code == "wrong-state"
    assert "open" in refused.value.remedy


def test_an_undeclared_state_is_a_defect() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        Machine("x", "a", ("a",), {("a", "go"): "nowhere"}, {})
