"""The veto ledger on real servers: refusals on the simulated market, scored, and computed again by other code."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from support.person import Person, keyboard
from support.trading_story import a_veto, complete
from support.worlds import PostgresWorld

from aaos import bootstrap
from aaos.domain.market import Candles
from aaos.domain.runs import Completed

MINUTE_MS = 60_000
HORIZON = 240
# Starts of refused trades, in minutes before the newest closed candle: the last two are not over yet.
BACK = (900, 777, 650, 512, 400, 300, 241, 120, 5)


@pytest.fixture
def world(alone: Person) -> Iterator[PostgresWorld]:
    opened = PostgresWorld(alone.environment["AAOS_DATABASE_URL"])
    yield opened
    opened.close()


def test_refusals_are_scored_on_the_market_in_use_and_the_figures_are_those_of_its_candles(
    alone: Person, world: PostgresWorld
) -> None:
    expected: dict[str, str] = {}
    with keyboard(alone.environment):
        container = bootstrap.container()
        now = container.database.now()
        candles = container.market.candles_until("BTC/USDT", now, 2**53, 1_000)
        for number, back in enumerate(BACK):
            side = "buy" if number % 2 else "sell"
            _refuse(world, candles, len(candles) - 1 - back, number, side)
            if back >= HORIZON:
                path = slice(len(candles) - back, len(candles) - back + HORIZON)
                expected[f"decision:{number}"] = _by_hand(candles, path, side)
        world.session.execute("SET session_replication_role = replica")
        world.session.execute("UPDATE vetoes SET vetoed_at = vetoed_at - interval '1 minute'")
        world.session.execute("SET session_replication_role = origin")
        done = container.score_vetoes()
        assert (done.read, done.ended, done.finished) == (len(BACK), len(expected), True)
        assert container.score_vetoes().ended == 0
    listed = alone.json("vetoes")
    found = {
        each["refusal"]["source"]: f"{each['outcome']['exit_by']} {Decimal(each['outcome']['return_pct']):.4f}"
        for each in listed
        if each["outcome"] is not None
    }
    assert found == expected
    assert sum(each["state"] == "waiting" for each in listed) == len(BACK) - len(expected)
    (whole, *_) = alone.json("vetoes", "--by", "code")["rows"]
    assert whole["figures"]["scored"] == len(expected)


def test_a_market_switched_meanwhile_leaves_its_refusals_without_an_outcome_and_says_so(
    alone: Person, world: PostgresWorld
) -> None:
    with keyboard(alone.environment):
        container = bootstrap.container()
        candles = container.market.candles_until("BTC/USDT", container.database.now(), 2**53, 500)
        _refuse(world, candles, len(candles) - 1 - 300, 1, "buy")
    world.session.execute("SET session_replication_role = replica")
    world.session.execute("UPDATE vetoes SET vetoed_at = vetoed_at - interval '1 minute'")
    world.session.execute("SET session_replication_role = origin")
    with keyboard(alone.environment | {"AAOS_MARKET__SEED": "2"}):
        bootstrap.container().score_vetoes()
    (veto,) = alone.json("vetoes")
    assert veto["state"] == "unscorable"
    assert veto["why"].startswith("the market was switched")
    assert "1 vetoes can never be scored: the market was switched" in alone.types("vetoes", "--by", "code").stdout


def _refuse(world: PostgresWorld, candles: Candles, at: int, number: int, side: str) -> None:
    """Stores a veto of the moment at which the candle at that index had closed; risk sets its stop and profit."""
    close = Decimal(str(float(candles.close[at])))
    veto = a_veto(
        f"decision:{number}", side=side, market_ms=int(candles.open_time_ms[at]) + MINUTE_MS, price=close,
        leverage=None, quantity=None, stop_price=None, take_profit_price=None,
    )  # fmt: skip
    complete(world, "risk_assessment", f"risk:decision:{number}", Completed({"approved": False}, veto=veto))


def _by_hand(candles: Candles, path: slice, side: str) -> str:
    """What became of it, candle by candle: stop 2 %, profit 4 % away (10 % and 20 % of margin at five times)."""
    entry = float(candles.close[path.start - 1])
    sign = 1 if side == "buy" else -1
    stop, profit = entry * (1 - 0.02 * sign), entry * (1 + 0.04 * sign)
    out, how = float(candles.close[path.stop - 1]), "horizon"
    for at in range(path.start, path.stop):
        low, high, opened = float(candles.low[at]), float(candles.high[at]), float(candles.open[at])
        adverse, favourable = (low, high) if side == "buy" else (high, low)
        if (adverse - stop) * sign <= 0:
            out, how = (min(stop, opened) if side == "buy" else max(stop, opened)), "stop"
            break
        if (favourable - profit) * sign >= 0:
            out, how = profit, "take_profit"
            break
    return f"{how} {(sign * (out / entry - 1) - 0.0006 * (1 + out / entry)) * 100:.4f}"
