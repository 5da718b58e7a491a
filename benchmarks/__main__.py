"""`python -m benchmarks [NAME] [--json]`: one benchmark, or all of them. Only the result goes to standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import names
from benchmarks.results import Result, one_line, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Exit status 0 when it could be measured, whatever came out."""
    options = _parser().parse_args(arguments)
    chosen = [options.name] if options.name else list(names.BENCHMARKS)
    results = [_run(name, options) for name in chosen]
    print(one_line(results) if options.json else "\n\n\n".join(map(table, results)))
    return 0


def _run(name: str, options: argparse.Namespace) -> Result:
    print(f"{name} ...", file=sys.stderr, flush=True)
    if options.name is None:
        options = _parser().parse_args([name])
    return names.load(name).run(options)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)  # before the name or after it
    shared.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, parents=[shared])
    parser.set_defaults(json=False)
    kinds = parser.add_subparsers(dest="name", metavar="NAME")
    for name, about in names.BENCHMARKS.items():
        names.load(name).add_options(kinds.add_parser(name, help=about, description=about, parents=[shared]))
    return parser


if __name__ == "__main__":
    sys.exit(main())
