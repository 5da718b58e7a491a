"""Blueprints: what there shall be, declared in files, compared, and made so by the usual commands."""
