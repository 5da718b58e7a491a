"""Monitoring: what an endpoint is asked and answers, against its reference and what was promised."""
