"""pandas-ta or its maintained fork pandas-ta-classic: pandas_ta_app.py MODULE own|talib.

`own` is what the library computes itself, `talib` its wrappers around TA-Lib where it has them.
"""

import importlib
import sys

import pandas as pd
from turns import OHLCV, Contestant, serve


class PandasTa(Contestant):
    def __init__(self, module: str, talib: bool) -> None:
        self.ta = importlib.import_module(module)
        self.package = module.replace("_", "-")
        self.talib = talib
        # One deviation for both bands in the fork, one for each in pandas-ta.
        self.deviations = ("std",) if module.endswith("classic") else ("lower_std", "upper_std")

    def prepare(self) -> None:
        index = pd.date_range("2024-01-01", periods=len(self.columns["close"]), freq="min")
        self.frame = pd.DataFrame({name: self.columns[name] for name in OHLCV}, index=index, dtype="float64")

    def compute(self) -> dict:
        p, ta, by = self.params, self.ta, {"talib": self.talib}
        high, low, close = (self.frame[name] for name in ("high", "low", "close"))
        deviations = dict.fromkeys(self.deviations, p["bollinger_deviations"])
        return {
            "rsi": ta.rsi(close, length=p["rsi_period"], **by),
            "macd": ta.macd(close, fast=p["macd_fast"], slow=p["macd_slow"], signal=p["macd_signal"], **by),
            "williams_r": ta.willr(high, low, close, length=p["williams_period"], **by),
            "ao": ta.ao(high, low, fast=p["ao_fast"], slow=p["ao_slow"]),
            "stoch": ta.stoch(
                high, low, close, k=p["stoch_period"], smooth_k=p["stoch_smooth_k"], d=p["stoch_smooth_d"], **by
            ),
            "bb": ta.bbands(close, length=p["bollinger_period"], ddof=0, **deviations, **by),
            "ema_fast": ta.ema(close, length=p["ema_fast"], **by),
            "ema_slow": ta.ema(close, length=p["ema_slow"], **by),
            "kdj": ta.kdj(high, low, close, length=p["kdj_period"], signal=p["kdj_smooth_k"]),
            "obv": ta.obv(close, self.frame["volume"], **by),
            "atr": ta.atr(high, low, close, length=p["atr_period"], **by),
            "adx": ta.adx(high, low, close, length=p["adx_period"], **by),
        }

    def figures(self, computed: dict) -> dict:
        places = {
            "macd": ("macd_line", "macd_hist", "macd_signal"),
            "stoch": ("stoch_k", "stoch_d"),
            "bb": ("bb_lower", "bb_mid", "bb_upper"),
            "kdj": ("kdj_k", "kdj_d", "kdj_j"),
            "adx": ("adx",),
        }
        found = {}
        for name, column in computed.items():
            if name in places:
                found.update({each: float(column.iloc[-1, place]) for place, each in enumerate(places[name])})
            else:
                found[name] = float(column.iloc[-1])
        return {**found, "obv": float(computed["obv"].iloc[-1] - computed["obv"].iloc[0])}


if __name__ == "__main__":
    serve(PandasTa(sys.argv[1], sys.argv[2] == "talib"))
