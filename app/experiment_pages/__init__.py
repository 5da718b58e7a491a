"""Experiments: the list, their designs, and what came of them."""
