"""Who may do what, as pages show it: people and their sessions, roles, groups, teams, services with their tokens, sign-in."""
