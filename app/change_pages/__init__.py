"""Changes: the queue, one change, the form, and what each click says first."""
