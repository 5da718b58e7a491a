"""Models, versions, cards, lineage and registering, as their pages draw them."""
