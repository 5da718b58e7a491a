"""Monitors: what is looked at when, what each look came to, and the watch over monitors that do not look."""
