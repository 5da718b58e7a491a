"""Findings: the list, one of them, and what people do about it."""
