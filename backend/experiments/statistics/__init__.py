"""The statistics of experiments and ramps, from sums alone: no database, no network, no rows (docs/experiments.md)."""
