"""Findings: problems that something found, one for each cause, until they are over."""
