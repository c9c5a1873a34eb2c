"""One regime detection: closed candles and the labels before, in; regime, Wyckoff phase and evidence out."""

from __future__ import annotations

from aaos.domain.market import Candles, MarketSettings
from aaos.domain.regime import Labels, RegimeParams
from aaos.domain.regime import detect_regime as classify
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.ports import MarketData, ResultRecord, ResultStore

KIND = "regime_detection"


def detect_regime(
    run: ClaimedRun,
    market: MarketData,
    results: ResultStore,
    params: RegimeParams,
    market_settings: MarketSettings,
) -> Completed:
    """Returns the regime of the run's symbol as of its slot, with hysteresis against the slot before.

    Raises:
        UnknownSymbol, InsufficientData, StaleInput: as `MarketData.candles` does.
    """
    candles = market.candles(run.symbol, run.slot, market_settings.history_candles)
    before = results.latest(KIND, run.symbol, before=run.slot)
    previous = None if before is None else _labels_of_same_series(before, candles)
    regime = classify(candles, params, previous)
    market_time = market.market_time(run.symbol, run.slot).isoformat()
    inputs = [Input("candles", candles.content_hash(), market_time)]
    if before is not None and previous is not None:
        inputs.append(Input("regime_before", before.content_hash, before.analyzed_at.isoformat(), before.id))
    return Completed({**regime.to_dict(), "as_of": run.slot.isoformat(), "market_time": market_time}, inputs)


def _labels_of_same_series(before: ResultRecord, candles: Candles) -> Labels | None:
    """The labels found before, if they are about these candles.

    A symbol's candles may come from another file or market than they did then; what was found there says nothing
    here. So the candle it was found at must be among these, with the same close.
    """
    body = before.body
    if body.get("timeframe") != candles.timeframe:
        return None
    newest_ms, close = body.get("newest_candle_ms"), body.get("close")
    if newest_ms is None or close is None or not candles.holds(newest_ms, close):
        return None
    return Labels.of_body(body)
