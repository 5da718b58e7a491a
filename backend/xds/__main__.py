"""`python -m backend.xds`: what `countersign xds` becomes."""

from __future__ import annotations

import sys

from backend.xds.main import main

if __name__ == "__main__":
    sys.exit(main())
