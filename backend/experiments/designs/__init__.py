"""Experiments as people design them: what is tried, for what, how long that takes, and what a person made of it."""
