"""Latency and availability: what servers, routers and Prometheus tell, kept as time series, and judged against objectives."""
