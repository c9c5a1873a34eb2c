"""How the chart looks: sizes in pixels, muted colours, and number formats that fit a price of any size."""

from __future__ import annotations

import math
from typing import Any, Final

Spec = dict[str, Any]

# Sizes, before the image is scaled.
WIDTH: Final = 1160
GUTTER: Final = 150  # left of the panels: their names and the figures at the cursor
AXIS: Final = 74  # right of the panels: the scale
MARGIN: Final = 12
PANEL_GAP: Final = 10
IMAGE_SCALE: Final = 2.0  # device pixels per pixel: sharp on today's screens

FONT: Final = "Helvetica, Arial, 'Liberation Sans', sans-serif"
LETTER_PX: Final = 6.5  # about what a letter of a pattern's label is wide
INK: Final = "#2b3036"
FAINT: Final = "#7a828c"
GRID: Final = "#eceff2"
FRAME: Final = "#d5dade"
PAPER: Final = "#ffffff"
GAP_FILL: Final = "#e4e7eb"

RISING: Final = "#4a9d83"
FALLING: Final = "#cf6a5d"
FAST: Final = "#2f6fb0"
SLOW: Final = "#d0871c"
THIRD: Final = "#8a63a8"
BAND: Final = "#8f9bab"
SINGLE: Final = "#4f5d75"

# Louder than the candles, so that what was found stands out: green and red differ in lightness, too.
SIDES: Final = {"bullish": "#0b7a43", "bearish": "#b3201b", "neutral": "#5b6470"}
PATTERN: Final = "#6a3fb5"
DIRECTIONS: Final = {"long": SIDES["bullish"], "short": SIDES["bearish"], "neutral": SIDES["neutral"]}

_DIGITS = 6  # significant digits that a price shows
_PLAIN_FROM, _PLAIN_BELOW = 1e-4, 1e9  # outside, a price is written with an exponent


def price_format(price: float) -> str:
    """The d3 format that shows such a price with six significant digits."""
    if not _PLAIN_FROM <= abs(price) < _PLAIN_BELOW:
        return f".{_DIGITS - 1}~e"
    return f",.{max(0, _DIGITS - 1 - math.floor(math.log10(abs(price))))}f"
