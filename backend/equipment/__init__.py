"""Equipment: what one process has by its settings before any service is made of it: its keys, and its ways out for messages."""
