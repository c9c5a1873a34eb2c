"""TA-Lib's functions alone, called with float64 arrays: the limit for whoever computes with it.

KDJ is a slow stochastic here, TA-Lib having none, the same one where the parameters are the same, as with us; AO is
the difference of two means of its median price.
"""

import numpy as np
import talib
from turns import OHLCV, Contestant, serve

PARTS = ("period", "smooth_k", "smooth_d")


class Talib(Contestant):
    package = "TA-Lib"

    def prepare(self) -> None:
        self.arrays = [np.array(self.columns[name]) for name in OHLCV]

    def compute(self):
        p = self.params
        _, high, low, close, volume = self.arrays
        median = talib.MEDPRICE(high, low)
        stoch_by, kdj_by = ([p[f"{name}_{part}"] for part in PARTS] for name in ("stoch", "kdj"))
        stoch = talib.STOCH(high, low, close, stoch_by[0], stoch_by[1], 0, stoch_by[2], 0)
        k, d = stoch if kdj_by == stoch_by else talib.STOCH(high, low, close, kdj_by[0], kdj_by[1], 0, kdj_by[2], 0)
        deviations = p["bollinger_deviations"]
        return {
            "rsi": talib.RSI(close, p["rsi_period"]),
            "macd": talib.MACD(close, p["macd_fast"], p["macd_slow"], p["macd_signal"]),
            "williams_r": talib.WILLR(high, low, close, p["williams_period"]),
            "ao": talib.SMA(median, p["ao_fast"]) - talib.SMA(median, p["ao_slow"]),
            "stoch": stoch,
            "bb": talib.BBANDS(close, p["bollinger_period"], deviations, deviations),
            "ema": (talib.EMA(close, p["ema_fast"]), talib.EMA(close, p["ema_slow"])),
            "kdj": (k, d, 3 * k - 2 * d),
            "obv": talib.OBV(close, volume),
            "atr": talib.ATR(high, low, close, p["atr_period"]),
            "adx": talib.ADX(high, low, close, p["adx_period"]),
        }

    def figures(self, computed) -> dict:
        names = {
            "macd": ("macd_line", "macd_signal", "macd_hist"),
            "stoch": ("stoch_k", "stoch_d"),
            "bb": ("bb_upper", "bb_mid", "bb_lower"),
            "ema": ("ema_fast", "ema_slow"),
            "kdj": ("kdj_k", "kdj_d", "kdj_j"),
        }
        found = {}
        for name, columns in computed.items():
            several = zip(names[name], columns, strict=True) if name in names else [(name, columns)]
            found.update({each: float(column[-1]) for each, column in several})
        return {**found, "obv": float(computed["obv"][-1] - computed["obv"][0])}


if __name__ == "__main__":
    serve(Talib())
