"""The command line: the same services as every other door."""

from __future__ import annotations

from backend.cli.main import main

__all__ = ["main"]
