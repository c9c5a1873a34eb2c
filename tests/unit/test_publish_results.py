"""From the outbox to the streams: all that is stored, and nothing that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from support.worlds import SLOT, MemoryWorld, born, taken

from aaos.adapters.memory import MemoryResultStream
from aaos.domain.runs import Completed
from aaos.errors import BrokerUnavailable
from aaos.ports import ResultRecord
from aaos.services.publish_results import publish_results


class Flag:
    """Implements `publish_results.Nudge`; counts."""

    def __init__(self) -> None:
        self.lowered = self.kept = 0

    def lower(self) -> None:
        self.lowered += 1

    def keep(self) -> None:
        self.kept += 1


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def stored(world: MemoryWorld, *numbers: int) -> list[int | None]:
    runs = world.runs()
    return [
        runs.complete(taken(runs, born(runs, slot=SLOT + timedelta(minutes=n))), Completed({"n": n}), True).result_id
        for n in numbers
    ]


@pytest.mark.requirement("FM-RF-004")
@pytest.mark.requirement("P1")
def test_everything_in_the_outbox_is_announced_once_in_order_and_marked(world: MemoryWorld) -> None:
    ids = stored(world, *range(7))
    stream, flag = MemoryResultStream(), Flag()
    assert publish_results(world.outbox, stream, flag, batch=3) == 7
    assert [result.id for _, result in stream.entries] == ids
    assert world.database.tables.outbox == {result.id: entry_id for entry_id, result in stream.entries}
    assert publish_results(world.outbox, stream, flag, batch=3) == 0
    assert len(stream.entries) == 7


def test_results_that_come_while_it_publishes_are_announced_too(world: MemoryWorld) -> None:
    stored(world, 1)

    class Busy(MemoryResultStream):
        def publish(self, results: Sequence[ResultRecord]) -> Mapping[int, str]:
            if len(self.entries) < 3:
                stored(world, 10 + len(self.entries))
            return super().publish(results)

    stream, flag = Busy(), Flag()
    assert publish_results(world.outbox, stream, flag, batch=10) == 4
    assert flag.kept >= 2, "while it publishes nobody calls another publisher"
    assert flag.lowered == 1, "before it looks for the last time"


@pytest.mark.requirement("FM-RF-004")
def test_without_a_broker_results_wait_in_the_outbox(world: MemoryWorld) -> None:
    ids = stored(world, 1, 2)
    stream = MemoryResultStream()
    stream.away = True
    with pytest.raises(BrokerUnavailable):
        publish_results(world.outbox, stream, Flag(), batch=10)
    assert world.outbox.backlog() == 2
    stream.away = False
    assert publish_results(world.outbox, stream, Flag(), batch=10) == 2
    assert [result.id for _, result in stream.entries] == ids


def test_a_publisher_that_dies_after_announcing_announces_again(world: MemoryWorld) -> None:
    ids = stored(world, 1)

    class DiesAfterwards(MemoryResultStream):
        def publish(self, results: Sequence[ResultRecord]) -> Mapping[int, str]:
            super().publish(results)
            raise KeyboardInterrupt

    dying = DiesAfterwards()
    with pytest.raises(KeyboardInterrupt):
        publish_results(world.outbox, dying, Flag(), batch=10)
    stream = MemoryResultStream()
    publish_results(world.outbox, stream, Flag(), batch=10)
    assert [r.id for _, r in dying.entries] == [r.id for _, r in stream.entries] == ids


@pytest.mark.requirement("FM-RF-004")
def test_what_was_not_stored_is_never_announced(world: MemoryWorld) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    with world.broken_outbox(), pytest.raises(Exception, match="broken on purpose"):
        runs.complete(claim, Completed({}), publish=True)
    stream = MemoryResultStream()
    assert publish_results(world.outbox, stream, Flag(), batch=10) == 0
    assert stream.entries == []
