"""Where the patterns' labels stand so that none lies over another, however far one zooms in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aaos.adapters.charts import look
from aaos.adapters.charts.panels import PRICE_HEIGHT, PRICE_PADDING
from aaos.adapters.charts.reading import Reading
from aaos.domain.market import timeframe_ms

Row = dict[str, Any]

# In pixels: a label's height, and how far its near edge stands from the price that it belongs to.
LABEL_PX: Final = 13
OFFSET_PX: Final = 12
# More rows than that would leave the panel.
_ROWS: Final = 5
# Each try shows half of the stretch before.
_ZOOM: Final = 2


@dataclass(frozen=True, slots=True)
class _Frame:
    """How much a pixel is while all candles are in view; zoomed in it is never more."""

    span_ms: float
    lowest: float
    price_per_px: float

    def holds(self, label: Row) -> bool:
        """Whether the label is within the price panel while all candles are in view."""
        px: float = PRICE_PADDING + (label["price"] - self.lowest) / self.price_per_px + _offset(label)
        return LABEL_PX / 2 <= px <= PRICE_HEIGHT - LABEL_PX / 2

    def clear(self, a: Row, b: Row, zoom: float) -> bool:
        """Whether two labels stay apart from that zoom on.

        Zooming in moves their times and their prices apart; to stay in view at an edge, one may move by half its width.
        """
        a_px, b_px = (look.LETTER_PX * len(each["label"]) for each in (a, b))
        if abs(a["m"] - b["m"]) / self.span_ms * look.WIDTH * zoom >= (a_px + b_px + max(a_px, b_px)) / 2:
            return True
        prices: float = (a["price"] - b["price"]) / self.price_per_px
        apart = prices + _offset(a) - _offset(b)
        return abs(apart) >= LABEL_PX and prices * apart >= 0


def placed(labels: list[Row], reading: Reading) -> list[Row]:
    """The labels with their `row` and `span_ms`: shown while no more than that is in view (0: never).

    As many as there is room for while all is in view, those first that say most; the others once one zooms in.
    """
    times = reading.candles.open_time_ms[reading.first :]
    step = timeframe_ms(reading.candles.timeframe)
    span_ms = float(times[-1] - times[0]) + step
    frame = _Frame(span_ms, *_prices(reading))
    waiting = sorted(range(len(labels)), key=lambda i: labels[i]["worth"], reverse=True)
    shown: dict[int, Row] = {}
    zoom = 1
    while waiting and span_ms / zoom >= step:
        for i in waiting:
            for row in range(_ROWS):
                tried = {**labels[i], "row": row, "span_ms": span_ms / zoom}
                held = zoom > 1 or frame.holds(tried)
                if held and all(frame.clear(tried, other, zoom) for other in shown.values()):
                    shown[i] = tried
                    break
        waiting = [i for i in waiting if i not in shown]
        zoom *= _ZOOM
    return [shown.get(i, {**label, "row": 0, "span_ms": 0.0}) for i, label in enumerate(labels)]


def _prices(reading: Reading) -> tuple[float, float]:
    """The lowest price of the panel and its price per pixel while all candles are in view: with highs, lows, bands."""
    c, columns = reading.candles, reading.columns
    drawn = np.concatenate([each[reading.first :] for each in (c.high, c.low, columns.bb_upper, columns.bb_lower)])
    lowest, highest = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    return lowest, max(highest - lowest, sys.float_info.min) / (PRICE_HEIGHT - 2 * PRICE_PADDING)


def _offset(label: Row) -> float:
    """From the price up to the label's middle."""
    px: float = OFFSET_PX + LABEL_PX * label["row"] + LABEL_PX / 2
    return px if label["above"] else -px
