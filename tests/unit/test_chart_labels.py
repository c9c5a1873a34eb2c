"""Labels of patterns: none over another, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from chart_examples import a_pattern, a_reading, gapped
from market_examples import MINUTE_MS, walk

from aaos.adapters.charts.description import describe
from aaos.adapters.charts.labels import LABEL_PX
from aaos.adapters.charts.look import LETTER_PX
from aaos.adapters.charts.panels import PRICE_HEIGHT
from aaos.adapters.charts.reading import Reading, read_candles
from aaos.adapters.charts.rows import rows_of
from aaos.domain.signals import SignalParams


def test_labels_that_would_lie_over_each_other_get_rows_of_their_own() -> None:
    c = gapped()
    near = (a_pattern(c),) * 3
    rows = rows_of(replace(a_reading(c), patterns=near)).patterns
    assert sorted(row["row"] for row in rows) == [0, 1, 2]
    assert {row["span_ms"] for row in rows} == {(119 + 30 + 1) * MINUTE_MS}  # shown while everything is in view


def test_labels_without_room_wait_until_one_zooms_in_and_confirmed_patterns_come_first() -> None:
    c = gapped()
    forming = tuple(a_pattern(c, (95 + i, 105 + i, 115 + i), "forming") for i in range(0, 60, 4))
    rows = rows_of(replace(a_reading(c), patterns=(*forming, a_pattern(c, (120, 130, 140))))).patterns
    spans = [row["span_ms"] for row in rows]
    assert spans[-1] == max(spans)
    assert len(set(spans)) > 1
    assert {row["row"] for row in rows} <= set(range(5))


@pytest.fixture(scope="module")
def dense() -> Reading:
    """So many patterns that not all labels have room."""
    return read_candles(walk(4_000, seed=2), SignalParams(), 3_900)


@pytest.mark.parametrize("stretch", [(0, 1), (0, 0.5), (0.5, 1), (0.3, 0.6), (0.4, 0.5)])
def test_no_drawn_label_lies_over_another_at_any_zoom(dense: Reading, stretch: tuple[float, float]) -> None:
    import vl_convert

    description = describe(dense)
    (shown,) = [each for each in description["signals"] if each["name"] == "xdom"]
    start, end = shown["value"]
    shown["value"] = [start + share * (end - start) for share in stretch]
    scene = vl_convert.vega_to_scenegraph(description)
    assert isinstance(scene, dict)
    drawn = [(each["text"], each["x"], each["y"] + each["dy"]) for each in labels_in(scene["scenegraph"])]
    assert len(drawn) > 2
    if stretch == (0, 1):
        assert all(0 <= y <= PRICE_HEIGHT for _, _, y in drawn)
    for i, (text, x, y) in enumerate(drawn):
        for other, other_x, other_y in drawn[:i]:
            widths = LETTER_PX * (len(text) + len(other)) / 2
            assert abs(x - other_x) >= widths or abs(y - other_y) >= LABEL_PX - 1, (text, other)


def labels_in(mark: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every pattern's label that a drawn scene shows."""
    for item in mark.get("items", ()):
        if mark.get("name") == "pattern_labels" and item.get("text"):
            yield item
        for child in item.get("items", ()):
            yield from labels_in(child)
