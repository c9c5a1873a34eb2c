"""How one panel is drawn, in Vega's terms: a frame with scale and grid, marks cut off at its edge, its name beside it.

Names used across the description: the data sets `visible` (candles in view), `gaps`, `pivots`, `divergences`,
`pattern_lines`, `pattern_points`, `patterns` and `shown` (the candle under the cursor); the scale `x`; the signals
`body_px` (a candle's width) and `at` (the time under the cursor).
"""

from __future__ import annotations

from typing import Any, Final

from aaos.adapters.charts import look
from aaos.adapters.charts.labels import LABEL_PX, OFFSET_PX
from aaos.adapters.charts.look import Spec
from aaos.adapters.charts.panels import PRICE_PADDING, Panel, Series, value_domain

_LINE_HEIGHT: Final = 14
_NAME_X: Final = -look.GUTTER + look.MARGIN
_VALUE_X: Final = -8
_TICKS_EVERY_PX: Final = 32
_LINE_WIDTH: Final = {"line": 1.3, "dashed": 0.9, "faint": 0.9}
_DASHES: Final[dict[str, list[int]]] = {"dashed": [4, 3]}
_PIVOT_SIZE, _POINT_SIZE, _KNOWN_SIZE, _END_SIZE = 26, 30, 34, 16
_PIVOT_OFFSET_PX: Final = 7
_HISTOGRAM = 0.55  # opacity of bars, so that lines over them stay readable

# Rows that leave the view and come back stand last among their data: a line has to sort them again.
_IN_TIME: Final[Spec] = {"field": "x"}
X: Final[Spec] = {"scale": "x", "field": "m"}


def panel_group(panel: Panel, top: int, axis: Spec | None, marks: list[Spec]) -> Spec:
    """A panel as a group of its own, `top` pixels below the first; `marks` are laid over its series."""
    frame = {"width": {"signal": "width"}, "height": {"value": panel.height}}
    drawn = [_gap_marks(panel.height), *_levels(panel), _runs(panel), *marks, _cursor(panel.height)]
    return {
        "type": "group",
        "name": f"panel_{panel.name}",
        "encode": {"update": {"y": {"value": top}, **frame, "stroke": {"value": look.FRAME}}},
        # A grid is as high as the nearest signal of that name says: the panel, not the chart.
        "signals": [{"name": "height", "value": panel.height}],
        "scales": [_value_scale(panel)],
        "axes": [*_axes(panel), *([axis] if axis else [])],
        "marks": [
            {"type": "group", "clip": True, "encode": {"update": dict(frame)}, "marks": drawn},
            *name_marks(panel.title, panel.series, panel.format),
        ],
    }


def name_marks(title: str, series: tuple[Series, ...], number_format: str, first_line: int = 0) -> list[Spec]:
    """The panel's name and, below it, each series' name and its figure at the cursor, else at the newest candle."""
    marks = [label_mark(title, first_line, look.INK, bold=True)]
    named = [each for each in series if each.label]
    for number, each in enumerate(named, start=first_line + 1):
        marks += [
            label_mark(each.label, number, each.colour),
            figure_mark(each.column, number_format, number, each.colour),
        ]
    if not named:
        # On a line of its own: beside a long name it would have no room in every font.
        marks.append(figure_mark(series[0].column, number_format, first_line + 1, series[0].colour))
    return marks


def label_mark(text: str, line: int, colour: str, *, bold: bool = False) -> Spec:
    """Words in the gutter beside the panel, on its `line`."""
    place: dict[str, Any] = {
        "x": {"value": _NAME_X},
        "y": {"value": line * _LINE_HEIGHT},
        "baseline": {"value": "top"},
        "fill": {"value": colour},
        "text": {"value": text},
    }
    if bold:
        place["fontWeight"] = {"value": "bold"}
    return {"type": "text", "interactive": False, "encode": {"update": place}}


def figure_mark(column: str, number_format: str, line: int, colour: str) -> Spec:
    """The column's figure at the cursor, right beside the panel; a dash where it is undefined."""
    text = f"isValid(datum.{column}) ? format(datum.{column}, '{number_format}') : '–'"
    return {
        "type": "text",
        "from": {"data": "shown"},
        "interactive": False,
        "encode": {
            "update": {
                "x": {"value": _VALUE_X},
                "y": {"value": line * _LINE_HEIGHT},
                "align": {"value": "right"},
                "baseline": {"value": "top"},
                "fill": {"value": colour},
                "text": {"signal": text},
            }
        },
    }


def price_marks() -> list[Spec]:
    """Candles, then what was found on them."""
    return [*_candle_marks(), *_pattern_marks(), *divergence_marks("price", "m"), _pivot_marks()]


def divergence_marks(value: str, time: str, indicator: str | None = None) -> list[Spec]:
    """Lines between the two turning points, with a diamond where the divergence became known.

    Args:
        value: `price` or `value`: the fields value1 and value2 of a row are the line's ends.
        time: `m` for the pivots, `turn` for the indicator's own turns beside them.
        indicator: only those of this one.
    """
    source: Spec = {"data": "divergences"}
    if indicator is not None:
        source = {"data": f"divergences_{indicator}"}
    about = {
        "stroke": {"scale": "side", "field": "side"},
        "tooltip": {"signal": "datum.tip"},
    }
    line = {
        "x": {"scale": "x", "field": f"{time}1"},
        "x2": {"scale": "x", "field": f"{time}2"},
        "y": {"scale": "y", "field": f"{value}1"},
        "y2": {"scale": "y", "field": f"{value}2"},
        "strokeWidth": {"value": 1.9},
        "strokeDash": {"signal": "datum.kind === 'hidden' ? [5, 4] : [1, 0]"},
        **about,
    }
    return [
        {"type": "rule", "from": source, "encode": {"update": line}},
        *(_end_mark(source, f"{time}{end}", f"{value}{end}", about) for end in (1, 2)),
        *_known_marks(source, f"{time}2", f"{value}2", about),
    ]


def _end_mark(source: Spec, time: str, value: str, about: Spec) -> Spec:
    place = {"x": {"scale": "x", "field": time}, "y": {"scale": "y", "field": value}}
    filled = {"fill": {"scale": "side", "field": "side"}, "size": {"value": _END_SIZE}}
    return {"type": "symbol", "from": source, "encode": {"update": {**place, **filled, **about}}}


def _known_marks(source: Spec, time: str, value: str, about: Spec) -> list[Spec]:
    """A dotted way from the last point to an open diamond at the candle with which it became known."""
    y = {"scale": "y", "field": value}
    known = {"scale": "x", "field": "known"}
    way = {"x": {"scale": "x", "field": time}, "x2": known, "y": y, "strokeWidth": {"value": 1}, **about}
    diamond = {"x": known, "y": y, "shape": {"value": "diamond"}, "size": {"value": _KNOWN_SIZE}}
    return [
        {"type": "rule", "from": source, "encode": {"update": {**way, "strokeDash": {"value": [1, 2]}}}},
        {"type": "symbol", "from": source, "encode": {"update": {**diamond, "fill": {"value": look.PAPER}, **about}}},
    ]


def _candle_marks() -> list[Spec]:
    colour = {"signal": f"datum.close >= datum.open ? '{look.RISING}' : '{look.FALLING}'"}
    wick = {"x": X, "y": {"scale": "y", "field": "low"}, "y2": {"scale": "y", "field": "high"}, "stroke": colour}
    body = {
        "xc": X,
        "width": {"signal": "body_px"},
        "y": {"scale": "y", "field": "open"},
        "y2": {"scale": "y", "field": "close"},
        "fill": colour,
        # A body without height would not be drawn at all: its outline keeps it a dash.
        "stroke": colour,
        "strokeWidth": {"value": 0.8},
    }
    visible = {"data": "visible"}
    return [
        {"type": "rule", "name": "wicks", "from": visible, "interactive": False, "encode": {"update": wick}},
        {"type": "rect", "name": "bodies", "from": visible, "interactive": False, "encode": {"update": body}},
    ]


def _pattern_marks() -> list[Spec]:
    widths = "datum.form === 'outline' ? 3.5 : datum.form === 'trend' ? 1.5 : 1.2"
    opacities = "(datum.form === 'outline' ? 0.42 : 0.95) * (datum.status === 'confirmed' ? 1 : 0.6)"
    line = {
        "x": X,
        "y": {"scale": "y", "field": "price"},
        "stroke": {"value": look.PATTERN},
        "strokeWidth": {"signal": widths},
        "strokeOpacity": {"signal": opacities},
        "strokeDash": {"signal": "datum.form === 'level' ? [2, 3] : [1, 0]"},
        "strokeJoin": {"value": "round"},
        "tooltip": {"signal": "datum.tip"},
    }
    point = {
        "x": X,
        "y": {"scale": "y", "field": "price"},
        "size": {"value": _POINT_SIZE},
        "fill": {"value": look.PAPER},
        "stroke": {"value": look.PATTERN},
        "strokeWidth": {"value": 1.4},
        "tooltip": {"signal": "datum.tip"},
    }
    known = {**point, "x": {"scale": "x", "field": "known"}, "y": {"scale": "y", "field": "level"},
             "shape": {"value": "diamond"}, "size": {"value": 1.6 * _KNOWN_SIZE}}  # fmt: skip
    return [
        {
            "type": "group",
            "from": {"facet": {"name": "one_line", "data": "pattern_lines", "groupby": "line"}},
            "marks": [{"type": "line", "sort": _IN_TIME, "from": {"data": "one_line"}, "encode": {"update": line}}],
        },
        {"type": "symbol", "from": {"data": "pattern_points"}, "encode": {"update": point}},
        {"type": "symbol", "from": {"data": "patterns"}, "encode": {"update": known}},
        _pattern_labels(),
    ]


def _pattern_labels() -> Spec:
    half = f"{look.LETTER_PX / 2} * length(datum.label)"
    room, inside = "xdom[1] - xdom[0] <= datum.span_ms", "datum.m >= xdom[0] && datum.m <= xdom[1]"
    place = {
        "x": {"signal": f"clamp(scale('x', datum.m), {half}, width - {half})"},
        "y": {"scale": "y", "field": "price"},
        "dy": {"signal": f"(datum.above ? -1 : 1) * ({OFFSET_PX} + {LABEL_PX} * datum.row)"},
        "align": {"value": "center"},
        "baseline": {"signal": "datum.above ? 'bottom' : 'top'"},
        "fill": {"value": look.PATTERN},
        "fontWeight": {"value": "bold"},
        "text": {"signal": f"{room} && {inside} ? datum.label : ''"},
        "tooltip": {"signal": "datum.tip"},
    }
    return {"type": "text", "name": "pattern_labels", "from": {"data": "patterns"}, "encode": {"update": place}}


def _pivot_marks() -> Spec:
    side = "datum.side === 'high'"
    mark = {
        "x": X,
        "y": {"scale": "y", "field": "price", "offset": {"signal": f"({side} ? -1 : 1) * {_PIVOT_OFFSET_PX}"}},
        "shape": {"signal": f"{side} ? 'triangle-down' : 'triangle-up'"},
        "size": {"value": _PIVOT_SIZE},
        "fill": {"value": look.FAINT},
        "tooltip": {"signal": "datum.tip"},
    }  # fmt: skip
    return {"type": "symbol", "name": "pivot_marks", "from": {"data": "pivots"}, "encode": {"update": mark}}


def _runs(panel: Panel) -> Spec:
    """The panel's series, one group per unbroken run of candles: a line never crosses a gap."""
    marks = [mark for series in panel.series for mark in _series_marks(series)]
    if panel.name == "price":
        marks.insert(0, _band())
    return {
        "type": "group",
        "from": {"facet": {"name": "one_run", "data": "visible", "groupby": "run"}},
        "marks": marks,
    }


def _band() -> Spec:
    area = {
        "x": X,
        "y": {"scale": "y", "field": "bb_upper"},
        "y2": {"scale": "y", "field": "bb_lower"},
        "defined": {"signal": "isValid(datum.bb_upper)"},
        "fill": {"value": look.BAND},
        "fillOpacity": {"value": 0.08},
    }
    return {
        "type": "area",
        "sort": _IN_TIME,
        "interactive": False,
        "from": {"data": "one_run"},
        "encode": {"update": area},
    }


def _series_marks(series: Series) -> list[Spec]:
    if series.form in ("bars", "momentum"):
        return [_bars(series)]
    line: Spec = {
        "x": X,
        "y": {"scale": "y", "field": series.column},
        "defined": {"signal": f"isValid(datum.{series.column})"},
        "stroke": {"value": series.colour},
        "strokeWidth": {"value": _LINE_WIDTH[series.form]},
        "strokeOpacity": {"value": 0.7 if series.form == "faint" else 1},
    }
    if series.form in _DASHES:
        line["strokeDash"] = {"value": _DASHES[series.form]}
    source = {"data": "one_run"}
    return [{"type": "line", "sort": _IN_TIME, "interactive": False, "from": source, "encode": {"update": line}}]


def _bars(series: Series) -> Spec:
    rising = f"datum.{series.column}_up" if series.form == "momentum" else "datum.close >= datum.open"
    bar = {
        "xc": X,
        "width": {"signal": "body_px"},
        "y": {"scale": "y", "signal": f"isValid(datum.{series.column}) ? datum.{series.column} : 0"},
        "y2": {"scale": "y", "value": 0},
        "fill": {"signal": f"{rising} ? '{look.RISING}' : '{look.FALLING}'"},
        "fillOpacity": {"value": _HISTOGRAM},
    }
    return {"type": "rect", "interactive": False, "from": {"data": "one_run"}, "encode": {"update": bar}}


def _levels(panel: Panel) -> list[Spec]:
    return [
        {
            "type": "rule",
            "interactive": False,
            "encode": {
                "update": {
                    "x2": {"signal": "width"},
                    "y": {"scale": "y", "value": level},
                    "stroke": {"value": look.FAINT},
                    "strokeWidth": {"value": 0.8},
                    "strokeDash": {"value": [3, 3]},
                }
            },
        }
        for level in panel.levels
    ]


def _gap_marks(height: int) -> Spec:
    place = {
        "x": {"scale": "x", "field": "from"},
        "x2": {"scale": "x", "field": "to"},
        "height": {"value": height},
        "fill": {"value": look.GAP_FILL},
        "tooltip": {"signal": "datum.tip"},
    }
    return {"type": "rect", "from": {"data": "gaps"}, "encode": {"update": place}}


def _cursor(height: int) -> Spec:
    place = {
        "x": X,
        "y2": {"value": height},
        "stroke": {"value": look.INK},
        "strokeOpacity": {"signal": "at === null ? 0 : 0.35"},
    }
    return {"type": "rule", "interactive": False, "from": {"data": "shown"}, "encode": {"update": place}}


def _value_scale(panel: Panel) -> Spec:
    fixed = bool(panel.domain) and not panel.within
    return {
        "name": "y",
        "type": "linear",
        "domain": value_domain(panel, "visible"),
        "range": [panel.height, 0],
        "zero": False,
        "padding": 0 if fixed else (PRICE_PADDING if panel.name == "price" else 3),
    }


def _axes(panel: Panel) -> list[Spec]:
    grid = {"scale": "x", "orient": "bottom", "grid": True, "labels": False, "ticks": False, "domain": False}
    ticks = max(2, panel.height // _TICKS_EVERY_PX)
    values: Spec = {"scale": "y", "orient": "right", "grid": True, "tickCount": ticks, "domain": False}
    if panel.levels and panel.domain and not panel.within:
        values["values"] = list(panel.levels)
    if panel.format.endswith(("s", "e")):
        values["format"] = panel.format
    return [grid, values]
