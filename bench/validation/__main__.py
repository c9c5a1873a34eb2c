"""Writes docs/validation/regime-2017-2019.md and its charts: the same data, the same bytes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from aaos.domain.regime import RegimeParams, WyckoffEvent
from bench.validation import charts, report
from bench.validation.history import (
    KINDS,
    History,
    detected,
    differs_when_asked_rarely,
    instant_ms,
    load,
    looks_ahead,
)

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("AAOS_TEST_DATA", ROOT.parent / "shared" / "data"))
HOURLY, MINUTES = "candles/BTC-USD_1h_2017-2019.csv", "candles/BTC-USDT_1m_2022-01.csv"
MINUTES_USED = 10_000  # a week: enough to see degeneration
SAMPLES, SEED = 500, 20171217
STEP = 5  # how rarely the pipeline might ask, in candles, to see what that changes
ZOOMS = {
    "top-2017": ("2017-12-01", "2018-01-21", "December 2017: the top"),
    "bottom-2018": ("2018-11-01", "2019-04-15", "November 2018 to April 2019: the bottom"),
}


def main() -> int:
    """Writes the report; status 1 when an output changes with candles that come after it."""
    parser = argparse.ArgumentParser(prog="python -m bench.validation", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help=f"where {HOURLY} is (default: {DATA})")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "validation", help="where to write")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    params = RegimeParams()
    hourly = detected(load(options.data / HOURLY, "BTC/USD", "1h"), params)
    ahead = looks_ahead(hourly, params, SAMPLES, SEED)
    if ahead:
        print(f"outputs at {ahead} change with later candles", file=sys.stderr)
        return 1
    minutes = detected(load(options.data / MINUTES, "BTC/USDT", "1m").tail(MINUTES_USED), params)
    charts.draw(hourly, options.to / "whole.png", "BTC/USD, hourly: price over Wyckoff phases", slice(None), 6, [])
    for name, (start, end, title) in ZOOMS.items():
        part, events = hourly.between(start, end), events_between(hourly, start, end)
        charts.draw(
            hourly, options.to / f"{name}.png", title, part, 1, events if name == "top-2017" else strong(events)
        )
    rarely = {kind: differs_when_asked_rarely(hourly, params, STEP, kind) for kind in KINDS}
    text = report.written(hourly, minutes, ZOOMS, report.Checks(SAMPLES, SEED, STEP, rarely))
    (options.to / "regime-2017-2019.md").write_text(text, encoding="utf-8")
    return 0


def events_between(history: History, start: str, end: str) -> list[WyckoffEvent]:
    return [event for event in history.events() if instant_ms(start) <= event.time_ms < instant_ms(end)]


def strong(events: list[WyckoffEvent]) -> list[WyckoffEvent]:
    """The clearer half, where all of them would cover the price."""
    middle = sorted(event.strength for event in events)[len(events) // 2]
    return [event for event in events if event.strength >= middle]


if __name__ == "__main__":
    sys.exit(main())
