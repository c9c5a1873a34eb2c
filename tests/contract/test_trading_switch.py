"""The stop: one row whose epoch only rises, audited, and seen by every entry that is written down after it."""

from __future__ import annotations

import psycopg
import pytest
from support.worlds import PostgresWorld, World


def test_trading_begins_running_and_a_stop_raises_the_epoch(world: World) -> None:
    before = world.switch.read()
    assert not before.stopped
    stopped = world.switch.stop("ada", "the book looks odd")
    assert (stopped.stopped, stopped.epoch, stopped.by, stopped.reason) == (
        True,
        before.epoch + 1,
        "ada",
        "the book looks odd",
    )
    assert world.switch.read() == stopped


def test_a_second_stop_changes_nothing_and_returns_how_it_stands(world: World) -> None:
    first = world.switch.stop("ada", "odd")
    assert world.switch.stop("bob", "me, too") == first
    assert len(world.audit.entries(9)) == 1


def test_resuming_raises_the_epoch_again_and_both_are_audited(world: World) -> None:
    first = world.switch.stop("ada", "odd")
    resumed = world.switch.resume("bob", "it was a rehearsal")
    assert (resumed.stopped, resumed.epoch) == (False, first.epoch + 1)
    assert world.switch.resume("eve", "again") == resumed
    told = [(each.action, each.actor, each.subject, each.details["epoch"]) for each in world.audit.entries(9)]
    assert told == [
        ("trading.resumed", "bob", "trading", resumed.epoch),
        ("trading.stopped", "ada", "trading", first.epoch),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trading_switch SET epoch = epoch - 1",
        "UPDATE trading_switch SET stopped = true",
        "DELETE FROM trading_switch",
        "TRUNCATE trading_switch",
        "UPDATE trading_namespace SET id = gen_random_uuid()",
        "DELETE FROM trading_namespace",
    ],
)
def test_postgresql_refuses_a_lower_epoch_and_a_switch_that_is_gone(
    postgres_world: PostgresWorld, statement: str
) -> None:
    before = postgres_world.switch.read()
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        postgres_world.session.execute(statement)
    assert postgres_world.switch.read() == before
