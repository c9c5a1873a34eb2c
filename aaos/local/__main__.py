"""`python -m aaos.local up|down|status`: the embedded stack without loading the rest of the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from pathlib import Path

from aaos.errors import AaosError
from aaos.local.stack import ReplayFile, UpOptions
from aaos.local.status import status
from aaos.local.up import down, up


def main(arguments: list[str] | None = None) -> int:
    """The exit status of the command."""
    named = _parser().parse_args(arguments)
    state = Path(named.state).expanduser().absolute()
    try:
        if named.verb == "up":
            replay = tuple(ReplayFile.parse(argument) for argument in named.replay)
            return up(UpOptions(state, replay, named.speed, named.flower_port, named.fresh_ports))
        if named.verb == "down":
            print(down(state))
        else:
            print(json.dumps(dataclasses.asdict(status(state)), indent=1))
    except AaosError as error:
        print(f"aaos: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run", description="The embedded stack of aaos.", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("up", help="start everything and supervise it; Ctrl-C stops it", allow_abbrev=False)
    start.add_argument(
        "--replay", action="extend", nargs="+", default=[], metavar="FILE", help="candles to play (CSV or Parquet)"
    )
    start.add_argument(
        "--speed",
        type=_speed,
        default=os.environ.get("AAOS_SPEED"),
        metavar="N",
        help="play N minutes of candles in one (default: AAOS_SPEED, else 1)",
    )
    start.add_argument("--flower-port", type=int, metavar="PORT", help="where Flower listens")
    start.add_argument("--fresh-ports", action="store_true", help="forget the remembered ports and pick free ones")
    stop = verbs.add_parser("down", help="stop the stack of a state directory", allow_abbrev=False)
    show = verbs.add_parser("status", help="what runs and what memory it takes, as JSON", allow_abbrev=False)
    default = os.environ.get("AAOS_STATE_DIR") or str(UpOptions().state)
    for verb in (start, stop, show):
        verb.add_argument("--state", default=default, metavar="DIR", help="where data, passwords and logs are kept")
    return parser


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and speed > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number (--speed N, or AAOS_SPEED)")
    return speed


if __name__ == "__main__":
    sys.exit(main())
