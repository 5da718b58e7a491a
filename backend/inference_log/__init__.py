"""Inference log: what was asked of each endpoint, which arm and version answered what, and what became of it."""
