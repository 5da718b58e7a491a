"""The ledger, policies and people, as their pages draw them."""
