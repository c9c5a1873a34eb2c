"""talipp: incremental indicators in pure Python.

It has no slow stochastic and no KDJ: both are its fast stochastic followed by means of its own.
"""

import itertools
from dataclasses import dataclass

from talipp.indicators import ADX, AO, ATR, BB, EMA, MACD, OBV, RSI, SMA, Stoch, Williams
from talipp.ohlcv import OHLCVFactory
from turns import OHLCV, Contestant, serve


@dataclass
class Slow:
    """%K and %D, smoothed."""

    fast: Stoch
    k: SMA
    d: SMA

    @classmethod
    def of(cls, period: int, smooth_k: int, smooth_d: int) -> "Slow":
        return cls(Stoch(period, 1), SMA(smooth_k), SMA(smooth_d))

    def add(self, candle) -> None:
        self.fast.add(candle)
        if self.fast[-1] is not None:
            self.k.add(self.fast[-1].k)
            if self.k[-1] is not None:
                self.d.add(self.k[-1])


class Bundle:
    """All indicators, fed together."""

    def __init__(self, p: dict) -> None:
        self.by_close = {
            "rsi": RSI(p["rsi_period"]),
            "macd": MACD(p["macd_fast"], p["macd_slow"], p["macd_signal"]),
            "bb": BB(p["bollinger_period"], p["bollinger_deviations"]),
            "ema_fast": EMA(p["ema_fast"]),
            "ema_slow": EMA(p["ema_slow"]),
        }
        self.stoch = Slow.of(p["stoch_period"], p["stoch_smooth_k"], p["stoch_smooth_d"])
        self.kdj = Slow.of(p["kdj_period"], p["kdj_smooth_k"], p["kdj_smooth_d"])
        self.by_candle = {
            "williams_r": Williams(p["williams_period"]),
            "ao": AO(p["ao_fast"], p["ao_slow"]),
            "obv": OBV(),
            "atr": ATR(p["atr_period"]),
            "adx": ADX(p["adx_period"], p["adx_period"]),
        }
        self.j = None

    def add(self, candle) -> None:
        for indicator in self.by_close.values():
            indicator.add(candle.close)
        for indicator in self.by_candle.values():
            indicator.add(candle)
        self.stoch.add(candle)
        self.kdj.add(candle)
        if self.kdj.d and self.kdj.d[-1] is not None:
            self.j = 3 * self.kdj.k[-1] - 2 * self.kdj.d[-1]


class Talipp(Contestant):
    package = "talipp"

    def prepare(self) -> None:
        rows = list(zip(*(self.columns[name] for name in OHLCV), strict=True))
        self.candles = OHLCVFactory.from_matrix(rows)

    def compute(self) -> Bundle:
        bundle = Bundle(self.params)
        for candle in self.candles:
            bundle.add(candle)
        return bundle

    def figures(self, computed: Bundle) -> dict:
        one = {**computed.by_close, **computed.by_candle}
        macd, bands, adx = (one.pop(name)[-1] for name in ("macd", "bb", "adx"))
        found = {name: indicator[-1] for name, indicator in one.items()}
        found |= {"macd_line": macd.macd, "macd_signal": macd.signal, "macd_hist": macd.histogram, "adx": adx.adx}
        found |= {"bb_upper": bands.ub, "bb_mid": bands.cb, "bb_lower": bands.lb}
        found |= {"stoch_k": computed.stoch.k[-1], "stoch_d": computed.stoch.d[-1]}
        found |= {"kdj_k": computed.kdj.k[-1], "kdj_d": computed.kdj.d[-1], "kdj_j": computed.j}
        return {**found, "obv": one["obv"][-1] - one["obv"][0]}

    def after(self, history: int):
        bundle = Bundle(self.params)
        for candle in self.candles[:history]:
            bundle.add(candle)
        following = itertools.cycle(self.candles[history:])
        return lambda: bundle.add(next(following))


if __name__ == "__main__":
    serve(Talipp())
