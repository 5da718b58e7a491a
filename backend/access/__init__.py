"""Access: who exists, and what each may do."""
