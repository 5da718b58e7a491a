"""The worker: claims due work with leases, hands each item to its handler, and keeps the timers. `main.py` is the process."""
