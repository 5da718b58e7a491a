"""Registry: models and versions, mirrored from the registry that teams already run."""
