"""What stands above the panels: which series and when, how it was read, and what the signs mean."""

from __future__ import annotations

from typing import Any, Final

from aaos.adapters.charts import look
from aaos.adapters.charts.look import Spec
from aaos.adapters.charts.reading import Reading
from aaos.adapters.charts.rows import Rows
from aaos.domain.market import iso_utc
from aaos.domain.signals import MAX_SCORE

HEIGHT: Final = 92
_LEFT: Final = -look.GUTTER + look.MARGIN
_TITLE_Y, _LINE_Y, _LEGEND_Y = 14, 33, 58
_TITLE_SIZE: Final = 17
_SIGN_PX: Final = 22
_GAUGE_PX, _GAUGE_Y, _GAUGE_HEIGHT = 240, 6, 9

# (sign, colour, dashes, words, pixels that it takes)
_LEGEND: Final[tuple[tuple[str, str, list[int], str, int], ...]] = (
    ("triangle-down", look.FAINT, [], "pivot", 62),
    ("line", look.SIDES["bullish"], [], "bullish divergence", 138),
    ("line", look.SIDES["bearish"], [], "bearish divergence", 142),
    ("line", look.INK, [5, 4], "hidden (dashed)", 122),
    ("diamond", look.INK, [], "known from this candle on", 170),
    ("outline", look.PATTERN, [], "pattern (pale: forming)", 164),
    ("line", look.PATTERN, [2, 3], "level that confirms it", 152),
    ("gap", look.GAP_FILL, [], "no data", 72),
)


def titles(reading: Reading, rows: Rows) -> tuple[str, str]:
    """The series' name, and the line below it: time span, candles, gaps."""
    candles = reading.candles
    first, last = iso_utc(int(candles.open_time_ms[reading.first])), iso_utc(candles.last_close_time_ms)
    missing = sum(gap["missing"] for gap in rows.gaps)
    gaps = f", {missing} missing in {_counted(len(rows.gaps), 'gap')}" if missing else ""
    span = f"{_plain(first)} to {_plain(last)} UTC  ·  {_counted(len(rows.candles), 'candle')}{gaps}"
    return f"{candles.symbol}  {candles.timeframe}", span


def verdict(reading: Reading) -> tuple[str, str]:
    """Direction and score, and the line below: confidence and how the timeframes agree."""
    signal = reading.signal
    trends = ", ".join(f"{each.timeframe} {each.direction}" for each in signal.timeframes)
    agreement = f"  ·  timeframes {signal.alignment} ({trends})" if signal.alignment else ""
    said = f"{signal.direction.upper()}  {signal.score:+.1f} of ±{MAX_SCORE:g}".replace("-", "−")
    return said, f"confidence {signal.confidence_pct:.1f} %{agreement}"


def header_group(reading: Reading, rows: Rows) -> Spec:
    """The header as a group of marks, HEIGHT pixels high."""
    title, span = titles(reading, rows)
    said, trust = verdict(reading)
    colour = look.DIRECTIONS[reading.signal.direction]
    marks = [
        _words(title, _LEFT, _TITLE_Y, look.INK, size=_TITLE_SIZE, weight="bold"),
        _words(span, _LEFT, _LINE_Y, look.FAINT, size=12),
        _words(said, _right(_GAUGE_PX + 14), _TITLE_Y, colour, size=15, weight="bold", align="right"),
        _words(trust, _right(0), _LINE_Y, look.FAINT, size=12, align="right"),
        *_gauge(reading.signal.score, colour),
        *_legend(),
    ]
    return {"type": "group", "name": "header", "interactive": False, "marks": marks}


def _gauge(score: float, colour: str) -> list[Spec]:
    """A bar from the middle to the score on −130…+130."""
    middle = f"width + {look.AXIS - look.MARGIN} - {_GAUGE_PX / 2}"
    reach = _GAUGE_PX / 2 * score / MAX_SCORE
    return [
        _bar(f"{middle} - {_GAUGE_PX / 2}", f"{middle} + {_GAUGE_PX / 2}", look.GRID),
        _bar(middle, f"{middle} + ({reach})", colour),
        _bar(f"{middle} - 0.5", f"{middle} + 0.5", look.INK),
    ]


def _bar(start: str, end: str, colour: str) -> Spec:
    place = {
        "x": {"signal": start},
        "x2": {"signal": end},
        "y": {"value": _GAUGE_Y},
        "height": {"value": _GAUGE_HEIGHT},
        "fill": {"value": colour},
    }
    return {"type": "rect", "encode": {"update": place}}


def _legend() -> list[Spec]:
    marks: list[Spec] = []
    x = _LEFT
    for sign, colour, dashes, words, pixels in _LEGEND:
        marks += [_sign(sign, colour, dashes, x), _words(words, x + _SIGN_PX + 5, _LEGEND_Y, look.INK, size=11)]
        x += _SIGN_PX + pixels
    return marks


def _sign(sign: str, colour: str, dashes: list[int], x: int) -> Spec:
    middle = _LEGEND_Y - 4
    if sign == "gap":
        place: dict[str, Any] = {"x": x, "width": _SIGN_PX, "y": middle - 6, "height": 12, "fill": colour}
        return {"type": "rect", "encode": {"update": _values(place)}}
    if sign in ("line", "outline"):
        thick = {"strokeWidth": 1.9} if sign == "line" else {"strokeWidth": 3.5, "strokeOpacity": 0.4}
        place = {"x": x, "x2": x + _SIGN_PX, "y": middle, "stroke": colour, "strokeDash": dashes or [1, 0], **thick}
        return {"type": "rule", "encode": {"update": _values(place)}}
    fill = look.PAPER if sign == "diamond" else colour
    place = {"x": x + _SIGN_PX / 2, "y": middle, "shape": sign, "size": 40, "fill": fill, "stroke": colour}
    return {"type": "symbol", "encode": {"update": _values(place)}}


def _words(text: str, x: int | str, y: int, colour: str, **font: Any) -> Spec:
    styles = {"size": "fontSize", "weight": "fontWeight", "align": "align"}
    at = {"signal": x} if isinstance(x, str) else {"value": x}
    named = _values({styles[name]: value for name, value in font.items()})
    place = {"x": at, "y": {"value": y}, "fill": {"value": colour}, "text": {"value": text}, **named}
    return {"type": "text", "encode": {"update": place}}


def _right(pixels: int) -> str:
    """So many pixels from the right edge."""
    return f"width + {look.AXIS - look.MARGIN} - {pixels}"


def _values(place: Spec) -> Spec:
    return {name: {"value": value} for name, value in place.items()}


def _plain(iso: str) -> str:
    return iso.replace("T", " ").removesuffix("Z").removesuffix(":00")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
