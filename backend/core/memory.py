"""What a process of ours does about its memory once it is ready."""

from __future__ import annotations

import gc


def settle() -> None:
    """Has the garbage collector pass over everything that is there by now: modules, tables, models of the API.

    They live as long as the process, and looking through them took 160 to 190 ms each time, in which nothing is answered;
    afterwards under 2 ms (benchmarks/README.md, `access`). See https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    gc.collect()
    gc.freeze()
