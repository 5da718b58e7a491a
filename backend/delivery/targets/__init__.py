"""Targets: one file a serving runtime, all behind `port.Target`, all through one contract suite."""
