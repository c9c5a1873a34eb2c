"""Results found again, and the outbox that announces each of them."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest
from support.worlds import KIND, SLOT, PostgresWorld, World, analysis, born, taken

from aaos.domain.runs import Completed
from aaos.errors import BrokerUnavailable, UnknownRun

HOUR = timedelta(hours=1)


def stored(world: World, symbol: str = "BTC/USDT", hours: int = 0, kind: str = KIND, publish: bool = True) -> int:
    """Completes the run of a slot so many hours later; returns the result's id."""
    runs = world.runs()
    claim = taken(runs, born(runs, symbol, SLOT + hours * HOUR, kind=kind))
    result_id = runs.complete(claim, Completed({"hours": hours}), publish=publish).result_id
    assert result_id is not None
    return result_id


# --- finding ------------------------------------------------------------------------------------------------


def test_a_result_is_found_by_its_id_and_by_its_run(world: World) -> None:
    result_id = stored(world)
    result = world.results.result(result_id)
    assert world.results.result_of_run(result.run_id) == result
    assert abs((result.analyzed_at - world.clock.now()).total_seconds()) < 5
    assert world.results.result_of_run(born(world.runs(), "ETH/USDT")) is None
    with pytest.raises(UnknownRun, match="aaos results"):
        world.results.result(4711)


def test_the_latest_result_is_of_the_newest_earlier_slot_of_the_schedule(world: World) -> None:
    late, early = stored(world, hours=2), stored(world, hours=1)
    stored(world, "ETH/USDT", hours=3)
    stored(world, hours=3, kind="regime_detection")
    runs = world.runs()
    requested, _ = runs.insert_request(analysis(request_key="key"))
    runs.complete(taken(runs, requested), Completed({"requested": True}), publish=True)

    def latest(before_hours: int | None) -> int | None:
        before = None if before_hours is None else SLOT + before_hours * HOUR
        found = world.results.latest(KIND, "BTC/USDT", before)
        return None if found is None else found.id

    assert [latest(None), latest(3), latest(2), latest(1)] == [late, late, early, None]


def test_results_are_listed_newest_first_by_kind_and_symbol(world: World) -> None:
    a2, a1 = stored(world, "A/USDT", hours=2), stored(world, "A/USDT", hours=1)
    b = stored(world, "B/USDT")
    regime = stored(world, "A/USDT", kind="regime_detection")

    def listed(limit: int = 10, **which: str) -> list[int]:
        return [result.id for result in world.results.results(limit, **which)]

    assert listed() == [regime, b, a1, a2]
    assert listed(2) == [regime, b]
    assert listed(kind=KIND) == [b, a1, a2]
    assert listed(symbol="A/USDT") == [a2, a1, regime]
    assert listed(kind=KIND, symbol="A/USDT") == [a2, a1]


# --- announcing ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-RF-004")
@pytest.mark.requirement("P1")
def test_what_is_marked_is_published_and_does_not_come_again(world: World) -> None:
    first, second = stored(world), stored(world, hours=1)
    assert world.outbox.backlog() == 2
    with world.outbox.batch(1) as batch:
        assert [result.id for result in batch.results] == [first]
        batch.mark_published({first: "1-0"})
    assert world.outbox.backlog() == 1
    assert world.announced() == {first: True, second: False}
    assert world.results.result(first).published_at is not None
    assert world.results.result(second).published_at is None
    with world.outbox.batch(10) as batch:
        assert [result.id for result in batch.results] == [second]
        assert batch.results[0].body == {"hours": 1}


@pytest.mark.requirement("FM-RF-004")
def test_what_could_not_be_announced_comes_again(world: World) -> None:
    only = stored(world)

    def announce() -> None:
        with world.outbox.batch(10) as batch:
            batch.mark_published({only: "1-0"})
            raise BrokerUnavailable("gone in the middle")

    with pytest.raises(BrokerUnavailable):
        announce()
    assert world.announced() == {only: False}
    with world.outbox.batch(10) as batch:
        assert [result.id for result in batch.results] == [only]


def test_two_publishers_get_disjoint_batches(world: World) -> None:
    ids = [stored(world, hours=hours) for hours in range(6)]
    with world.outbox.batch(4) as one, world.outbox.batch(4) as other:
        first, second = [r.id for r in one.results], [r.id for r in other.results]
        assert first + second == ids
        with world.outbox.batch(4) as nothing_left:
            assert nothing_left.results == []
        one.mark_published(dict.fromkeys(first, "1-0"))
    assert {result_id for result_id, published in world.announced().items() if not published} == set(second)


def test_an_empty_outbox_gives_an_empty_batch(world: World) -> None:
    stored(world, publish=False)
    with world.outbox.batch(10) as batch:
        assert batch.results == []
    assert world.outbox.backlog() == 0


def test_ids_that_commit_out_of_order_are_all_announced(postgres_world: PostgresWorld) -> None:
    """An earlier id may commit after a later one was published: rows are marked, not walked by a cursor."""
    runs = postgres_world.runs()
    slow, fast = (taken(runs, born(runs, symbol)) for symbol in ("SLOW/USDT", "FAST/USDT"))
    slow_down = """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.symbol = 'SLOW/USDT' THEN PERFORM pg_sleep(0.7); END IF; RETURN NEW; END $$;
        CREATE TRIGGER dawdle AFTER INSERT ON results FOR EACH ROW EXECUTE FUNCTION dawdle();
    """
    postgres_world.session.execute(slow_down)
    slow_one = Thread(target=lambda: runs.complete(slow, Completed({"n": 1}), publish=True))
    slow_one.start()
    while not postgres_world.session.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchall():
        assert slow_one.is_alive()
    fast_id = runs.complete(fast, Completed({"n": 2}), publish=True).result_id
    announced = []
    for _ in range(2):
        with postgres_world.outbox.batch(10) as batch:
            announced += [result.id for result in batch.results]
            batch.mark_published({result.id: "1-0" for result in batch.results})
        slow_one.join(10)
    late_id = postgres_world.results.results(10, symbol="SLOW/USDT")[0].id
    assert announced == [fast_id, late_id]
    assert fast_id is not None
    assert late_id < fast_id
