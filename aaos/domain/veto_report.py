"""The veto ledger added up: what refusals saved and what they missed, by stage and code, and how sure that is.

Refused trades on overlapping stretches of time, on one symbol or on several, share part of their outcome, since
markets move together. Counted one by one they would claim evidence that is not there: the interval of the mean is
computed from windows, the stretches of time that do not overlap, as for votes (`domain.calibration.figures`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

from aaos.domain.calibration.figures import MIN_WINDOWS, clustered_half_width, windows_of_spans
from aaos.domain.market import timeframe_ms
from aaos.domain.vetoes import Veto, VetoCount, VetoOutcome, VetoRules

Leaning = Literal["too few", "unclear", "saves", "costs"]
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class VetoFigures:
    """What a group of refused trades would have become.

    Attributes:
        scored: how many have an outcome.
        windows: stretches of market time among them that do not overlap: so many outcomes they are worth at most.
        saved, missed: how many would have lost, and how many would not.
        mean_pct: mean return in percent of the notional, after fees: negative where refusing was right on the whole.
        interval_pct: 95 % of the mean; None below 10 windows.
        saved_pct: returns of those that would have lost, added up, as a positive figure.
        missed_pct: the same of those that would have gained.
        sized: how many of them have a known quantity; only these are in the two sums of money.
        saved_quote, missed_quote: in quote currency.
        stopped, gained, expired: by what they would have ended: stop, profit, horizon.
    """

    scored: int
    windows: int
    saved: int
    missed: int
    mean_pct: float
    interval_pct: tuple[float, float] | None
    saved_pct: Decimal
    missed_pct: Decimal
    sized: int
    saved_quote: Decimal
    missed_quote: Decimal
    stopped: int
    gained: int
    expired: int

    @property
    def leaning(self) -> Leaning:
        """What can be said of these refusals: whether they save or cost beyond chance."""
        if self.interval_pct is None:
            return "too few"
        low, high = self.interval_pct
        return "saves" if high < 0 else "costs" if low > 0 else "unclear"


@dataclass(frozen=True, slots=True)
class VetoRow:
    """A stage's code, a stage (`code` None) or all (`stage` None, too); `figures` is None while nothing is scored."""

    stage: str | None
    code: str | None
    refused: int
    waiting: int
    figures: VetoFigures | None


@dataclass(frozen=True, slots=True)
class VetoReport:
    """All rows, the whole first, then each stage with its codes.

    Attributes:
        unscorable: why → how many.
        other_rules: scored under another horizon or fee, and in no figure.
        beyond_window: older than the newest `window_vetoes`, and in no figure.
    """

    rows: tuple[VetoRow, ...]
    unscorable: tuple[tuple[str, int], ...]
    other_rules: int
    beyond_window: int
    rules: VetoRules

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; money as text."""
        rows = [{**asdict(row), "figures": _plain_figures(row.figures)} for row in self.rows]
        return {
            "rows": rows,
            "unscorable": dict(self.unscorable),
            "other_rules": self.other_rules,
            "beyond_window": self.beyond_window,
            "horizon_candles": self.rules.horizon_candles,
            "taker_fee": str(self.rules.taker_fee),
        }


def veto_report(scored: Sequence[Veto], counts: Sequence[VetoCount], rules: VetoRules) -> VetoReport:
    """Returns the ledger added up.

    Args:
        scored: the newest scored vetoes, at most `window_vetoes`.
        counts: of all vetoes.
        rules: only what was scored under them is in the figures.
    """
    current = [each for each in scored if _is_current(each, rules)]
    whole = sum(each.count for each in counts if each.state == "scored")
    places: set[tuple[str | None, str | None]] = {(each.stage, None) for each in counts}
    places |= {(each.stage, each.code) for each in counts}
    ordered = sorted(places, key=lambda place: (str(place[0]), place[1] or ""))
    rows = [_row(stage, code, current, counts) for stage, code in [(None, None), *ordered]] if counts else []
    why = Counter[str]()
    for each in counts:
        if each.state == "unscorable":
            why[each.why or "no reason was recorded"] += each.count
    return VetoReport(
        rows=tuple(rows),
        unscorable=tuple(sorted(why.items())),
        other_rules=len(scored) - len(current),
        beyond_window=whole - len(scored),
        rules=rules,
    )


def veto_figures(vetoes: Sequence[Veto]) -> VetoFigures | None:
    """Returns the figures of the scored ones among these, None if there is none."""
    scored = [(each, each.outcome) for each in vetoes if each.outcome is not None]
    if not scored:
        return None
    outcomes = [outcome for _, outcome in scored]
    returns = [float(each.return_pct) for each in outcomes]
    windows = windows_of_spans([_span(each) for each, _ in scored])
    mean, half = math.fsum(returns) / len(returns), clustered_half_width(returns, windows)
    ends = Counter(each.exit_by for each in outcomes)
    lost = [each for each in outcomes if each.verdict == "saved"]
    won = [each for each in outcomes if each.verdict == "cost"]
    return VetoFigures(
        scored=len(outcomes),
        windows=len(set(windows)),
        saved=len(lost),
        missed=len(won),
        mean_pct=mean,
        interval_pct=None if half is None else (mean - half, mean + half),
        saved_pct=-sum((each.return_pct for each in lost), ZERO),
        missed_pct=sum((each.return_pct for each in won), ZERO),
        sized=sum(each.result_quote is not None for each in outcomes),
        saved_quote=-_money(lost),
        missed_quote=_money(won),
        stopped=ends["stop"],
        gained=ends["take_profit"],
        expired=ends["horizon"],
    )


def _row(stage: str | None, code: str | None, current: Sequence[Veto], counts: Sequence[VetoCount]) -> VetoRow:
    here = [each for each in counts if stage in (None, each.stage) and code in (None, each.code)]
    members = [each for each in current if stage in (None, each.refusal.stage) and code in (None, each.refusal.code)]
    return VetoRow(
        stage=stage,
        code=code,
        refused=sum(each.count for each in here),
        waiting=sum(each.count for each in here if each.state in ("unread", "waiting")),
        figures=veto_figures(members),
    )


def _is_current(veto: Veto, rules: VetoRules) -> bool:
    terms = veto.terms
    return terms is not None and (terms.horizon_candles, terms.taker_fee) == (rules.horizon_candles, rules.taker_fee)


def _span(veto: Veto) -> tuple[int, int]:
    terms = veto.terms
    return (0, 0) if terms is None else (terms.anchor_ms, terms.horizon_candles * timeframe_ms(terms.timeframe))


def _money(outcomes: Sequence[VetoOutcome]) -> Decimal:
    return sum((each.result_quote for each in outcomes if each.result_quote is not None), ZERO)


def _plain_figures(figures: VetoFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    said = {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(figures).items()}
    return {**said, "leaning": figures.leaning, "windows_needed": MIN_WINDOWS}
