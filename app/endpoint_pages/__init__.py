"""Endpoints, servers, routers and adoption, as their pages draw them."""
