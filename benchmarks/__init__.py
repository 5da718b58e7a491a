"""Benchmarks: what Countersign costs beside the tools that people would use instead, measured in the same run."""
