"""Packagers: turn a registered version's artifact into what a runtime loads, reproducibly, byte for byte."""
