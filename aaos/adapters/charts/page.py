"""The page around the chart: one file that needs nothing else, and that may load nothing else.

Its content security policy forbids every request, and every script but its own two (by their hashes), so that
neither a library nor a name in the data can make the browser fetch or run anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from aaos.adapters.charts.header import titles, verdict
from aaos.adapters.charts.look import Spec
from aaos.adapters.charts.reading import FoundPattern, Reading
from aaos.adapters.charts.rows import rows_of
from aaos.domain.market import iso_utc

_HERE: Final = Path(__file__).parent
_FIGURE: Final = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?")
_HINT: Final = "drag to move, ctrl + wheel to zoom, double click for all; point at a sign to see what it is"
_BUTTONS: Final = (("zoom-in", "zoom in"), ("zoom-out", "zoom out"), ("zoom-all", "all"))

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<div id="controls">{buttons}<span id="switches"></span><span>{hint}</span></div>
<div id="chart" role="img" aria-label="{label}"></div>
{tables}
</main>
<script type="application/json" id="description">{description}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def page_of(reading: Reading, description: Spec, library: str) -> str:
    """The page as HTML.

    Args:
        reading: what the tables below the chart tell.
        description: the chart.
        library: JavaScript that defines `vegaEmbed`.
    """
    title, span = titles(reading, rows_of(reading))
    scripts = [_inline(library), _inline((_HERE / "page.js").read_text(encoding="utf-8"))]
    return _PAGE.format(
        policy=escape(_policy(scripts)),
        title=escape(f"{title}, {span}"),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        buttons="".join(f'<button type="button" id="{each}">{words}</button>' for each, words in _BUTTONS),
        hint=escape(_HINT),
        label=escape(f"{title}, {span}. {'. '.join(verdict(reading))}"),
        tables="\n".join((_contributions(reading), _divergences(reading), _patterns(reading))),
        description=_json(description),
        library=scripts[0],
        script=scripts[1],
    )


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inline(script: str) -> str:
    """The script so that no text in it ends its element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _json(value: Spec) -> str:
    """JSON that holds no markup, whatever the names in it are."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _contributions(reading: Reading) -> str:
    signal = reading.signal
    rows = [
        (each.name, "–" if each.value is None else f"{each.value:.6g}", f"{each.points:+.2f}", each.why)
        for each in signal.contributions
    ]
    total = ("score", "", f"{signal.score:+.2f}", f"{signal.direction}, confidence {signal.confidence_pct:.1f} %")
    return _table("Contributions to the score", ("contribution", "value", "points", "why"), rows, total)


def _divergences(reading: Reading) -> str:
    rows = [
        (f"{each.kind} {each.side}", each.indicator.upper(), f"{each.strength:.2f}", iso_utc(each.first_ms),
         iso_utc(each.second_ms), iso_utc(each.known_at_ms))
        for each in reversed(reading.divergences)
    ]  # fmt: skip
    headings = ("divergence", "indicator", "strength", "first turn", "second turn", "known at the close of")
    return _table("Divergences, the newest first", headings, rows)


def _patterns(reading: Reading) -> str:
    newest_ms = int(reading.candles.open_time_ms[-1])
    rows = [
        (each.pattern.name.replace("_", " "), each.pattern.side, f"{each.pattern.quality:.2f}",
         iso_utc(each.pattern.points[0].time_ms), iso_utc(each.pattern.points[-1].time_ms),
         iso_utc(each.first_known_ms), _confirmed(each, newest_ms))
        for each in reversed(reading.patterns)
    ]  # fmt: skip
    headings = ("pattern", "side", "quality", "from", "to", "known at the close of", "confirmed at the close of")
    return _table("Patterns, the newest first", headings, rows)


def _confirmed(each: FoundPattern, newest_ms: int) -> str:
    if each.confirmed_ms is not None:
        return iso_utc(each.confirmed_ms)
    return "not yet" if each.last_told_ms >= newest_ms else "never"


def _table(
    heading: str, headings: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None
) -> str:
    if not rows:
        return f"<section><h2>{escape(heading)}</h2><p>None in these candles.</p></section>"
    foot = "" if total is None else f"<tfoot>{_row(total, 'td')}</tfoot>"
    body = "".join(_row(row, "td") for row in rows)
    head = _row(headings, "th")
    return (
        f"<section><h2>{escape(heading)}</h2><table><thead>{head}</thead><tbody>{body}</tbody>{foot}</table></section>"
    )


def _row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}{_class(cell)}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _class(cell: str) -> str:
    """Figures to the right, sides in their colour."""
    side = next((side for side in ("bullish", "bearish") if cell.endswith(side)), None)
    if side is not None:
        return f' class="{side}"'
    return ' class="figure"' if _FIGURE.fullmatch(cell) else ""
