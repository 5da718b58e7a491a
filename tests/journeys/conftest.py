"""The browser of the journeys that are made by clicks."""

from tests.browsers import chromium

__all__ = ["chromium"]
