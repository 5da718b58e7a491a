"""The web shell: pages, components and charts over the backend."""
