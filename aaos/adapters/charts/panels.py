"""Which panel shows which columns; the names carry the periods that the figures were computed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from aaos.adapters.charts import look
from aaos.domain.signals import SignalParams

Form = Literal["line", "dashed", "faint", "bars", "momentum"]


@dataclass(frozen=True, slots=True)
class Series:
    """A column as it is drawn: its name beside the panel, its colour and its form."""

    column: str
    label: str
    colour: str
    form: Form = "line"


@dataclass(frozen=True, slots=True)
class Panel:
    """A strip of the chart.

    Attributes:
        name: of the panel; divergences of that name are drawn in it.
        title: what stands beside it.
        height: in pixels.
        series: what is drawn, the first at the back.
        format: of its figures, in d3's notation.
        domain: the fixed ends of its scale, or what the scale must at least hold (`within`).
        levels: values with a line across the panel.
        within: the scale grows beyond `domain` where figures do.
    """

    name: str
    title: str
    height: int
    series: tuple[Series, ...]
    format: str = ",.1f"
    domain: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    within: bool = False


PRICE_HEIGHT, VOLUME_HEIGHT, WIDE, NARROW = 380, 56, 84, 62
PRICE_PADDING = 16  # above the highest and below the lowest price
_PERCENT, _MINUS_PERCENT = (0.0, 100.0), (-100.0, 0.0)


def price_series(p: SignalParams) -> tuple[Series, ...]:
    """The lines over the candles."""
    return (
        Series("bb_upper", "BB upper", look.BAND, "faint"),
        Series("bb_mid", f"BB {p.bollinger_period}", look.BAND, "dashed"),
        Series("bb_lower", "BB lower", look.BAND, "faint"),
        Series("ema_fast", f"EMA {p.ema_fast}", look.FAST),
        Series("ema_slow", f"EMA {p.ema_slow}", look.SLOW),
    )


def lower_panels(p: SignalParams, price_format: str) -> tuple[Panel, ...]:
    """The panels below the candles, from the top.

    Args:
        p: periods and levels.
        price_format: of figures in price units.
    """
    volume = Series("volume", "", look.SINGLE, "bars")
    return (
        Panel("volume", "Volume", VOLUME_HEIGHT, (volume,), ".4~s", (0.0,), within=True),
        _rsi(p),
        _macd(p, price_format),
        Panel("ao", f"AO {p.ao_fast}/{p.ao_slow}", WIDE, (Series("ao", "", look.SINGLE, "momentum"),), price_format,
              (0.0,), (0.0,), within=True),
        _stochastic(p),
        _kdj(p),
        _williams(p),
        Panel("obv", "OBV", WIDE, (Series("obv", "", look.SINGLE),), ".5~s"),
        Panel("adx", f"ADX {p.adx_period}", NARROW, (Series("adx", "", look.SINGLE),), domain=(0.0,),
              levels=(p.adx_weak, p.adx_strong), within=True),
        Panel("atr", f"ATR {p.atr_period}", NARROW, (Series("atr", "", look.SINGLE),), price_format, (0.0,),
              within=True),
    )  # fmt: skip


def _rsi(p: SignalParams) -> Panel:
    levels = (p.rsi_oversold, p.rsi_overbought)
    return Panel("rsi", f"RSI {p.rsi_period}", WIDE, (Series("rsi", "", look.THIRD),), domain=_PERCENT, levels=levels)


def _macd(p: SignalParams, price_format: str) -> Panel:
    series = (
        Series("macd_hist", "hist", look.FAINT, "momentum"),
        Series("macd_line", "MACD", look.FAST),
        Series("macd_signal", "signal", look.SLOW),
    )
    title = f"MACD {p.macd_fast}/{p.macd_slow}/{p.macd_signal}"
    return Panel("macd", title, WIDE, series, price_format, (0.0,), (0.0,), within=True)


def _stochastic(p: SignalParams) -> Panel:
    series = (Series("stoch_k", "%K", look.FAST), Series("stoch_d", "%D", look.SLOW))
    title = f"Stochastic {p.stoch_period}/{p.stoch_smooth_k}/{p.stoch_smooth_d}"
    return Panel("stochastic", title, NARROW, series, domain=_PERCENT, levels=(p.stoch_oversold, p.stoch_overbought))


def _kdj(p: SignalParams) -> Panel:
    series = (
        Series("kdj_j", "%J", look.THIRD),
        Series("kdj_k", "%K", look.FAST),
        Series("kdj_d", "%D", look.SLOW),
    )
    title = f"KDJ {p.kdj_period}/{p.kdj_smooth_k}/{p.kdj_smooth_d}"
    return Panel("kdj", title, NARROW, series, domain=_PERCENT, levels=_PERCENT, within=True)


def _williams(p: SignalParams) -> Panel:
    levels = (p.williams_oversold, p.williams_overbought)
    series = (Series("williams_r", "", look.SINGLE),)
    return Panel("williams_r", f"Williams %R {p.williams_period}", NARROW, series, domain=_MINUS_PERCENT, levels=levels)


def columns_of(panels: tuple[Panel, ...]) -> tuple[str, ...]:
    """Every indicator column that one of the panels draws."""
    return tuple(series.column for panel in panels for series in panel.series)


def value_domain(panel: Panel, data: str) -> Any:
    """The scale's domain in Vega's terms."""
    if panel.domain and not panel.within:
        return list(panel.domain)
    fields: list[Any] = [{"data": data, "field": series.column} for series in panel.series]
    return {"fields": [*fields, list(panel.domain)] if panel.domain else fields}
