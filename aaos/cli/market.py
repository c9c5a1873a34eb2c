"""market use, market show: which candles the pipeline works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aaos.cli.output import Json, note, print_json, show
from aaos.cli.stack import Speed
from aaos.errors import ConfigError
from aaos.shell.connection import connect

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.domain.market import Candles

MS_PER_S = 1000
ALL_CANDLES = 2**31 - 1

market = typer.Typer(help="Which candles the pipeline works on.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(market, name="market")


@market.command()
def use(
    replay: Annotated[
        list[str] | None,
        typer.Option("--replay", metavar="FILE", help="CSV or Parquet, or SYMBOL@TIMEFRAME=FILE; repeatable"),
    ] = None,
    speed: Speed = None,
    as_json: Json = False,
) -> None:
    """Work on these candle files from now on, or on the simulated market without any; all of it or nothing."""
    container = connect()
    chosen_speed = container.settings.speed if speed is None else speed
    _choose(container, replay or [], chosen_speed)
    if chosen_speed != container.settings.speed:
        note(
            f"note: schedules run at AAOS_SPEED={container.settings.speed:g}; "
            f"start workers and beat with AAOS_SPEED={chosen_speed:g} for both to fit"
        )
    _print_series(container, as_json)


@market.command("show")
def show_series(as_json: Json = False) -> None:
    """The series in use and the market time each has reached."""
    _print_series(connect(), as_json)


def _choose(container: Container, files: Sequence[str], speed: float) -> None:
    from aaos.adapters.market.candle_files import load_series
    from aaos.services.use_market import use_replay, use_simulated

    settings, store = container.settings.market, container.market_store
    widest_ms = widest_slot_ms(container, speed)
    if not files and settings.source == "simulated":
        playing = sorted(each.symbol for each in store.active_series() if each.source == "replay")
        now_ms = int(container.database.now().timestamp() * MS_PER_S)
        use_simulated(speed, now_ms, widest_ms, settings, store)
        if playing:
            note(
                f"note: the replay of {', '.join(playing)} has ended, the market is the simulated one now;"
                " name the files with --replay again to go on with it"
            )
        return
    # Files are read and checked before the database is asked for anything: nothing is half done.
    series = load_series(files) if files else _series_in_use(container)
    now_ms = int(container.database.now().timestamp() * MS_PER_S)
    use_replay(series, speed, now_ms, widest_ms, settings, store)


def widest_slot_ms(container: Container, speed: float) -> int:
    """Returns the width of the widest slot that beat ticks at that speed, in wall-clock milliseconds."""
    from aaos.domain.market_clock import slot_width_ms

    return max(slot_width_ms(each.every_s, speed) for each in container.settings.enabled_schedules.values())


def _series_in_use(container: Container) -> list[Candles]:
    """What is being replayed already: a stack that is started again without naming files goes on with it."""
    store = container.market_store
    playing = [each for each in store.active_series() if each.source == "replay"]
    if not playing:
        raise ConfigError("market.source is replay, and no candles are loaded: name files with --replay FILE")
    return [store.candles(each.source, each.symbol, each.timeframe, each.last_open_ms, ALL_CANDLES) for each in playing]


def _print_series(container: Container, as_json: bool) -> None:
    from aaos.shell.tables import table

    found = list(_described(container))
    if as_json:
        print_json(found)
        return
    headers = ("symbol", "timeframe", "source", "first candle", "last candle", "market time", "speed", "content")
    show(table(headers, ([
        each["symbol"], each["timeframe"], each["source"], each["first_open"], each["last_open"],
        each["market_time"], f"{each['speed']:g}", each["content_hash"][:12],
    ] for each in found)))  # fmt: skip


def _described(container: Container) -> Sequence[dict[str, Any]]:
    from aaos.adapters.market.book import MarketBook

    # A book of its own: the container's remembers for a moment what was in use before.
    book = MarketBook(container.market_store, container.settings.market, container.settings.speed)
    stored = {each.symbol: each for each in container.market_store.active_series()}
    now_ms = int(container.database.now().timestamp() * MS_PER_S)
    seed = f"seed:{container.settings.market.seed}"
    described = []
    for each in book.in_use():
        row = stored.get(each.symbol)
        played = row if row is not None and row.last_open_ms else None
        described.append(
            {
                "symbol": each.symbol,
                "timeframe": each.timeframe,
                "source": each.source,
                "first_open": None if played is None else _iso(played.first_open_ms),
                "last_open": None if played is None else _iso(played.last_open_ms),
                "content_hash": seed if row is None else row.content_hash,
                **_clock(book.anchors(each.source, each.symbol), now_ms),
            }
        )
    return described


def _clock(anchors: Sequence[Any], now_ms: int) -> dict[str, Any]:
    from aaos.domain.market_clock import market_time_ms

    passed = [anchor for anchor in anchors if anchor.wall_ms <= now_ms] or list(anchors[:1])
    return {"market_time": _iso(market_time_ms(anchors, now_ms)), "speed": passed[-1].speed}


def _iso(ms: int) -> str:
    from aaos.domain.market import iso_utc

    return iso_utc(ms)
