"""The paper venue in memory and on PostgreSQL: one ledger, one account at a time, each book once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy.engine import make_url
from support.servers import TestDatabases
from support.venues import EMPTY_VENUE, START, SYMBOL, Venue, an_order

from aaos.adapters.brokers.paper import MemoryVenueStore, MisbehavingBooks, PaperBroker, VenueStore
from aaos.adapters.brokers.paper.postgres_store import PostgresVenueStore
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.roles import DECIDER, create_login
from aaos.domain.venue.misbehaviours import misbehaviour
from aaos.errors import AmbiguousReply, ConfigError, InputError, OrderRejected, UnknownSymbol, VenueUnavailable

D = Decimal


def processes(venue: Venue, count: int) -> list[PaperBroker]:
    """So many brokers, each with a store of its own, as processes have: only the database stands between them."""
    if isinstance(venue.store, MemoryVenueStore):
        return [venue.broker() for _ in range(count)]
    database = venue.store._database  # type: ignore[attr-defined]
    stores = [PostgresVenueStore(database) for _ in range(count)]
    return [PaperBroker("paper", each, venue.books, venue.clock, venue.rules) for each in stores]


def test_an_account_is_opened_once_with_its_deposit(venue: Venue) -> None:
    assert venue.broker().cash() == venue.broker().cash() == 10_000
    [flow] = venue.broker().cash_flows(None)
    assert (flow.kind, flow.flow_id, flow.amount, flow.account) == ("deposit", "deposit:initial", 10_000, "paper")
    assert venue.store.accounts() == ["paper"]


def test_an_order_is_placed_filled_and_found_again_by_another_process(venue: Venue) -> None:
    placed = venue.broker().place(an_order(quantity=2))
    assert (placed.state, placed.filled, placed.client_order_id) == ("filled", 2, "a")
    other = venue.broker()
    assert other.order("a", SYMBOL) == placed
    [fill] = other.fills(None)
    assert (fill.venue_order_id, fill.client_order_id, fill.quantity, fill.price, fill.liquidity) == (
        placed.venue_order_id, "a", 2, D("100.1"), "taker",
    )  # fmt: skip
    [position] = other.positions()
    assert (position.symbol, position.quantity, position.average_entry) == (SYMBOL, 2, D("100.1"))
    assert other.cash() == 10_000 - fill.fee
    assert other.open_orders() == []


def test_a_resting_order_is_open_until_the_market_comes_to_it_and_its_trade_has_that_time(venue: Venue) -> None:
    broker = venue.broker()
    venue.books.tell(100, 90)
    assert broker.place(an_order(price=95)).state == "working"
    venue.clock.advance(40)
    assert [order.client_order_id for order in broker.open_orders()] == ["a"]
    venue.clock.advance(100)
    [fill] = broker.fills(None)
    assert (fill.price, fill.liquidity) == (95, "maker")
    assert fill.filled_at == START + timedelta(seconds=100)
    assert broker.open_orders() == []
    told = broker.order("a", SYMBOL)
    assert told is not None
    assert told.state == "filled"


def test_each_trade_is_dated_when_its_book_was_shown_not_when_somebody_looked(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(price=95, name="first"))
    venue.books.points = [(0, 100), (99.9, 100), (100, 94), (100.1, 100), (249.9, 100), (250, 90), (250.1, 100)]
    venue.clock.advance(200)
    assert broker.advance() == 1
    broker.place(an_order(price=91, name="second"))
    venue.clock.advance(100)
    assert venue.broker().advance() == 1
    dated = [(fill.client_order_id, fill.filled_at - START) for fill in broker.fills(None)]
    assert dated == [("first", timedelta(seconds=100)), ("second", timedelta(seconds=250))]


def test_a_stop_fires_where_the_price_passes_it_and_not_at_the_end_of_the_move(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order())
    broker.place(an_order("sell", 1, "stop", trigger_price=95, reduce_only=True))
    venue.books.tell(100, 60)
    venue.clock.advance(200)
    fill = broker.fills(None)[-1]
    assert D("94.7") <= fill.price <= D("94.9")
    assert START + timedelta(seconds=12) < fill.filled_at < START + timedelta(seconds=14)
    assert broker.positions() == []


def test_a_long_absence_is_made_good_in_order_stop_before_liquidation(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(quantity=20, leverage=20))
    broker.place(an_order("sell", 20, "stop", trigger_price=98, reduce_only=True))
    for second, price in ((100, 101), (200, 50), (300, 200)):
        venue.books.tell(second, price)
    venue.clock.advance(1_000)
    assert broker.advance() > 0
    assert [fill.client_order_id for fill in broker.fills(None)[4:]] == ["stop"] * 4
    assert [flow.kind for flow in broker.cash_flows(None)] == ["deposit"]


def test_cancelling_ends_an_order_once_and_an_unknown_one_is_none(venue: Venue) -> None:
    broker, order = venue.broker(), an_order(price=95)
    assert broker.cancel(order) is None
    broker.place(order)
    cancelled = broker.cancel(order)
    assert cancelled is not None
    assert (cancelled.state, cancelled.filled) == ("canceled", 0)
    assert broker.cancel(order) == cancelled
    venue.books.tell(1, 90)
    venue.clock.advance(10)
    assert broker.fills(None) == []


def test_fills_and_flows_are_told_from_an_instant_on(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(name="a"))
    venue.clock.advance(10)
    broker.place(an_order(name="b"))
    now = START + timedelta(seconds=10)
    assert [fill.client_order_id for fill in broker.fills(None)] == ["a", "b"]
    assert [fill.client_order_id for fill in broker.fills(now)] == ["b"]
    assert broker.fills(now + timedelta(microseconds=1)) == []
    assert broker.cash_flows(now) == []


def test_what_the_venue_refuses_is_not_kept_and_its_code_is_told(venue: Venue) -> None:
    broker = venue.broker()
    with pytest.raises(OrderRejected, match=r"it needs \d+\.\d\d, 10000\.00 are free") as told:
        broker.place(an_order(quantity=10_000))
    assert told.value.code == "INSUFFICIENT_MARGIN"
    with pytest.raises(OrderRejected, match="no DOGE/USDT here") as told:
        broker.place(an_order(symbol="DOGE/USDT"))
    assert told.value.code == "UNKNOWN_SYMBOL"
    with pytest.raises(OrderRejected, match="not paper-portfolio"):
        broker.place(an_order(account="paper-portfolio"))
    with pytest.raises(UnknownSymbol):
        broker.instrument("DOGE/USDT")
    assert broker.order("a", SYMBOL) is None
    assert venue.store.orders("paper", 10) == []


def test_a_client_id_may_be_used_again_after_its_order_ended_and_then_buys_again(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(price=95, name="x"))
    with pytest.raises(OrderRejected) as told:
        venue.broker().place(an_order(price=95, name="x"))
    assert told.value.code == "DUPLICATE_CLIENT_ID"
    broker.cancel(an_order(name="x"))
    broker.place(an_order(name="x"))
    broker.place(an_order(name="x"))
    assert broker.positions()[0].quantity == 2
    newest = broker.order("x", SYMBOL)
    assert newest is not None
    assert newest.state == "filled"


def test_accounts_share_nothing(venue: Venue) -> None:
    venue.broker().place(an_order())
    other = venue.broker("paper-portfolio")
    assert (other.positions(), other.fills(None), other.cash()) == ([], [], 10_000)
    assert other.order("a", SYMBOL) is None
    assert venue.store.accounts() == ["paper", "paper-portfolio"]


def test_an_instrument_stays_as_it_was_listed_though_the_price_moves_on(venue_store: VenueStore) -> None:
    venue = Venue(venue_store, instruments={})
    first = venue.broker().instrument(SYMBOL)
    assert (first.price_step, first.quantity_step) == (D("0.0001"), D("0.01"))  # of a best bid of 99.9
    venue.books.tell(1, 5_000)
    venue.clock.advance(10)
    assert venue.broker().instrument(SYMBOL) == first


def test_each_book_is_matched_once_however_many_ask_at_once(venue: Venue) -> None:
    venue.broker().place(an_order(quantity=50, price=95))
    venue.books.tell(10, 94)
    venue.books.tell(20, 99)
    venue.clock.advance(30)
    brokers = processes(venue, 8)
    start = threading.Barrier(8)

    def look(index: int) -> int:
        start.wait()
        return len(brokers[index].fills(None) if index % 2 else brokers[index].open_orders())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))
    # Ten levels of five at 94, of which those up to 95 count: 94.1 to 95.0.
    fills = venue.broker().fills(None)
    assert sum(fill.quantity for fill in fills) == 50
    assert len(fills) == len({fill.trade_id for fill in fills}) == 1


def test_many_orders_placed_at_once_share_one_book(venue: Venue) -> None:
    brokers = processes(venue, 8)

    def place(index: int) -> Decimal:
        return brokers[index].place(an_order(quantity=5, name=f"o{index}", leverage=20)).filled

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(place, range(8))) == 40
    fills = venue.broker().fills(None)
    assert sorted(fill.price for fill in fills) == [D("100.1") + D("0.1") * i for i in range(8)]
    assert [fill.trade_id for fill in fills] == sorted({f.trade_id for f in fills}, key=lambda name: int(name[1:]))


def test_what_was_taken_of_a_book_stays_taken_for_the_next_process(venue: Venue) -> None:
    venue.broker().place(an_order(quantity=5, name="a"))
    venue.broker().place(an_order(quantity=5, name="b"))
    assert [fill.price for fill in venue.broker().fills(None)] == [D("100.1"), D("100.2")]


def test_looking_again_and_again_loses_nothing_and_trades_nothing_twice(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(price=95))
    venue.books.tell(50, 99)
    venue.books.tell(100, 94)
    for _ in range(30):
        venue.clock.advance(4)
        broker.open_orders()
    # At 92 s the best ask is 94.9.
    assert [(fill.quantity, fill.filled_at) for fill in broker.fills(None)] == [(1, START + timedelta(seconds=92))]


def test_money_paid_in_and_out_counts_once_by_its_name(venue: Venue) -> None:
    broker = venue.broker()
    assert broker.deposit(D(500), "deposit:x") == broker.deposit(D(500), "deposit:x") == 10_500
    assert broker.deposit(D(-10_400), "withdrawal:y") == 100
    with pytest.raises(InputError, match=r"101 cannot be paid out: 100\.00 of the account paper are free"):
        broker.deposit(D(-101), "withdrawal:z")
    assert [(f.kind, f.amount) for f in broker.cash_flows(None)][1:] == [("deposit", 500), ("withdrawal", -10_400)]


def test_funding_and_fees_add_up_to_the_cash(venue_store: VenueStore) -> None:
    venue = Venue(venue_store, funding_interval_s=60, funding_rate=D("0.001"))
    broker = venue.broker()
    broker.place(an_order(quantity=2))
    for second in range(60, 660, 60):
        venue.books.tell(second, 100)
    venue.clock.advance(600)
    flows, fills = broker.cash_flows(None), broker.fills(None)
    assert [flow.amount for flow in flows] == [10_000, *[D("-0.2")] * 10]
    assert broker.cash() == sum(f.amount for f in flows) - sum(f.fee for f in fills)
    assert len({flow.flow_id for flow in flows}) == 11


def test_the_transcript_says_what_reached_the_venue_and_when(venue: Venue) -> None:
    broker, order = venue.broker(), an_order(price=95)
    broker.place(order)
    venue.clock.advance(1)
    broker.cancel(order)
    for mode in ("error_before", "disconnect", "timeout_after"):
        venue.store.behave(misbehaviour(mode, calls=1))
        with pytest.raises((AmbiguousReply, VenueUnavailable)):
            broker.place(an_order("sell", 1, mode))
    with pytest.raises(OrderRejected):
        broker.place(an_order(quantity="0.001"))
    broker.order("a", SYMBOL)
    broker.cash()
    lines = venue.store.requests(10)[::-1]
    assert [(line.method, line.client_order_id, line.outcome, line.misbehaviour) for line in lines] == [
        ("place", "a", "accepted", None),
        ("cancel", "a", "canceled", None),
        ("place", "error_before", "failed", "error_before"),
        ("place", "timeout_after", "accepted", "timeout_after"),
        ("place", "a", "refused:INVALID_QUANTITY", None),
        ("order", "a", "found", None),
    ]
    assert [line.at for line in lines[:2]] == [START, START + timedelta(seconds=1)]
    assert {line.reduce_only for line in lines[:5]} == {False}
    assert venue.store.requests(10, "paper-portfolio") == []


def test_the_transcript_is_bounded(venue_store: VenueStore) -> None:
    venue = Venue(venue_store, keep_requests=100)
    for index in range(130):
        venue.broker().order(f"o{index}", SYMBOL)
    venue.broker().advance()
    assert 99 <= len(venue_store.requests(1_000)) <= 101
    assert venue_store.requests(1)[0].client_order_id == "o129"


def test_a_position_whose_symbol_the_market_no_longer_lists_waits(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order())

    def gone(symbol: str, at: object) -> object:
        raise UnknownSymbol("the market is another one now")

    venue.books.market_time = gone  # type: ignore[assignment, method-assign]
    assert broker.positions()[0].quantity == 1


def test_orders_and_trades_are_listed_newest_first(venue: Venue) -> None:
    broker = venue.broker()
    broker.place(an_order(name="a"))
    broker.place(an_order(name="b", price=95))
    assert [each.client_order_id for each in venue.store.orders("paper", 10)] == ["b", "a"]
    assert [each.client_order_id for each in venue.store.orders("paper", 10, open_only=True)] == ["b"]
    assert [each.fill.client_order_id for each in venue.store.newest_trades("paper", 10)] == ["a"]
    assert (venue.store.orders("nobody", 1), venue.store.newest_trades("nobody", 1)) == ([], [])


@pytest.mark.requirement("R4")
def test_the_rows_of_the_ledger_add_up_by_themselves(ledger_url: str) -> None:
    database = Database(ledger_url)
    with psycopg.connect(ledger_url.replace("+psycopg", ""), autocommit=True) as session:
        session.execute(EMPTY_VENUE)
        venue = Venue(PostgresVenueStore(database), funding_interval_s=60)
        broker = venue.broker()
        for index in range(60):
            side = "buy" if index % 3 else "sell"
            broker.place(an_order(side, D(7 * (index % 5 + 1)) / 100, f"o{index}", leverage=3))
            venue.books.tell(index + 1, 100 + index % 7)
            venue.clock.advance(7)
        cash = broker.cash()
        row = session.execute("""
            SELECT a.cash, (SELECT sum(amount) FROM paper.cash_flows) + sum(t.realised) - sum(t.fee),
                   (SELECT quantity FROM paper.positions),
                   sum(CASE WHEN t.side = 'buy' THEN t.quantity ELSE -t.quantity END)
            FROM paper.accounts a JOIN paper.trades t ON t.account = a.name GROUP BY a.cash
        """).fetchone()
        assert row is not None
        assert row[0] == row[1] == cash
        assert row[2] == row[3]
        unequal = session.execute("""
            SELECT count(*) FROM paper.orders o WHERE filled <>
                (SELECT coalesce(sum(t.quantity), 0) FROM paper.trades t
                 WHERE t.account = o.account AND t.order_number = o.number)
        """).fetchone()
        assert unequal == (0,)
        with pytest.raises(psycopg.errors.IntegrityError, match="only ever appended to"):
            session.execute("UPDATE paper.trades SET price = 1")
    database.close()


def test_who_decides_sees_books_and_symbols_and_can_order_nothing(databases: TestDatabases) -> None:
    with databases.fresh() as url:
        create_login(url, "a_decider", DECIDER, "not-a-secret")
        address = make_url(url).set(username="a_decider", password="not-a-secret")
        database = Database(address.render_as_string(hide_password=False))
        venue = Venue(PostgresVenueStore(database), instruments={})
        assert venue.broker().instrument(SYMBOL).price_step == D("0.0001")
        PostgresVenueStore(database).behave(misbehaviour("empty_book", calls=1))
        assert MisbehavingBooks(venue.books, venue.store).book(SYMBOL, START).fault(90) == "BOOK_EMPTY"
        with pytest.raises(ConfigError, match="roles"):
            venue.broker().place(an_order())
        database.close()
        with psycopg.connect(url.replace("+psycopg", "")) as session:
            assert session.execute("SELECT count(*) FROM paper.orders").fetchone() == (0,)
