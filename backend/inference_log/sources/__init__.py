"""Where an endpoint's requests are counted: in the log's own files, or in tables of the team's own engine."""
