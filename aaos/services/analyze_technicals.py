"""One technical analysis: closed candles in, an explained score out."""

from __future__ import annotations

from aaos.domain.market import MarketSettings
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.domain.signals import SignalParams, candles_to_read, generate_signal
from aaos.ports import MarketData


def analyze_technicals(
    run: ClaimedRun, market: MarketData, params: SignalParams, market_settings: MarketSettings
) -> Completed:
    """Returns the signal of the run's symbol as of its slot; the same slot gives the same signal.

    Raises:
        UnknownSymbol, InsufficientData, StaleInput: as `MarketData.candles` does.
        InsufficientData, InvalidMarketData: as `generate_signal` does.
    """
    count = candles_to_read(market.timeframe(run.symbol), market_settings.history_candles, params)
    candles = market.candles(run.symbol, run.slot, count)
    signal = generate_signal(candles, params)
    market_time = market.market_time(run.symbol, run.slot).isoformat()
    body = {**signal.to_dict(), "as_of": run.slot.isoformat(), "market_time": market_time}
    return Completed(body, inputs=[Input("candles", candles.content_hash(), market_time)])
