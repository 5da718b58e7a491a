"""Drift: what a model was made from, what it is asked now, and how far the two lie apart. Pure, but for reading rows."""
