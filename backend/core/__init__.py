"""The floor every room stands on: errors, identities at work, canonical JSON, state machines, ledger, unit of work."""
