"""The description and the page around it: whole, self-contained, and deaf to hostile names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chart_examples import HOSTILE, a_reading, gapped
from typer.testing import CliRunner

from aaos.adapters.charts.description import describe
from aaos.adapters.charts.page import page_of
from aaos.adapters.charts.panels import columns_of, lower_panels
from aaos.adapters.charts.reading import Reading
from aaos.adapters.charts.render import check_output, image_size, write_chart
from aaos.errors import InputError

LIBRARY = "window.vegaEmbed = () => '</script><b>';"


class Page(HTMLParser):
    """Elements, their attributes, and the text of scripts and of everything else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "script":
            self.scripts.append(data)
        elif not self._inside or self._inside[-1] != "style":
            self.text += data


def a_page(reading: Reading | None = None) -> Page:
    shown = a_reading() if reading is None else reading
    return Page(page_of(shown, describe(shown), LIBRARY))


def data(description: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (found,) = [each for each in description["data"] if each["name"] == name]
    return found["values"]  # type: ignore[no-any-return]


def marks_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for mark in spec.get("marks", ()):
        yield mark
        yield from marks_of(mark)


@pytest.mark.requirement("ENG-2")
def test_the_description_holds_every_candle_and_everything_that_was_found() -> None:
    reading = a_reading(drawn=120)
    description = describe(reading)
    assert len(data(description, "candles")) == 120
    assert len(data(description, "divergences")) == len(reading.divergences)
    assert len(data(description, "patterns")) == len(reading.patterns)
    assert len(data(description, "pivots")) == sum(each.index >= reading.first for each in reading.pivots)
    assert len(data(description, "gaps")) == 1


def test_every_indicator_has_its_panel_and_no_line_is_drawn_where_there_is_no_figure() -> None:
    reading = a_reading()
    description = describe(reading)
    drawn = {
        mark["encode"]["update"]["y"].get("field"): mark["encode"]["update"].get("defined")
        for mark in marks_of(description)
        if mark["type"] == "line"
    }
    wanted = set(columns_of(lower_panels(reading.params, ",.2f"))) - {"volume", "ao", "macd_hist"}
    assert wanted < set(drawn)
    for column in wanted:
        assert drawn[column] == {"signal": f"isValid(datum.{column})"}


def test_each_line_stays_within_an_unbroken_run_of_candles() -> None:
    for group in marks_of(describe(a_reading())):
        for mark in group.get("marks", ()):
            if mark["type"] in ("line", "area") and mark["from"]["data"] == "one_run":
                assert group["from"]["facet"]["groupby"] == "run"
                assert mark["sort"] == {"field": "x"}


def test_divergences_are_drawn_on_the_price_and_in_their_indicators_panel() -> None:
    sources = [
        mark["from"]["data"]
        for mark in marks_of(describe(a_reading()))
        if mark["type"] == "rule" and str(mark.get("from", {}).get("data", "")).startswith("divergences")
    ]
    assert set(sources) == {"divergences", "divergences_rsi", "divergences_macd", "divergences_ao", "divergences_obv"}


def test_the_header_says_what_when_and_how_it_was_read() -> None:
    reading = a_reading()
    said = describe(reading)["description"]
    assert said.startswith(
        "BTC/USDT  1m. 2022-01-01 01:20 to 2022-01-01 03:50 UTC  ·  120 candles, 30 missing in 1 gap"
    )
    assert f"confidence {reading.signal.confidence_pct:.1f} %" in said


def test_the_page_tells_every_contribution_and_their_sum() -> None:
    reading = a_reading()
    text = a_page(reading).text
    for each in reading.signal.contributions:
        assert each.name in text
        assert each.why in text
    assert f"{reading.signal.score:+.2f}" in text


def test_the_page_refers_to_nothing_that_a_browser_would_fetch() -> None:
    page = a_page()
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    style = (Path(sys.modules[page_of.__module__].__file__ or "").parent / "page.css").read_text()
    assert not re.search(r"url\(|@import", style)
    assert "http" not in json.dumps(describe(a_reading()))


def test_the_page_forbids_requests_and_all_scripts_but_its_own() -> None:
    page = a_page()
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    _, *own = page.scripts
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in own]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(hashes) == 2


def test_names_cannot_break_out_of_the_page() -> None:
    reading = a_reading(gapped(symbol=HOSTILE))
    contribution = replace(reading.signal.contributions[0], name=HOSTILE, why=HOSTILE)
    hostile = replace(reading, signal=replace(reading.signal, contributions=(contribution,)))
    page = a_page(hostile)
    harmless = a_page()
    assert [tag for tag, _ in page.elements if tag in ("script", "img")] == ["script"] * 3
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements}
    assert HOSTILE in page.text
    assert not set("<>&") & set(page.scripts[0])
    assert json.loads(page.scripts[0])["description"].startswith(HOSTILE)


def test_the_description_runs_no_expression_made_of_names() -> None:
    hostile = "'+alert(1)+'"
    description = describe(a_reading(gapped(symbol=hostile)))
    expressions = [
        value for mark in marks_of(description) for value in mark.get("encode", {}).get("update", {}).values()
        if isinstance(value, dict) and hostile in str(value.get("signal", ""))
    ]  # fmt: skip
    assert expressions == []
    assert hostile not in json.dumps(description["signals"])


@pytest.mark.parametrize("name", ["chart.svg", "chart", "chart.html.gz", ".png"])
def test_another_suffix_is_refused_naming_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a chart is written as \.html or \.png"):
        check_output(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "said"), [("none/chart.png", "there is no directory"), ("dir.html", "is a directory")]
)
def test_a_place_where_nothing_can_be_written_is_refused_at_once(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "dir.html").mkdir()
    with pytest.raises(InputError, match=said):
        write_chart(a_reading(), tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["dir.html"]


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to("real.html")
    written = write_chart(a_reading(), tmp_path / "link.html")
    assert written == tmp_path / "real.html"
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text().startswith("<!doctype html>")


def test_a_chart_may_be_read_by_those_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        written = write_chart(a_reading(), tmp_path / "chart.html")
    finally:
        os.umask(before)
    assert written.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("leads_to", "said"), [("self.html", "lead back to themselves; remove them"), ("none/x.html", "the link leads to")]
)
def test_a_link_that_leads_nowhere_is_refused_by_what_it_is(leads_to: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "self.html").symlink_to(leads_to)
    with pytest.raises(InputError, match=said):
        check_output(tmp_path / "self.html")


def test_the_image_is_as_large_as_its_description_says() -> None:
    width, height = image_size(describe(a_reading()))
    assert (width, 2000 < height < 3000) == (2 * (1160 + 150 + 74), True)


def test_the_options_are_told_in_the_help() -> None:
    import typer

    from aaos.cli import chart

    app = typer.Typer()
    chart.add_to(app)
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for option in ("--output", "--candles", "--file", "--timeframe", "--until"):
        assert option in said
