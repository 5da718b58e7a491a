"""Arms beside each other, drawn the same on an experiment's page and on a change's."""
