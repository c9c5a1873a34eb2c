"""Charts as files: drawn for real, from candle files without any server and from the market of a stack."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.person import NO_STATE, Person, keyboard, run

from aaos.cli.app import main
from aaos.domain.market import COLUMNS

FIRST_MS = 1_640_995_200_000
MINUTE_MS = 60_000
GAP_AFTER, MISSING = 250, 45


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 candles in a file, with an outage after candle 250."""
    n = 400
    rng = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(2e-3 * rng.normal(size=n)))
    opened = np.concatenate((close[:1], close[:-1]))
    times = FIRST_MS + MINUTE_MS * (np.arange(n) + MISSING * (np.arange(n) > GAP_AFTER))
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    rows = zip(times, opened, high, low, close, rng.uniform(1, 9, n), strict=True)
    path = tmp_path_factory.mktemp("candles") / "BTC-USD_1m_made.csv"
    path.write_text("\n".join((",".join(COLUMNS), *(",".join(map(str, row)) for row in rows))) + "\n")
    return path


def types(*words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command typed where no stack is."""
    with keyboard({}) as (shown, told):
        status = main(words)
    return status, shown.getvalue().strip(), told.getvalue().strip()


def description_in(page: str) -> dict[str, Any]:
    """The description that a page draws."""
    (text,) = re.findall(r'<script type="application/json" id="description">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)  # type: ignore[no-any-return]


def lines_in(mark: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every line that a drawn scene has."""
    if mark.get("marktype") == "line":
        yield mark
    for item in mark.get("items", ()):
        for child in item.get("items", ()):
            yield from lines_in(child)


@pytest.mark.requirement("ENG-2")
def test_a_file_is_charted_to_an_image_without_any_server(candles: Path, tmp_path: Path) -> None:
    from aaos.adapters.charts.description import describe
    from aaos.adapters.charts.reading import read_candles
    from aaos.adapters.charts.render import image_size
    from aaos.adapters.market.candle_files import read_candle_file
    from aaos.domain.signals import SignalParams

    output = tmp_path / "out.PNG"
    status, shown, told = types("chart", "--file", str(candles), "-o", str(output), "--candles", "150")
    assert (status, shown, told) == (0, str(output), "")
    image = output.read_bytes()
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    reading = read_candles(read_candle_file(candles).candles, SignalParams(), 150)
    assert struct.unpack(">II", image[16:24]) == image_size(describe(reading))
    assert [each.name for each in tmp_path.iterdir()] == ["out.PNG"]


@pytest.mark.requirement("ENG-2")
def test_a_page_holds_the_chart_its_library_and_nothing_to_be_fetched(candles: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.html"
    assert types("chart", "BTC/USD:USD", "--file", str(candles), "--output", str(output))[0] == 0
    page = output.read_text()
    drawn = description_in(page)
    (rows,) = [each["values"] for each in drawn["data"] if each["name"] == "candles"]
    assert len(rows) == 240
    assert drawn["description"].startswith("BTC/USD:USD  1m. ")
    assert "vegaEmbed" in page
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"https?:|url\(|@import", outside_scripts)
    assert re.findall(r"<script([^>]*)>", page) == [' type="application/json" id="description"', "", ""]
    assert "default-src &#x27;none&#x27;" in page


def test_the_name_of_the_output_comes_from_the_series(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown, _ = types("chart", "BTC/USD:USD", "--file", str(candles), "--timeframe", "1m")
    assert (status, Path(shown)) == (0, tmp_path / "BTC-USD-USD-1m.html")
    assert Path(shown).is_file()


def test_a_drawn_line_neither_crosses_a_gap_nor_begins_before_its_warm_up(candles: Path) -> None:
    import vl_convert

    from aaos.adapters.charts.description import describe
    from aaos.adapters.charts.look import SLOW, WIDTH
    from aaos.adapters.charts.reading import read_candles
    from aaos.adapters.market.candle_files import read_candle_file
    from aaos.domain.signals import SignalParams

    params = SignalParams()
    scene = vl_convert.vega_to_scenegraph(describe(read_candles(read_candle_file(candles).candles, params, 400)))
    assert isinstance(scene, dict)
    averages = [line["items"] for line in lines_in(scene["scenegraph"]) if line["items"][0].get("stroke") == SLOW]
    per_candle = WIDTH / (400 + MISSING)
    gap = (per_candle * (GAP_AFTER + 1), per_candle * (GAP_AFTER + 1 + MISSING))
    assert averages
    for items in averages:
        xs = [item["x"] for item in items]
        assert xs == sorted(xs)
        assert max(xs) < gap[0] or min(xs) > gap[1], (xs[0], xs[-1], gap)
    # The slow EMA (the first such line, over the candles) exists from its 50th candle on.
    defined = [item.get("defined", True) for item in averages[0]]
    assert defined.index(True) == params.ema_slow - 1
    assert all(defined[params.ema_slow - 1 :])


def test_no_candle_after_the_instant_named_is_looked_at(candles: Path, tmp_path: Path) -> None:
    output = tmp_path / "cut.html"
    words = ("chart", "--file", str(candles), "-o", str(output), "--until", "2022-01-01T03:00")
    assert types(*words)[0] == 0
    (rows,) = [each["values"] for each in description_in(output.read_text())["data"] if each["name"] == "candles"]
    assert rows[-1]["t"] == FIRST_MS + 179 * MINUTE_MS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--file", "CANDLES", "-o", "x.svg"), "a chart is written as .html or .png"),
        (("--file", "CANDLES", "-o", "none/x.png"), "there is no directory"),
        (("--file", "CANDLES", "-o", "n" * 300 + ".html"), "cannot be written"),
        (("--file", "CANDLES", "--until", "2022-01-01T00:20"), "indicators need"),
        (("--file", "CANDLES", "--until", "1970-01-01"), "name 2022-01-01T00:50:00Z or later with --until"),
        (("--file", "CANDLES", "-o", "~nobody-here/x.html"), "write the path from / on"),
        (("--file", "~nobody-here/x.csv"), "write the path from / on"),
        (("BTC/EUR", "--file", "CANDLES"), "holds BTC/USD by its name, not BTC/EUR: leave the symbol out"),
        (("--file", "CANDLES", "--until", "noon"), "'noon' is no time: write it as in"),
        (("--file", "missing.csv"), "missing.csv"),
        (("--file", "CANDLES", "--timeframe", "1h"), "is not a multiple of 1h"),
        (("BTC/USDT", "--timeframe", "1m"), "belong to a file"),
        ((), "name a symbol"),
    ],
)
def test_what_cannot_be_charted_is_said_with_a_remedy_and_leaves_no_file(
    words: tuple[str, ...], said: str, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown, told = types("chart", *(str(candles) if word == "CANDLES" else word for word in words))
    assert (status, shown) == (1, "")
    assert told.startswith("error: ")
    assert said in told
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_series_in_its_name_is_refused_with_what_helps(candles: Path, tmp_path: Path) -> None:
    odd, output = tmp_path / "odd.csv", tmp_path / "x.html"
    odd.write_text(candles.read_text())
    status, _, told = types("chart", "--file", str(odd), "-o", str(output))
    assert status == 1
    assert "write SYM and --timeframe, as in: aaos chart BTC/USDT --timeframe 1m --file" in told
    assert types("chart", "BTC/USD", "--timeframe", "1m", "--file", str(odd), "-o", str(output))[0] == 0


@pytest.mark.requirement("ENG-2")
def test_the_first_drawn_candle_is_read_with_as_many_before_it_as_an_analysis_reads(tmp_path: Path) -> None:
    from aaos.adapters.market.candle_files import read_candle_file
    from aaos.domain.signals import SignalParams, generate_signal

    path, output, drawn, analysed = tmp_path / "BTC-USD_1h_made.csv", tmp_path / "x.html", 520, 500
    hour_ms, n = 3_600_000, drawn + analysed + 100
    close = 100 * np.exp(np.cumsum(5e-3 * np.random.default_rng(8).normal(size=n)))
    rows = [f"{FIRST_MS + i * hour_ms},{x},{x * 1.002},{x * 0.998},{x},{i % 7 + 1}" for i, x in enumerate(close)]
    path.write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
    assert types("chart", "--file", str(path), "-o", str(output), "--candles", str(drawn))[0] == 0
    (shown,) = [each["values"] for each in description_in(output.read_text())["data"] if each["name"] == "candles"]
    read = read_candle_file(path).candles.until(shown[0]["t"] + hour_ms).tail(analysed)
    figures = generate_signal(read, SignalParams()).indicators
    # An average over 50 candles has forgotten all but e^-20 of where it began 500 candles ago, and 14 % after 50.
    for name in ("ema_slow", "rsi", "adx", "atr"):
        assert shown[0][name] == pytest.approx(figures[name], rel=1e-7), name


def test_an_image_fetches_nothing_whatever_its_description_names(tmp_path: Path) -> None:
    from aaos.adapters.charts.render import png_of

    # A process of its own: while it draws, the library lets no other thread of this one run.
    words = (sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        url = f"http://127.0.0.1:{port}/rows.json"
        with suppress(ValueError):
            png_of({"width": 9, "height": 9, "data": [{"name": "rows", "url": url}]})
        server.terminate()
        _, log = server.communicate()
    assert "GET" not in log


def test_a_disk_that_fills_up_leaves_the_old_chart_and_nothing_else(candles: Path, tmp_path: Path) -> None:
    output = tmp_path / "chart.html"
    output.write_text("the old one")
    code = (
        "import resource, signal\n"
        "from aaos.shell.chart import chart\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        f"chart(file={str(candles)!r}, output={str(output)!r})\n"
    )
    ended = run({}, "-c", code)
    assert ended.returncode == 1, ended.stderr
    assert "cannot be written (File too large)" in ended.stderr
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("chart.html", "the old one")]


def test_the_library_is_loaded_by_the_process_that_draws_and_by_no_other() -> None:
    code = (
        "import sys\n"
        "import aaos, aaos.cli.app, aaos.cli.chart, aaos.shell.chart\n"
        "print('numpy' in sys.modules, 'vl_convert' in sys.modules)\n"
        "import aaos.adapters.charts.render\n"
        "print('vl_convert' in sys.modules)\n"
    )
    assert run({}, "-c", code).stdout.split() == ["False", "False", "False"]


@pytest.mark.requirement("ENG-2")
def test_the_market_of_a_stack_is_charted_as_an_analysis_sees_it(alone: Person, tmp_path: Path) -> None:
    output = tmp_path / "now.html"
    assert alone.types("chart", "BTC/USDT", "-o", str(output), "--candles", "100").stdout.strip() == str(output)
    drawn = description_in(output.read_text())
    (rows,) = [each["values"] for each in drawn["data"] if each["name"] == "candles"]
    assert len(rows) == 100
    assert "confidence" in drawn["description"]
    told = alone.types("chart", "DOGE/USDT", "-o", str(output), status=1).stderr
    assert "no symbol 'DOGE/USDT' in this market; it has: BTC/USDT" in told


def test_the_same_function_draws_from_the_python_shell(candles: Path, tmp_path: Path) -> None:
    from aaos.shell.chart import chart

    with keyboard(NO_STATE):
        written = chart("BTC/USD", tmp_path / "shell.png", file=candles, candles=60)
    assert written == tmp_path / "shell.png"
    assert written.read_bytes().startswith(b"\x89PNG")
