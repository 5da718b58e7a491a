"""The demo: real flights of 2013, two models trained on them, and their replay against a real endpoint."""
