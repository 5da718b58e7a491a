"""The overview: what is live, what needs whoever looks, what moves."""
