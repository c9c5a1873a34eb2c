"""The report's pictures: price over phase bands, events as marks, regime and volume trend as strips below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vl_convert

from aaos.domain.regime import WyckoffEvent
from bench.validation.history import LABELS, History, episodes

WIDTH = 1500
SCALE = 1.0
# Demand's phases are green and blue, supply's orange and red; unknown stays white. Distinct in grey, too.
COLOURS = {
    "phase": ("#8fd19e", "#4a90d9", "#f5b56b", "#d9534f", "#ffffff"),
    "regime": ("#4a90d9", "#d9534f", "#d8d8d8", "#9b59b6"),
    "volume trend": ("#444444", "#c8c8c8", "#f2f2f2"),
}
SHORT = {
    "selling_climax": "SC",
    "automatic_rally": "AR",
    "buying_climax": "BC",
    "automatic_reaction": "AR",
    "secondary_test": "ST",
    "spring": "Spring",
    "upthrust": "UT",
    "sign_of_strength": "SOS",
    "sign_of_weakness": "SOW",
}


def draw(history: History, path: Path, title: str, part: slice, every: int, events: list[WyckoffEvent]) -> None:
    """Writes the chart of those outputs; one price point per `every` candles, and the given events."""
    start, end, _ = part.indices(len(history.outputs))
    times, close = history.time_ms[start:end], history.close[start:end]
    low, high = float(close.min()), float(close.max())
    prices = [{"t": int(t), "price": float(p)} for t, p in zip(times[::every], close[::every], strict=True)]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": title, "anchor": "start", "fontSize": 17},
        "config": {"font": "DejaVu Sans", "axis": {"labelFontSize": 12, "titleFontSize": 13, "gridOpacity": 0.4},
                   "legend": {"labelFontSize": 13, "titleFontSize": 13, "orient": "right"}},
        "spacing": 8,
        "resolve": {"scale": {"color": "independent"}},
        "vconcat": [
            _price_panel(history, start, end, prices, (low, high), events),
            _strip(history, "regime", start, end),
            _strip(history, "volume trend", start, end),
        ],
    }  # fmt: skip
    path.write_bytes(vl_convert.vegalite_to_png(spec, scale=SCALE, allowed_base_urls=[]))


def _price_panel(
    history: History,
    start: int,
    end: int,
    prices: list[dict[str, Any]],
    span: tuple[float, float],
    events: list[WyckoffEvent],
) -> dict[str, Any]:
    margin = 1.06 if events else 1.02
    domain = [span[0] / margin, span[1] * margin]
    scale = {"type": "log", "domain": domain, "nice": False}
    axis = {"format": "~s", "tickCount": 8}
    y = {"field": "price", "type": "quantitative", "title": "price (USD, log)", "scale": scale, "axis": axis}
    x = _x(history, start, end, labels=False)
    span_ms = int(history.time_ms[end - 1] - history.time_ms[start])
    shown = [_mark(event, domain, span_ms) for event in sorted(events, key=lambda event: event.time_ms)]
    layers = [
        _bands(history, "phase", start, end, opacity=0.75),
        {"data": {"values": prices}, "mark": {"type": "line", "color": "#111", "strokeWidth": 1.1},
         "encoding": {"x": x, "y": y}},
        *(_marks(shown, side, x, y) for side in ("demand", "supply")),
        *(_names(shown, side, x, y) for side in ("demand", "supply")),
    ]  # fmt: skip
    return {"width": WIDTH, "height": 460, "layer": layers}


def _named(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events whose name finds room: not within a fortieth of the width after another one's."""
    if not events:
        return []
    room = max(event["span"] for event in events) / 40
    kept: list[dict[str, Any]] = []
    for event in events:
        if not kept or event["t"] - kept[-1]["t"] >= room:
            kept.append(event)
    return kept


def _mark(event: WyckoffEvent, domain: list[float], span_ms: int) -> dict[str, Any]:
    """Prices beyond the closes' span, as flash lows are, are marked at its edge and starred."""
    price = min(max(event.price, domain[0] * 1.03), domain[1] / 1.03)
    name = SHORT[event.name] + ("*" if price != event.price else "")
    return {"t": event.time_ms, "price": price, "name": name, "side": event.side, "span": span_ms}


def _marks(events: list[dict[str, Any]], side: str, x: Any, y: Any) -> dict[str, Any]:
    shape, colour = ("triangle-up", "#0b6623") if side == "demand" else ("triangle-down", "#8b0000")
    return {
        "data": {"values": [event for event in events if event["side"] == side]},
        "mark": {"type": "point", "shape": shape, "filled": True, "size": 70, "color": colour, "opacity": 1},
        "encoding": {"x": x, "y": y},
    }


def _names(events: list[dict[str, Any]], side: str, x: Any, y: Any) -> dict[str, Any]:
    below = side == "demand"
    return {
        "data": {"values": _named([event for event in events if event["side"] == side])},
        "mark": {"type": "text", "dy": 13 if below else -12, "fontSize": 11, "fontWeight": "bold",
                 "color": "#0b6623" if below else "#8b0000"},
        "encoding": {"x": x, "y": y, "text": {"field": "name"}},
    }  # fmt: skip


def _strip(history: History, kind: str, start: int, end: int) -> dict[str, Any]:
    return {"width": WIDTH, "height": 34, "layer": [_bands(history, kind, start, end, opacity=1.0)]}


def _bands(history: History, kind: str, start: int, end: int, opacity: float) -> dict[str, Any]:
    times = history.time_ms
    values = [
        {"from": int(times[start + run.start]), "to": int(times[min(start + run.end, end - 1)]), "label": run.label}
        for run in episodes(history.labels(kind)[start:end])
    ]
    x = _x(history, start, end, labels=kind == "volume trend")
    return {
        "data": {"values": values},
        "mark": {"type": "rect", "opacity": opacity},
        "encoding": {
            "x": {**x, "field": "from"},
            "x2": {"field": "to"},
            "color": {"field": "label", "type": "nominal", "title": kind,
                      "scale": {"domain": list(LABELS[kind]), "range": list(COLOURS[kind])},
                      "legend": {"symbolStrokeColor": "#888", "symbolStrokeWidth": 1, "symbolType": "square"}},
        },
    }  # fmt: skip


def _x(history: History, start: int, end: int, labels: bool) -> dict[str, Any]:
    times = history.time_ms
    weeks = (times[end - 1] - times[start]) / (7 * 86_400_000)
    form = "%b %Y" if weeks > 40 else "%d %b %Y"
    return {
        "field": "t", "type": "temporal", "title": None,
        "scale": {"domain": [int(times[start]), int(times[end - 1])], "type": "utc", "nice": False},
        "axis": {"labels": labels, "format": form, "tickCount": 14, "labelFlush": False},
    }  # fmt: skip
