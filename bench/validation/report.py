"""The report's text: tables first, what they mean beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aaos.domain.market import missing_candles
from aaos.domain.regime import WyckoffEvent
from bench.validation import verdict
from bench.validation.history import KINDS, LABELS, History, episodes, instant_ms, utc
from bench.validation.statistics import (
    RESAMPLES,
    Aftermath,
    Stability,
    aftermaths,
    ends_of_ranges,
    naive_slope,
    stability,
)

TUNED_UNTIL = "2018-07-12"
HORIZONS = (24, 72, 168)
SLOPE_WINDOW = 50

Zooms = Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True)
class Checks:
    """Outputs sampled for look-ahead, the seed of everything drawn, and labels that differ when asked every `step`."""

    samples: int
    seed: int
    step: int
    differing: Mapping[str, float]


def written(hourly: History, minutes: History, zooms: Zooms, checks: Checks) -> str:
    lines = [
        *_heading(hourly, checks.samples),
        *_turns(hourly, zooms),
        *_whole(hourly),
        *_asked_rarely(checks),
        *_ranges(hourly),
        *_after(hourly, checks.seed),
        *_minutes(minutes),
        *verdict.limits(hourly),
    ]
    return "\n".join(lines) + "\n"


def _heading(hourly: History, samples: int) -> Iterator[str]:
    yield "# Regime and Wyckoff phase on BTC/USD, hourly, 2017–2019"
    yield (
        f"Real trades, {len(hourly.candles):,} candles from {utc(int(hourly.candles.open_time_ms[0]))} to "
        f"{utc(int(hourly.candles.open_time_ms[-1]))} UTC, {_missing(missing_candles(hourly.candles))}. "
        "Written by `python -m bench.validation`; the "
        "parameters are those of `config/regime.yaml`. They were chosen by looking at candles before "
        f'{TUNED_UNTIL} only ("tuned", the 2017 top included); everything after ("unseen", the 2018 bottom included) '
        "was looked at only when they stood."
    )
    yield ""
    yield (
        f"No label comes from future candles: {samples} outputs, drawn at random, were computed again with the "
        "candles up "
        "to theirs alone and came out the same; the property tests show it for candles of every kind. A phase that is "
        "shown from some candle on was said at that candle, so it begins late by what it takes to be seen."
    )
    yield ""
    yield from verdict.in_short(hourly)
    yield ""
    yield "![price over phases, regime and volume trend below](whole.png)"


def _missing(count: int) -> str:
    return f"{count:,} missing" if count else "none missing"


def _turns(hourly: History, zooms: Zooms) -> Iterator[str]:
    for name, (start, end, title) in zooms.items():
        part = hourly.between(start, end)
        yield f"\n## {title}"
        yield f"![{title}]({name}.png)"
        yield ""
        yield from verdict.of_turn(hourly, name)
        yield ""
        yield "| from (UTC) | close | phase | confidence there | hours | regimes meanwhile |"
        yield "| --- | ---: | --- | ---: | ---: | --- |"
        outputs = hourly.outputs[part]
        for run in episodes([output.wyckoff_phase for output in outputs]):
            first = outputs[run.start]
            regimes = Counter(output.regime for output in outputs[run.start : run.end]).most_common()
            shares = ", ".join(f"{regime} {count / (run.end - run.start):.0%}" for regime, count in regimes)
            yield (
                f"| {utc(first.newest_candle_ms)} | {first.close:,.0f} | {first.wyckoff_phase} | "
                f"{first.phase_confidence:.2f} | {run.end - run.start} | {shares} |"
            )
        yield ""
        yield from _events(hourly, start, end, least=0.0 if name == "top-2017" else 0.8)


def _events(hourly: History, start: str, end: str, least: float) -> Iterator[str]:
    found = [e for e in hourly.events() if instant_ms(start) <= e.time_ms < instant_ms(end)]
    shown = [event for event in found if event.strength >= least]
    note = f" with a strength of at least {least}" if least else ""
    yield f"<details><summary>{len(shown)} of {len(found)} events{note}</summary>\n"
    yield "| candle (UTC) | known | event | price | strength | figures |"
    yield "| --- | --- | --- | ---: | ---: | --- |"
    for event in shown:
        yield _event_row(event)
    yield "\n</details>"


def _event_row(event: WyckoffEvent) -> str:
    late = (event.known_at_ms - event.time_ms) // 3_600_000
    known = f"{late} h later" if late else "with its close"
    figures = ", ".join(f"{name} {value:.3g}" for name, value in event.figures.items())
    name = event.name.replace("_", " ")
    return f"| {utc(event.time_ms)} | {known} | {name} | {event.price:,.0f} | {event.strength:.2f} | {figures} |"


def _whole(hourly: History) -> Iterator[str]:
    yield "\n## How often labels flip"
    yield (
        'Share of time, flips per 1,000 candles, and the median candles a label lasts. "Without" is each candle on '
        "its own,"
    )
    yield "with no label before it and so no hysteresis."
    yield ""
    yield "| label | part | share of time | flips / 1,000 | without | median candles | without |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    for kind in KINDS:
        for part, cut in _parts(hourly).items():
            kept = stability(hourly.labels(kind)[cut], LABELS[kind])
            fresh = stability(hourly.labels(kind, hysteresis=False)[cut], LABELS[kind])
            yield f"| {kind} | {part} | {_shares(kept)} | {_pair(kept, fresh)} |"
    naive = naive_slope(hourly.close, SLOPE_WINDOW)
    for part, cut in _parts(hourly).items():
        alone = stability(naive[cut], ("up", "down"))
        yield (
            f"| sign of a {SLOPE_WINDOW}-candle slope (baseline) | {part} | {_shares(alone)} | "
            f"{alone.flips_per_1000:.1f} | | {alone.median_candles:.0f} | |"
        )


def _asked_rarely(checks: Checks) -> Iterator[str]:
    shares = ", ".join(f"{share:.1%} of {kind}s" for kind, share in checks.differing.items())
    yield ""
    yield (
        "A label rests on the one before, so labels depend on how often they are asked for. Asked only at every "
        f"{checks.step}th candle, each with the labels of {checks.step} candles before, the answers there "
        "differ from those "
        f"above in {shares}."
    )


def _ranges(hourly: History) -> Iterator[str]:
    yield "\n## What ranges became"
    yield (
        "A range called accumulation should end in markup, one called distribution in markdown. Unknown time "
        "between is skipped."
    )
    yield ""
    yield "| range | part | became markup | became markdown | other |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for kind in ("accumulation", "distribution"):
        for part, cut in _parts(hourly).items():
            ends = ends_of_ranges(hourly.labels("phase")[cut], kind)
            other = sum(ends.values()) - ends.get("markup", 0) - ends.get("markdown", 0)
            yield f"| {kind} | {part} | {ends.get('markup', 0)} | {ends.get('markdown', 0)} | {other} |"


def _after(hourly: History, seed: int) -> Iterator[str]:
    yield "\n## What happened after labels"
    yield (
        "Mean log return after a label minus the mean after any candle, in %, with its 90 % interval (moving "
        "blocks of two "
        f"weeks, {RESAMPLES:,} resamples) and the p-value against label series turned by a random offset "
        f"({RESAMPLES:,} "
        "turns). Bold: p < 0.05, of which chance alone gives one in twenty."
    )
    naive = naive_slope(hourly.close, SLOPE_WINDOW)
    everything: dict[str, list[Aftermath]] = {}
    for part, cut in _parts(hourly).items():
        everything[part] = []
        yield f"\n**{part}**\n"
        yield "| label | runs | candles | " + " | ".join(f"{horizon} h" for horizon in HORIZONS) + " |"
        yield "| --- | ---: | ---: |" + " --- |" * len(HORIZONS)
        series = {kind: (hourly.labels(kind)[cut], LABELS[kind]) for kind in KINDS}
        series["slope"] = (tuple(naive[cut]), ("up", "down"))
        for kind, (labels, names) in series.items():
            per_horizon = [aftermaths(labels, names, hourly.close[cut], horizon, seed) for horizon in HORIZONS]
            everything[part] += [each for found in per_horizon for each in found]
            for first, *rest in zip(*per_horizon, strict=True):
                cells = " | ".join(_cell(each) for each in (first, *rest))
                yield f"| {kind}: {first.label} | {first.runs} | {first.candles} | {cells} |"
    yield ""
    yield from verdict.of_returns(everything)


def _minutes(minutes: History) -> Iterator[str]:
    yield "\n## The same on minutes"
    yield (
        f"BTC/USDT perpetual, {len(minutes.candles):,} one-minute candles from "
        f"{utc(int(minutes.candles.open_time_ms[0]))} "
        f"UTC, {_missing(missing_candles(minutes.candles))}, with the same "
        "parameters: only to "
        "see that nothing degenerates where candles are sixty times as short."
    )
    yield ""
    yield "| label | share of time | flips / 1,000 | without hysteresis | median candles | without |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for kind in KINDS:
        kept = stability(minutes.labels(kind), LABELS[kind])
        fresh = stability(minutes.labels(kind, hysteresis=False), LABELS[kind])
        yield f"| {kind} | {_shares(kept)} | {_pair(kept, fresh)} |"


def _parts(hourly: History) -> dict[str, slice]:
    end, far = TUNED_UNTIL, "2100-01-01"
    return {"tuned": hourly.between("2000-01-01", end), "unseen": hourly.between(end, far)}


def _shares(s: Stability) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in s.share.items())


def _pair(kept: Stability, fresh: Stability) -> str:
    return " | ".join(
        (
            f"{kept.flips_per_1000:.1f}",
            f"{fresh.flips_per_1000:.1f}",
            f"{kept.median_candles:.0f}",
            f"{fresh.median_candles:.0f}",
        )
    )


def _cell(a: Aftermath) -> str:
    text = f"{100 * a.excess:+.1f} ({100 * a.low:+.1f} … {100 * a.high:+.1f}), p {a.p_value:.2f}"
    return f"**{text}**" if a.p_value < 0.05 else text
