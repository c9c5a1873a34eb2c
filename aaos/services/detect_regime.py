"""One regime detection: closed candles and the regime before, in; regime, Wyckoff phase and evidence out."""

from __future__ import annotations

from aaos.domain.market import MarketSettings
from aaos.domain.regime import RegimeParams
from aaos.domain.regime import detect_regime as classify
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.ports import MarketData, ResultStore

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
    regime = classify(candles, params, None if before is None else str(before.body["regime"]))
    market_time = market.market_time(run.symbol, run.slot).isoformat()
    inputs = [Input("candles", candles.content_hash(), market_time)]
    if before is not None:
        inputs.append(Input("regime_before", before.content_hash, before.analyzed_at.isoformat(), before.id))
    return Completed({**regime.to_dict(), "as_of": run.slot.isoformat(), "market_time": market_time}, inputs)
