"""`python -m backend.worker`: what `countersign worker` becomes."""

import sys

from backend.worker.main import main

if __name__ == "__main__":
    sys.exit(main())
