"""Rollouts: the walk through an authorized plan's ramp."""
