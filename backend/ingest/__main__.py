"""`python -m backend.ingest`: what `countersign ingest` becomes."""

import sys

from backend.ingest.main import main

if __name__ == "__main__":
    sys.exit(main())
