"""The veto ledger: the store's contract, in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from threading import Thread
from typing import Any

import psycopg
import pytest
from support.worlds import MemoryWorld, PostgresWorld, World, analysis, taken

from aaos.adapters.memory import MemoryVetoes
from aaos.adapters.postgres.vetoes import PostgresVetoes
from aaos.domain.calibration import SeriesNow
from aaos.domain.runs import Completed
from aaos.domain.vetoes import NewVeto, Veto, VetoCount, VetoOutcome, VetoTerms
from aaos.errors import FenceLost, InvariantViolation
from aaos.ports import Vetoes

MINUTE_MS = 60_000
ANCHOR_MS = 99 * MINUTE_MS
DUE_MS = ANCHOR_MS + 240 * MINUTE_MS
TERMS = VetoTerms(
    "1m", ANCHOR_MS, 100, "h" * 64, 240, DUE_MS, Decimal("0.0006"), Decimal("58800.1"), Decimal("61200.2")
)
OUTCOME = VetoOutcome(
    ANCHOR_MS + MINUTE_MS, "stop", Decimal("58800.1"), Decimal("-2.118806"), Decimal("-12.71283600")
)  # fmt: skip
numbers = count(1)


class Ledger:
    """Vetoes in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vetoes: Vetoes = (
            MemoryVetoes(world.database) if isinstance(world, MemoryWorld) else PostgresVetoes(world.database)
        )

    def refuse(self, **more: Any) -> NewVeto:
        """Stores a veto with the run that refused, and returns it."""
        fields: dict[str, Any] = {
            "source": f"decision:{next(numbers)}",
            "stage": "risk",
            "code": "RISK_DRAWDOWN",
            "reason": "daily drawdown 6.1 % of 5 %",
            "symbol": "BTC/USDT",
            "side": "buy",
            "market_ms": ANCHOR_MS + MINUTE_MS,
            "price": Decimal("60000.123456789"),
            "quantity": Decimal("0.01"),
            "leverage": Decimal("3.5"),
            "stop_price": Decimal("58800.1"),
        }
        veto = NewVeto(**(fields | more))
        self.complete(veto)
        return veto

    def complete(self, veto: NewVeto) -> int:
        runs = self.world.runs()
        run_id, _ = runs.insert_request(analysis("risk_assessment", request_key=f"veto:{next(numbers)}"))
        runs.complete(taken(runs, run_id), Completed({"approved": False}, veto=veto), publish=False)
        return run_id

    def unread(self) -> list[Veto]:
        return list(self.vetoes.unread(self._later(), 100))

    def read(self) -> list[Veto]:
        """Reads all new vetoes; returns them as they were written."""
        read = [replace(each, state="waiting", terms=TERMS) for each in self.unread()]
        assert self.vetoes.write(read) == len(read)
        return read

    def due(self, newest_ms: int = DUE_MS, symbols: Sequence[str] = ("BTC/USDT",), limit: int = 10) -> list[Veto]:
        return list(self.vetoes.due(in_use(newest_ms, symbols), self._later(), limit))

    def stranded(self, newest_ms: int = DUE_MS, symbols: Sequence[str] = ("BTC/USDT",)) -> list[str]:
        found = self.vetoes.stranded(in_use(newest_ms, symbols), self._later(), 10)
        return [each.refusal.source for each in found]

    def _later(self) -> Any:
        return self.world.now() + timedelta(seconds=60)


def in_use(newest_ms: int, symbols: Sequence[str]) -> list[SeriesNow]:
    return [SeriesNow(symbol, "1m", newest_ms) for symbol in symbols]


def scored(veto: Veto) -> Veto:
    return replace(veto, state="scored", outcome=OUTCOME)


@pytest.fixture
def ledger(world: World) -> Ledger:
    return Ledger(world)


def test_a_veto_is_stored_with_the_run_that_refused_to_the_last_digit(ledger: Ledger) -> None:
    wanted = ledger.refuse()
    [stored] = ledger.unread()
    assert stored.refusal == wanted
    assert (stored.state, stored.terms, stored.outcome, stored.why, stored.scored_at) == ("unread", *[None] * 4)
    assert abs((stored.vetoed_at - ledger.world.now()).total_seconds()) < 5
    assert stored.run_id in ledger.world.rows()


def test_one_veto_per_source_and_stage_and_the_same_again_changes_nothing(ledger: Ledger) -> None:
    first = ledger.refuse()
    ledger.complete(replace(first, code="OTHER", reason="again"))
    assert [each.refusal for each in ledger.unread()] == [first]
    later = ledger.refuse(source=first.source, stage="execution")
    assert [each.refusal for each in ledger.vetoes.of_source(first.source)] == [first, later]


def test_a_write_that_lost_its_fence_stores_no_veto(ledger: Ledger) -> None:
    runs = ledger.world.runs()
    run_id, _ = runs.insert_request(analysis("risk_assessment", request_key="veto:fence"))
    claim = taken(runs, run_id)
    veto = NewVeto("decision:1", "risk", "X", "x", "BTC/USDT", "buy", 1, Decimal(1))
    with pytest.raises(FenceLost):
        runs.complete(replace(claim, fence=claim.fence + 1), Completed({}, veto=veto), publish=False)
    assert ledger.unread() == []


def test_texts_that_no_database_takes_do_not_stop_the_run_that_refused(ledger: Ledger) -> None:
    ledger.refuse(reason="the arbiter said \x00\x1b[2J")
    [stored] = ledger.unread()
    assert stored.refusal.reason == "the arbiter said ??[2J"


def test_figures_that_are_none_do_not_stop_it_either(ledger: Ledger) -> None:
    ledger.refuse(
        quantity=Decimal(0), leverage=Decimal("NaN"), stop_price=Decimal(-1), take_profit_price=Decimal("Inf")
    )
    refusal = ledger.unread()[0].refusal
    assert (refusal.quantity, refusal.leverage, refusal.stop_price, refusal.take_profit_price) == (None,) * 4


def test_only_what_is_old_enough_is_looked_at_oldest_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    wanted = [ledger.refuse() for _ in range(3)]
    earlier = ledger.world.now() - timedelta(seconds=60)
    assert ledger.vetoes.unread(earlier, 10) == []
    later = ledger.world.now() + timedelta(seconds=60)
    assert [each.refusal for each in ledger.vetoes.unread(later, 2)] == wanted[:2]
    ledger.read()
    assert ledger.vetoes.due(in_use(DUE_MS, ["BTC/USDT"]), earlier, 10) == []
    assert ledger.vetoes.stranded([], earlier, 10) == []


def test_a_veto_comes_back_as_it_was_read_once_its_horizon_is_over(ledger: Ledger) -> None:
    ledger.refuse()
    [read] = ledger.read()
    assert ledger.unread() == []
    assert ledger.due(DUE_MS - 1) == []
    assert ledger.due() == [read]
    assert ledger.due(symbols=["ETH/USDT"]) == []


def test_vetoes_on_another_series_or_ahead_of_the_market_are_stranded(ledger: Ledger) -> None:
    here, there = ledger.refuse(), ledger.refuse(symbol="ETH/USDT")
    ledger.read()
    assert ledger.stranded() == [there.source]
    assert ledger.stranded(ANCHOR_MS - 1) == [here.source, there.source]
    assert ledger.stranded(symbols=[]) == [here.source, there.source]
    assert ledger.stranded(ANCHOR_MS, ["BTC/USDT", "ETH/USDT"]) == []


def test_what_has_ended_stays_as_it_is_whoever_writes(ledger: Ledger) -> None:
    ledger.refuse()
    [read] = ledger.read()
    assert ledger.vetoes.write([read]) == 0
    assert ledger.vetoes.write([scored(read)]) == 1
    other = replace(read, state="unscorable", why="the market was switched")
    assert ledger.vetoes.write([other]) == 0
    [kept] = ledger.vetoes.scored(10)
    assert replace(kept, scored_at=None) == scored(read)
    assert kept.scored_at is not None
    assert ledger.due() == []


def test_a_refusal_never_changes_whatever_is_written_beside_it(ledger: Ledger) -> None:
    wanted = ledger.refuse()
    [read] = ledger.read()
    ledger.vetoes.write([scored(replace(read, refusal=replace(wanted, code="FORGED", price=Decimal(1))))])
    assert [each.refusal for each in ledger.vetoes.scored(10)] == [wanted]


def test_vetoes_are_found_by_stage_code_and_symbol_newest_first(ledger: Ledger) -> None:
    a = ledger.refuse()
    b = ledger.refuse(stage="decision", code="HIDDEN_HAND")
    c = ledger.refuse(stage="decision", code="CONFIDENCE", symbol="ETH/USDT")

    def found(**filters: Any) -> list[NewVeto]:
        return [each.refusal for each in ledger.vetoes.vetoes(10, **filters)]

    assert found() == [c, b, a]
    assert found(stage="decision") == [c, b]
    assert found(code="HIDDEN_HAND") == [b]
    assert found(symbol="ETH/USDT", stage="decision") == [c]
    assert found(symbol="ETH/USDT", stage="risk") == []
    assert [each.refusal for each in ledger.vetoes.vetoes(1)] == [c]


def test_counts_are_by_stage_code_state_and_reason(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.refuse()
    [first, second, _] = ledger.read()
    gone = replace(second, state="unscorable", why="the market was switched")
    ledger.vetoes.write([scored(first), gone])
    ledger.refuse(stage="review", code="REFUSED")
    assert set(ledger.vetoes.counts()) == {
        VetoCount("risk", "RISK_DRAWDOWN", "waiting", None, 1),
        VetoCount("risk", "RISK_DRAWDOWN", "scored", None, 1),
        VetoCount("risk", "RISK_DRAWDOWN", "unscorable", "the market was switched", 1),
        VetoCount("review", "REFUSED", "unread", None, 1),
    }


def test_a_veto_that_could_not_be_read_ends_without_terms(ledger: Ledger) -> None:
    ledger.refuse()
    [unread] = ledger.unread()
    ledger.vetoes.write([replace(unread, state="unscorable", why="gone")])
    [ended] = ledger.vetoes.vetoes(10)
    assert (ended.state, ended.terms, ended.why) == ("unscorable", None, "gone")


def test_of_many_writers_of_the_same_vetoes_each_veto_is_ended_by_one(postgres_world: PostgresWorld) -> None:
    ledger = Ledger(postgres_world)
    for _ in range(20):
        ledger.refuse()
    ended = [scored(each) for each in ledger.read()]
    changed: list[int] = []
    orders = [ended, ended[::-1], ended[10:] + ended[:10], ended]
    writers = [Thread(target=lambda rows=rows: changed.append(ledger.vetoes.write(rows))) for rows in orders]
    for each in writers:
        each.start()
    for each in writers:
        each.join(30)
    assert sum(changed) == 20


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vetoes SET code = 'FORGED'",
        "UPDATE vetoes SET price = price * 2",
        "UPDATE vetoes SET quantity = NULL",
        "UPDATE vetoes SET return_pct = 5",
        "UPDATE vetoes SET state = 'waiting', scored_at = NULL",
        "DELETE FROM vetoes",
    ],
)
def test_the_database_lets_nobody_rewrite_the_ledger(postgres_world: PostgresWorld, statement: str) -> None:
    ledger = Ledger(postgres_world)
    ledger.refuse()
    ledger.vetoes.write([scored(each) for each in ledger.read()])
    with pytest.raises(psycopg.errors.IntegrityError, match="is history"):
        postgres_world.session.execute(statement)


def test_nobody_empties_the_ledger(postgres_world: PostgresWorld) -> None:
    with pytest.raises(psycopg.errors.IntegrityError):
        postgres_world.session.execute("TRUNCATE vetoes")


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("Infinity"), Decimal(0), Decimal(-1)])
def test_a_price_that_is_none_is_refused_with_its_run(postgres_world: PostgresWorld, price: Decimal) -> None:
    ledger = Ledger(postgres_world)
    with pytest.raises(InvariantViolation, match="the database refused a row"):
        ledger.refuse(price=price)
    assert ledger.unread() == []


@pytest.mark.parametrize("role", ["aaos_decider", "aaos_executor"])
def test_whoever_decides_or_executes_may_refuse_and_score_and_take_nothing_back(
    postgres_world: PostgresWorld, role: str
) -> None:
    postgres_world.session.execute(f"SET ROLE {role}")
    insert = """
        INSERT INTO vetoes (run_id, source, stage, code, reason, symbol, side, market_ms, price)
        VALUES (1, 'decision:1', 'risk', 'X', 'x', 'BTC/USDT', 'buy', 1, 1)
    """
    postgres_world.session.execute(insert)
    scored_once = "UPDATE vetoes SET state = 'unscorable', why = 'x', scored_at = clock_timestamp()"
    assert postgres_world.session.execute(scored_once).rowcount == 1
    with pytest.raises(psycopg.errors.IntegrityError, match="is history"):
        postgres_world.session.execute("DELETE FROM vetoes")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres_world.session.execute("TRUNCATE vetoes")
