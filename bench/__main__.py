"""`python -m bench [NAME…] [options]`: those of `NAMES` that are named, or all."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.figures import machine

NAMES = ("throughput", "latency", "scale", "profile", "signals", "shapes", "sovereign", "risk", "orders")


def main() -> int:
    """Runs what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--runs", type=int, default=3000, help="pieces of work per round (throughput, profile)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds (throughput, scale, signals, sovereign, orders)"
    )
    parser.add_argument("--samples", type=int, default=100, help="ticks per kind (latency)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="old runs in the full table (scale)")
    parser.add_argument(
        "--tries", type=int, default=3, help="times a disturbed round is run again (throughput, signals, risk)"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out everybody else's libraries and systems")
    parser.add_argument("--data", nargs="+", default=[], metavar="FILE", help="candle files (shapes)")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(machine(), flush=True)
    for name in options.names or NAMES:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
