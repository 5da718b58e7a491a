"""Fixtures for all tests live in modules named after what they give."""

from hypothesis import settings

pytest_plugins = ["tests.databases", "tests.runtimes"]

settings.register_profile("here", deadline=None)  # a busy machine is no failure: no test is timed
settings.load_profile("here")
