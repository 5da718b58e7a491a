"""What a query of metrics may say. Everything in one comes as text."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backend.api.metrics import Span


@pytest.mark.parametrize("step", [60, 300, 3600])
def test_each_step_that_there_is_can_be_asked_for(step: int) -> None:
    assert Span.model_validate({"step": str(step)}).step == step
    assert Span.model_validate({"step": step}).step == step


@pytest.mark.parametrize("told", ["61", "", "x", "-60", "60.5", "9" * 5_000, "٦٠"])
def test_no_other_one_is_taken(told: str) -> None:
    with pytest.raises(ValidationError, match="60, 300 or 3600"):
        Span.model_validate({"step": told})
