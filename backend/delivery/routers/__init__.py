"""Routers: one file a way to split traffic, all behind `port.Router`, all through one contract suite."""
