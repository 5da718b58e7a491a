"""Delivery: makes desired state true on servers and routers, proves it, and finds whatever else runs there."""
