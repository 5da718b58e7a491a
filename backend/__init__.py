"""Countersign's backend: one folder a thing that a user knows. The order of the rooms is in docs/architecture.md."""
