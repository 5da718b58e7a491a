"""Evidently's page of a sample of a window beside a sample of a reference: made apart, kept, opened by who may see rows."""
