"""aaos: `compute_indicators` over all candles, `IndicatorStream` for one candle more."""

import itertools

from turns import OHLCV, Contestant, serve

from aaos.domain.market import TIMEFRAMES_MS, Candles
from aaos.domain.signals import IndicatorColumns, compute_indicators
from aaos.settings import settings

TIMEFRAME = "1m"


class Aaos(Contestant):
    def prepare(self) -> None:
        times = [number * TIMEFRAMES_MS[TIMEFRAME] for number in range(len(self.columns["close"]))]
        self.candles = Candles("BTC/USDT", TIMEFRAME, times, *(self.columns[name] for name in OHLCV))
        self.signals = settings().signals

    def compute(self) -> IndicatorColumns:
        return compute_indicators(self.candles, self.signals)

    def figures(self, computed: IndicatorColumns) -> dict:
        return {**computed.newest(), "obv": float(computed.obv[-1] - computed.obv[0])}

    def after(self, history: int):
        from aaos.domain.signals.streaming import IndicatorStream

        stream = IndicatorStream(self.signals)
        rows = list(zip(*(self.columns[name] for name in OHLCV), strict=True))
        for row in rows[:history]:
            stream.update(*row)
        following = itertools.cycle(rows[history:])
        return lambda: stream.update(*next(following))


if __name__ == "__main__":
    serve(Aaos())
