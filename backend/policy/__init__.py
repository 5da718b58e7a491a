"""Policy: what each environment asks for before a change may start."""
