"""Experiments and the statistics of ramps: what an arm did beside the champion, and how sure that is."""
