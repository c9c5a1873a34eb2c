"""The full SignalOutput: how long one takes and how that spreads, many of them, the collector, the dearest calls."""

from __future__ import annotations

import cProfile
import gc
import pstats
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

from aaos.domain.market import Candles
from aaos.domain.signals import SignalParams, generate_signal
from aaos.domain.signals.stream import SignalStream
from aaos.settings import settings
from bench.environment import ROOT
from bench.figures import percentile, table
from bench.peers.turns import timed
from bench.signals_race import HISTORIES, UNDISTURBED, Lap
from bench.signals_series import CANDLES, SYMBOL, SYMBOLS, TIMEFRAMES, for_alignment, kinds, many, recent

# Calls between two looks at whether others took the core; such a stretch is made again, `--tries` times in all.
STRETCH = 25
CALLS = 2_000
WARM_UP = 50
STREAM_CALLS = 300
PROFILED = 500
SHOWN = 14
PERCENTS = (50, 90, 99)


def full_output(options: Namespace) -> None:
    """Prints all of it."""
    params = settings().signals
    print(_spreads(params, options), flush=True)
    print(_collector(params, options), flush=True)
    print(_stream(params, options), flush=True)
    print(_many(params), flush=True)
    print(_profile(params), flush=True)


def measured(
    calls: Mapping[str, Callable[[], object]],
    count: int,
    tries: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Lap]:
    """So many calls of each after a warm-up, in stretches that take turns: what disturbs, disturbs all alike.

    A stretch during which others took the core is made again, up to `tries` times; the calmest one counts. Each is
    made inside of what `around` gives for its name.
    """
    laps = {name: Lap([], []) for name in calls}
    for call in calls.values():
        timed(call, WARM_UP)
    for _ in range(count // STRETCH):
        for name, call in calls.items():
            with around(name):
                calmest = _calm_stretch(call, tries)
            laps[name].wall.extend(calmest.wall)
            laps[name].cpu.extend(calmest.cpu)
    return laps


def _calm_stretch(call: Callable[[], object], tries: int) -> Lap:
    stretches = [Lap.of(timed(call, STRETCH))]
    while stretches[-1].share < UNDISTURBED and len(stretches) < tries:
        stretches.append(Lap.of(timed(call, STRETCH)))
    return max(stretches, key=lambda lap: lap.share)


def _cells(lap: Lap) -> list[str]:
    """CPU ms at two percentiles, wall ms at three and at most, the share that others took."""
    cpu = [f"{percentile(lap.cpu, percent) / 1e3:.2f}" for percent in (50, 99)]
    wall = [f"{percentile(lap.wall, percent) / 1e3:.2f}" for percent in PERCENTS]
    return [*cpu, *wall, f"{max(lap.wall) / 1e3:.2f}", f"{1 - lap.share:.0%}"]


_HEADER = ["CPU ms p50", "p99", "wall ms p50", "p90", "p99", "max", "taken by others"]


def _spreads(params: SignalParams, options: Namespace) -> str:
    series = {(tf, kind): candles for tf in TIMEFRAMES for kind, candles in kinds(tf).items()}
    series["1m", "enough for every timeframe"] = for_alignment(params)
    calls = {f"{tf} {kind}": partial(generate_signal, candles, params) for (tf, kind), candles in series.items()}
    laps = measured(calls, CALLS, options.tries)
    short = [laps[f"{tf} {kind}"] for (tf, kind), candles in series.items() if len(candles) == CANDLES]
    together = Lap([ms for lap in short for ms in lap.wall], [ms for lap in short for ms in lap.cpu])
    rows = [[tf, kind, f"{len(c):,}", *_cells(laps[f"{tf} {kind}"])] for (tf, kind), c in series.items()]
    rows.append([f"all of {CANDLES:,}", "", f"{CANDLES:,}", *_cells(together)])
    title = f"generate_signal, {CALLS:,} calls each after {WARM_UP} to warm up"
    return f"\n{title}\n\n{table(['candles of', 'kind', 'how many', *_HEADER], rows)}\n"


ON, FROZEN, OFF = "on", "on, what was there before frozen (as in a worker)", "off"


def _collector(params: SignalParams, options: Namespace) -> str:
    """The same calls with the collector as it comes, with what a worker freezes frozen, and without it."""
    call = partial(generate_signal, kinds("1m")["trending"], params)
    ran = dict.fromkeys((ON, FROZEN, OFF), 0)

    @contextmanager
    def collector(mode: str) -> Iterator[None]:
        gc.collect()
        if mode == FROZEN:
            gc.freeze()
        if mode == OFF:
            gc.disable()
        before = _collections()
        try:
            yield
        finally:
            ran[mode] += _collections() - before
            gc.enable()
            gc.unfreeze()

    laps = measured(dict.fromkeys(ran, call), CALLS, options.tries, collector)
    rows = [[mode, str(ran[mode]), *_cells(lap)] for mode, lap in laps.items()]
    return f"\nThe garbage collector\n\n{table(['collector', 'collections', *_HEADER], rows)}\n"


def _collections() -> int:
    return sum(each["collections"] for each in gc.get_stats())


def _stream(params: SignalParams, options: Namespace) -> str:
    """One candle more and its full reading, beside the reading computed anew over all candles."""
    rows: dict[str, list[str]] = {"one candle taken in and read": [], "all read anew": []}
    for history in HISTORIES:
        candles = recent("1m", history + WARM_UP + STREAM_CALLS * max(1, options.tries))
        stream, following = SignalStream(SYMBOL, "1m", params), iter(candles.rows())
        for row in islice(following, history):
            stream.update(*row)  # type: ignore[arg-type]
        taken_in = partial(_take_in_and_read, stream, following)
        calls = zip(rows, (taken_in, partial(generate_signal, candles.tail(history), params)), strict=True)
        for name, lap in measured(dict(calls), STREAM_CALLS, options.tries).items():
            rows[name].append(f"{percentile(lap.wall, 50) / 1e3:.2f}")
    header = ["full output: wall ms p50", *(f"after {history:,}" for history in HISTORIES)]
    cells = [[name, *medians] for name, medians in rows.items()]
    return f"\nOne candle more, full output\n\n{table(header, cells)}\n"


def _take_in_and_read(stream: SignalStream, following: Iterator[Sequence[int | float]]) -> None:
    stream.update(*next(following))  # type: ignore[arg-type]
    stream.signal()


def _many(params: SignalParams) -> str:
    """All series once after the other, each read for the first time."""
    series = many(partial(print, flush=True))
    gc.collect()
    gc.freeze()
    try:
        began, cpu_began = time.perf_counter(), time.process_time()
        scores = [generate_signal(candles, params).score for candles in series]
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    finally:
        gc.unfreeze()
    each = [
        f"{len(scores):,}",
        f"{wall_s:.2f}",
        f"{cpu_s:.2f}",
        f"{len(scores) / wall_s:,.0f}",
        f"{len(scores) / cpu_s:,.0f}",
    ]
    header = ["outputs", "wall s", "CPU s", "a second", "a second of CPU"]
    told = f"{statistics.fmean(scores):+.1f} ± {statistics.pstdev(scores):.1f}"
    title = f"{SYMBOLS:,} symbols × {len(TIMEFRAMES)} timeframes, one after the other (scores {told})"
    return f"\n{title}\n\n{table(header, [each])}\n"


def _profile(params: SignalParams) -> str:
    """The dearest functions; a profiler makes calls dear, so these are shares, not times."""
    inputs: Sequence[Candles] = [each for timeframe in TIMEFRAMES for each in kinds(timeframe).values()]
    profiler = cProfile.Profile()
    profiler.enable()
    for number in range(PROFILED):
        generate_signal(inputs[number % len(inputs)], params)
    profiler.disable()
    figures = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    # Not the sum of own times: functions that share a line of generated code share a key, so some are missing.
    total = max(cumulative for _, _, _, cumulative, _ in figures.values())
    rows = [
        [_where(*where), f"{own / total:.1%}", f"{cumulative / total:.1%}", f"{calls / PROFILED:,.1f}"]
        for where, (calls, _, own, cumulative, _) in figures.items()
    ]
    header = ["function", "own share", "with what it calls", "calls an output"]
    own, steps = (table(header, sorted(rows, key=lambda row: -float(row[column][:-1]))[:SHOWN]) for column in (1, 2))
    return f"\nWhere an output's time goes, by step\n\n{steps}\n\nThe same, by own time\n\n{own}\n"


def _where(file: str, line: int, function: str) -> str:
    if file.startswith("~"):
        return f"`{function}`"
    path = Path(file)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-2:])
    return f"`{shown}:{line} {function}`"
