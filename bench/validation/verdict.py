"""What the tables say, in sentences. Figures in them are read from the history; what a person saw is marked as such."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.validation.history import LABELS, Episode, History, episodes, utc
from bench.validation.statistics import Aftermath, ends_of_ranges, stability

TOP, BOTTOM = ("2017-12-01", "2018-01-21"), ("2018-11-01", "2019-04-15")
DAY_MS = 86_400_000
DAYS_PER_MONTH = 365.25 / 12
WITHIN_MS = 45 * DAY_MS  # a turn's range is looked for this long after its extreme


def in_short(hourly: History) -> Iterator[str]:
    kept, fresh = (stability(hourly.labels("phase", hysteresis=each), LABELS["phase"]) for each in (True, False))
    yield "In short:"
    yield f"- **Top.** {_turn(hourly, TOP, 'distribution', 'markdown')}"
    yield f"- **Bottom.** {_turn(hourly, BOTTOM, 'accumulation', 'markup')}"
    yield (
        f"- **Flips.** A phase changes {kept.flips_per_1000:.1f} times in 1,000 hours, one time in "
        f"{1000 / kept.flips_per_1000 / 24:.0f} days; without hysteresis it would be {fresh.flips_per_1000:.0f} times."
    )
    good = [
        f"{ends.get(trend, 0)} of {sum(ends.values())} ranges called {sort} became {trend}"
        for sort, trend in (("accumulation", "markup"), ("distribution", "markdown"))
        for ends in [ends_of_ranges(hourly.labels("phase"), sort)]
    ]
    yield (
        f"- **Worth.** Labels describe; that they foretell is not shown: {' and '.join(good)}, and the returns after "
        "labels are hardly more than chance gives (below). Use them as context, as the decision does."
    )


def _turn(hourly: History, span: tuple[str, str], sort: str, trend: str) -> str:
    """What was said at the extreme close of that time, and when the range and the trend that follow it were found."""
    at = _extreme(hourly, span, sort)
    runs = episodes(hourly.labels("phase"))
    now = next(run for run in runs if run.start <= at < run.end)
    near = [
        run for run in runs if now.start < run.start and hourly.time_ms[run.start] <= hourly.time_ms[at] + WITHIN_MS
    ]
    extreme = "highest" if sort == "distribution" else "lowest"
    said = (
        f"At the {extreme} close, {utc(int(hourly.time_ms[at]))} ({hourly.close[at]:,.0f}), the phase was {now.label}, "
        f"since {_when(hourly, now)}"
    )
    found = next((run for run in near if run.label == sort), None)
    if found is None:
        return f"{said}; no {sort} was found within {WITHIN_MS // DAY_MS} days."
    after = next((run for run in near if run.start >= found.end and run.label == trend), None)
    end = f", then {trend} from {_when(hourly, after)}" if after else ""
    days = (found.end - found.start) / 24
    return f"{said}. {sort.capitalize()} was found at {_when(hourly, found)}, for {days:.0f} days{end}."


def _when(hourly: History, run: Episode) -> str:
    return f"{utc(int(hourly.time_ms[run.start]))} ({hourly.close[run.start]:,.0f})"


# Written by hand, about the charts beside them: reasons, and what a person sees there. No figure is among them.
REMARKS = {
    "top-2017": (
        "The first deep reaction was called distribution; the last leg up broke out of that range, so it was "
        "given up for "
        "markup just at the top. Marks far off the closes are flash moves of this exchange, taken as they "
        "are. A selling "
        "climax inside a range after a rise is the end of a reaction, so it does not speak against distribution."
    ),
    "bottom-2018": (
        "The low itself, as every low, was markdown when it happened. The months after it, in steps and "
        "slides between two "
        "price levels, are longer than the window: a slide to a new low is called markdown again, and the "
        "reading goes back "
        "and forth. A person with the whole chart calls all of it one accumulation; from the window's candles "
        "it cannot be "
        "seen."
    ),
}
TURNS = {"top-2017": (TOP, "distribution"), "bottom-2018": (BOTTOM, "accumulation")}
PHASES_NAMED = 4  # from the one at the extreme close on: enough to see it found again


def of_turn(hourly: History, name: str) -> Iterator[str]:
    span, sort = TURNS[name]
    at = _extreme(hourly, span, sort)
    runs = episodes(hourly.labels("phase"))
    place = next(i for i, run in enumerate(runs) if run.start <= at < run.end)
    named = runs[place : place + PHASES_NAMED]
    told = ", ".join(f"{run.label} {_apart(hourly, run.start, at)}" for run in named)
    ranges = [run for run in named if run.label == sort]
    regimes = sorted({label for run in ranges for label in hourly.labels("regime")[run.start : run.end]})
    meanwhile = f" While it was {sort}, regimes were {', '.join(regimes)}." if regimes else ""
    yield f"Around the extreme close: {told}.{meanwhile}"
    yield ""
    yield f"A person's remarks: {REMARKS[name]}"


def _apart(hourly: History, start: int, at: int) -> str:
    days = (int(hourly.time_ms[start]) - int(hourly.time_ms[at])) / DAY_MS
    return f"from {abs(days):.1f} days {'before' if days < 0 else 'after'} it"


def _extreme(hourly: History, span: tuple[str, str], sort: str) -> int:
    part = hourly.between(*span)
    close = hourly.close[part]
    return int(part.start + (np.argmax(close) if sort == "distribution" else np.argmin(close)))


def of_returns(per_part: dict[str, list[Aftermath]]) -> Iterator[str]:
    for part, found in per_part.items():
        bold = sum(1 for each in found if each.p_value < 0.05)
        yield (
            f"- {part}: {bold} of {len(found)} differences have p < 0.05; chance alone gives about "
            f"{len(found) / 20:.0f}."
        )
    yield ""
    p_values = [each.p_value for found in per_part.values() for each in found]
    least = min(p_values) * len(p_values)
    yield (
        "The differences are not independent of each other (labels overlap, horizons nest). Multiplied by "
        "their number, "
        f"{len(p_values)} (Bonferroni), the smallest p is {min(1.0, least):.2f}. The sign of a slope, the "
        "baseline, is in the same "
        "tables: "
        "a label that does not beat it is no reason to trade on the label alone."
    )


def limits(hourly: History) -> Iterator[str]:
    yield "\n## Limits"
    months = (int(hourly.time_ms[-1]) - int(hourly.time_ms[0])) / DAY_MS / DAYS_PER_MONTH
    yield f"- One market, {months:.0f} months, one great top and one great bottom: examples, not a sample of turns."
    yield (
        "- The dates of both turns were known when the rules were designed, though the second was not used to "
        "choose figures."
    )
    yield (
        "- Wyckoff's method is a reading by a person; there is no ground truth to score against. What is tested is "
        "that the"
    )
    yield "  textbook's schematics are read as the textbook reads them, and that nothing else is read into them."
    yield (
        "- Re-accumulation and redistribution (ranges that continue the trend) have no names among the five "
        "phases: a pause"
    )
    yield "  within a rise is called distribution if the evidence in it is supply's, and often becomes markup again."
    yield (
        "- Since a range found earlier is kept until it is left, its phase can outlive the evidence that began it; its"
    )
    yield "  confidence says how much of it there still is."
    yield (
        "- Events are told of single candles: several selling climaxes, or a climax and a spring, may lie in "
        "one cascade of "
        "falling candles, where Wyckoff would speak of one. They are counted as evidence, not as stations of "
        "a schematic."
    )
