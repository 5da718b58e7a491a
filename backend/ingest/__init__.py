"""Ingest: the process that takes what was handed over, the router's access log and dropped files into the inference log."""
