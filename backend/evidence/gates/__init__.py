"""Gates: one file a check, all behind `port.Gate`; `names.py` lists them."""
