"""The REST API: a second door to the same services, mounted under `/api` by the web shell."""
