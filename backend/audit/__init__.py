"""Audit: who did what when, and whether the record of it is whole."""
