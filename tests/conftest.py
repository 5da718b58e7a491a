"""Fixtures for all tests live in modules named after what they give."""

pytest_plugins = ["tests.databases", "tests.runtimes"]
