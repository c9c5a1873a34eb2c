"""The whole chart as one description in Vega's terms: the same for the page and for the image."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from aaos.adapters.charts import look
from aaos.adapters.charts.header import HEIGHT, header_group, titles, verdict
from aaos.adapters.charts.look import Spec
from aaos.adapters.charts.marks import divergence_marks, figure_mark, label_mark, name_marks, panel_group, price_marks
from aaos.adapters.charts.panels import PRICE_HEIGHT, Panel, lower_panels, price_series
from aaos.adapters.charts.reading import Reading
from aaos.adapters.charts.rows import Rows, rows_of
from aaos.domain.market import timeframe_ms

# Indicators in whose panels divergences are drawn.
_DIVERGING: Final = ("rsi", "macd", "ao", "obv")
_SWITCHES: Final = (
    ("pivots", "pivots"),
    ("divergences", "divergences"),
    ("hidden", "hidden divergences"),
    ("patterns", "patterns"),
)
_BODY_SHARE: Final = 0.7  # of a candle's room that its body takes
_CLOSEST: Final = 12  # candles: no closer than this
_ZOOM: Final = 1.0012  # per unit of the wheel
_HELD: Final = "event.ctrlKey || event.metaKey"  # a bare wheel scrolls the page
_OHLC: Final = ("open", "high", "low", "close")


def describe(reading: Reading) -> Spec:
    """The description of the chart; `vega` draws it, in a browser or without one."""
    rows = rows_of(reading)
    price_format = look.price_format(float(reading.candles.close[-1]))
    panels = lower_panels(reading.params, price_format)
    tops = list(accumulate((p.height + look.PANEL_GAP for p in panels), initial=PRICE_HEIGHT + look.PANEL_GAP))
    lower = [
        panel_group(
            panel, HEIGHT + top, _time_axis("bottom") if panel is panels[-1] else None, _found(panel)
        )
        for panel, top in zip(panels, tops, strict=False)
    ]  # fmt: skip
    return {
        "description": ". ".join((*titles(reading, rows), *verdict(reading))),
        "background": look.PAPER,
        "width": look.WIDTH,
        "height": HEIGHT + tops[-1] - look.PANEL_GAP + look.MARGIN,
        "padding": {"left": look.GUTTER, "right": look.AXIS, "top": look.MARGIN, "bottom": look.MARGIN},
        "autosize": "none",
        "config": _config(),
        "signals": _signals(reading, rows),
        "data": _data(rows),
        "scales": [_x_scale(), _side_scale()],
        "marks": [header_group(reading, rows), _price_group(reading, price_format), *lower],
    }


def _found(panel: Panel) -> list[Spec]:
    return divergence_marks("value", "turn", panel.name) if panel.name in _DIVERGING else []


def _price_group(reading: Reading, price_format: str) -> Spec:
    """Candles with their averages and bands; beside them the candle under the cursor."""
    series = price_series(reading.params)
    panel = Panel("price", "Price", PRICE_HEIGHT, series, price_format)
    group = panel_group(panel, HEIGHT, _time_axis("top"), price_marks())
    group["scales"][0]["domain"] = {
        "fields": [{"data": "visible", "field": name} for name in ("high", "low", "bb_upper", "bb_lower")]
    }
    clip, *_ = group["marks"]
    time = figure_mark("t", "", 0, look.FAINT)
    time["encode"]["update"]["text"] = {"signal": "utcFormat(datum.t, '%Y-%m-%d %H:%M')"}
    time["encode"]["update"]["x"] = {"value": -look.GUTTER + look.MARGIN}
    time["encode"]["update"]["align"] = {"value": "left"}
    figures = [figure_mark(name, price_format, line, look.INK) for line, name in enumerate(_OHLC, start=1)]
    names = [label_mark(name, line, look.FAINT) for line, name in enumerate(_OHLC, start=1)]
    group["marks"] = [clip, time, *names, *figures, *name_marks("", series, price_format, len(_OHLC) + 1)[1:]]
    return group


def _data(rows: Rows) -> list[Spec]:
    in_view = "datum.m >= xdom[0] - step && datum.m <= xdom[1] + step"
    overlaps = "datum.m1 <= xdom[1] && datum.known >= xdom[0]"
    shown_divergence = "datum.kind === 'hidden' ? show_hidden : show_divergences"
    pattern_switch = [_filter("show_patterns")]
    return [
        {"name": "candles", "values": rows.candles},
        {"name": "visible", "source": "candles", "transform": [_filter(in_view)]},
        {"name": "shown", "source": "candles", "transform": [
            _filter("at === null ? datum.t === newest : datum.t <= at && at < datum.t + step")]},
        {"name": "gaps", "values": rows.gaps},
        {"name": "pivots", "values": rows.pivots, "transform": [_filter("show_pivots")]},
        {"name": "divergences", "values": rows.divergences,
         "transform": [_filter(shown_divergence), _filter(overlaps)]},
        *({"name": f"divergences_{name}", "source": "divergences",
           "transform": [_filter(f"datum.indicator === '{name}'")]} for name in _DIVERGING),
        {"name": "pattern_lines", "values": rows.pattern_lines, "transform": pattern_switch},
        {"name": "pattern_points", "values": rows.pattern_points, "transform": pattern_switch},
        {"name": "patterns", "values": rows.patterns, "transform": [*pattern_switch, _filter(overlaps)]},
    ]  # fmt: skip


def _signals(reading: Reading, rows: Rows) -> list[Spec]:
    """The stretch in view (`xdom`), which dragging, ctrl + wheel, double click and the page's buttons change."""
    step = timeframe_ms(reading.candles.timeframe)
    start, end = rows.candles[0]["t"], rows.candles[-1]["t"] + step
    span, held = "(xdom[1] - xdom[0])", "(grabbed[1] - grabbed[0])"
    drag = f"[grabbed[0] - {held} * dragged / width, grabbed[1] - {held} * dragged / width]"
    about = "zoom.at - (zoom.at - xdom[0]) * zoom.by, zoom.at + (xdom[1] - zoom.at) * zoom.by"
    zoomed = f"{span} * zoom.by < {_CLOSEST * step} ? xdom : [{about}]"
    # The plus makes a number of the scale's date: dates do not add up.
    wheel = f"{{at: +invert('x', clamp(x(), 0, width)), by: pow({_ZOOM}, event.deltaY * pow(16, event.deltaMode))}}"
    under = "x() >= 0 && x() <= width ? +invert('x', x()) : null"
    return [
        {"name": "step", "value": step},
        {"name": "newest", "value": rows.candles[-1]["t"]},
        *({"name": f"show_{name}", "value": True, "bind": {"input": "checkbox", "name": label}}
          for name, label in _SWITCHES),
        {"name": "grabbed", "value": [start, end], "on": [{"events": "pointerdown", "update": "slice(xdom)"}]},
        {"name": "grabbed_x", "value": 0, "on": [{"events": "pointerdown", "update": "x()"}]},
        {"name": "dragged", "value": 0, "on": [
            {"events": "[pointerdown, window:pointerup] > window:pointermove!", "update": "x() - grabbed_x"}]},
        {"name": "zoom", "value": {"at": end, "by": 1}, "on": [
            {"events": {"type": "wheel", "consume": True, "filter": _HELD}, "update": wheel}]},
        {"name": "xdom", "value": [start, end], "on": [
            {"events": {"signal": "dragged"}, "update": f"clampRange({drag}, {start}, {end})"},
            {"events": {"signal": "zoom"}, "update": f"clampRange({zoomed}, {start}, {end})"},
            {"events": "dblclick", "update": f"[{start}, {end}]"}]},
        {"name": "body_px", "update": f"max(1, {_BODY_SHARE} * width * step / {span})"},
        {"name": "at", "value": None, "on": [
            {"events": "pointermove", "update": under}, {"events": "view:pointerout", "update": "null"}]},
    ]  # fmt: skip


def _x_scale() -> Spec:
    return {"name": "x", "type": "utc", "domain": {"signal": "xdom"}, "range": "width", "zero": False}


def _side_scale() -> Spec:
    return {"name": "side", "type": "ordinal", "domain": list(look.SIDES), "range": list(look.SIDES.values())}


def _time_axis(orient: str) -> Spec:
    return {
        "scale": "x",
        "orient": orient,
        "domain": False,
        "tickCount": 12,
        "labelOverlap": True,
        "format": {"minutes": "%H:%M", "hours": "%H:%M", "date": "%b %d", "week": "%b %d", "month": "%b", "year": "%Y"},
        "formatType": "utc",
    }


def _filter(expression: str) -> Spec:
    return {"type": "filter", "expr": expression}


def _config() -> Spec:
    axis = {
        "labelFont": look.FONT,
        "labelFontSize": 10,
        "labelColor": look.FAINT,
        "gridColor": look.GRID,
        "tickColor": look.FRAME,
        "tickSize": 4,
    }
    return {"axis": axis, "text": {"font": look.FONT, "fontSize": 11}, "events": {"defaults": {"allow": ["wheel"]}}}
