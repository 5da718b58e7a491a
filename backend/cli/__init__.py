"""The command line: the same services as every other door. `main.py` is the root command."""
