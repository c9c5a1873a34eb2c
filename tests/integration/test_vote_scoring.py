"""Votes are scored on real servers: by scorers that are killed, on markets that change, and as workers cast them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import Lab
from support.voting import HOLED, MINUTE_MS, STEADY, Ground, voting_ground, write_candles

from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.calibration.outcomes import MARKET_SWITCHED, SERIES_GONE, SET_BACK

KILLED_VOTES = 3_000
KILLS = 3  # while votes are read, and as many again while they are scored
SCORE_FOREVER = """
from aaos.bootstrap import container
import aaos.services.score_votes
container().vote_outcomes.unread(1)
print("scoring", flush=True)
while True:
    container().score_votes()
"""


@pytest.fixture(scope="module")
def ground(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with voting_ground(databases, valkey_server, tmp_path_factory.mktemp("scoring")) as ground:
        yield ground


def _kill_scorers_at_work(ground: Ground, number_of: Callable[[], int]) -> tuple[int, int]:
    """Kills two scorers as soon as they have changed this number; returns how many votes are unread, and open."""
    before = number_of()
    scorers = [ground.lab.fleet.python("-c", SCORE_FOREVER, name=f"scorer{time.monotonic_ns()}") for _ in range(2)]
    for scorer in scorers:
        scorer.wait_for("scoring")
    give_up_at = time.monotonic() + 10
    while number_of() == before > 0 and time.monotonic() < give_up_at:
        time.sleep(0.002)
    for scorer in scorers:
        scorer.signal_group(signal.SIGKILL)
    for scorer in scorers:
        scorer.kill()
    return ground.unread(), ground.open()


def test_scorers_killed_in_the_middle_lose_no_vote_and_end_none_twice(ground: Ground) -> None:
    lab = ground.lab
    ground.empty()
    ground.use(STEADY)
    time.sleep(2.1)  # every process remembers for 2 s which market is in use
    ground.many_votes(STEADY, KILLED_VOTES)
    left = [_kill_scorers_at_work(ground, count) for count in (ground.unread, ground.open) for _ in range(KILLS)]
    lab.wait_until(lambda: ground.client.score_votes().finished and ground.open() == 0, "all ended", 30)
    assert ground.states() == {"scored": KILLED_VOTES}
    ground.check_ended_once()
    assert any(0 < votes < KILLED_VOTES for votes, _ in left), f"no scorer was killed while it read: {left}"
    assert any(0 < votes < KILLED_VOTES for _, votes in left), f"no scorer was killed while it scored: {left}"
    wrong = """
        SELECT result_id FROM vote_outcomes WHERE squared_error IS DISTINCT FROM power(confidence - correct::int, 2)
            OR correct <> CASE signal WHEN 'BUY' THEN close_after / close_then - 1 > min_move_fraction
                                      ELSE 1 - close_after / close_then > min_move_fraction END
    """
    assert lab.rows(wrong) == []


def test_votes_on_a_market_that_was_switched_are_recorded_as_unscorable(ground: Ground) -> None:
    lab, c = ground.lab, ground.client
    ground.empty()
    ground.use(STEADY, HOLED)
    time.sleep(2.1)
    ground.many_votes(STEADY, 10)
    ground.many_votes(HOLED, 5)
    c.score_votes()
    assert ground.states() == {"waiting": 15}
    ground.files[HOLED] = write_candles(Path(ground.files[HOLED]).with_name("other.csv"), 9, 1_500)
    ground.use(HOLED)
    time.sleep(2.1)
    lab.wait_until(lambda: c.score_votes().finished and ground.open() == 0, "all ended", 30)
    states = ground.states()
    assert states.pop(SERIES_GONE) == 10
    # Which of the two it is depends on how far the other file has been played.
    assert sum(states.values()) == 5
    assert set(states) <= {MARKET_SWITCHED, SET_BACK}
    ground.check_ended_once()


def test_votes_on_the_simulated_market_are_scored_like_those_on_a_replay(ground: Ground) -> None:
    lab, c = ground.lab, ground.client
    ground.empty()
    ground.use_simulated()
    symbol = c.settings.market.symbols[0]
    ground.many_votes(symbol, 10)
    lab.wait_until(lambda: c.score_votes().finished and ground.open() == 0, "all ended", 30)
    assert ground.states() == {"scored": 10}
    [row] = lab.rows("SELECT DISTINCT candle_ms, after_ms, close_then, close_after FROM vote_outcomes")
    alone = SimulatedMarket(c.settings.market.seed, [symbol]).candles(symbol, "1m", row.after_ms + MINUTE_MS, 25)
    assert (row.candle_ms, row.close_then) == (alone.open_time_ms[0], alone.close[0])
    assert (row.after_ms, row.close_after) == (alone.open_time_ms[-1], alone.close[-1])


def test_votes_that_workers_cast_are_scored_with_what_the_model_said_in_the_regime_it_was_told(ground: Ground) -> None:
    lab, c = ground.lab, ground.client
    ground.empty()
    ground.use_simulated()
    worker = lab.fleet.worker("trading_analysis", wait=False)
    contexts = [lab.store_context(symbol) for symbol in c.settings.market.symbols for _ in range(2)]
    runs = [run for context in contexts for run in lab.insert_votes(2, context, symbol=_symbol_of(lab, context))]
    lab.hint("trading_analysis", *runs)
    assert lab.wait_final(runs, 60) == {"completed": len(runs)}
    worker.terminate()
    # Votes are scored when they are 10 s old; that this is waited for is shown on a replay, with workers that score.
    lab.rows("UPDATE vote_outcomes SET voted_at = voted_at - interval '10 seconds'")
    lab.wait_until(lambda: c.score_votes().finished and ground.open() == 0, "all ended", 40)
    assert set(ground.states()) <= {"scored", "held"}
    statement = """
        SELECT o.*, v.body AS vote, c.body AS context FROM vote_outcomes o JOIN results v ON v.id = o.result_id
            JOIN results c ON c.id = CAST(v.inputs -> 0 ->> 'result_id' AS bigint)
    """
    ended = lab.rows(statement)
    assert len(ended) == len(runs)
    for row in ended:
        assert row.confidence == row.vote["original_confidence"]
        assert (row.model, row.signal) == (row.vote["model"], row.vote["signal"])
        assert row.regime == row.vote["regime"] == row.context["regime"]["regime"]
        if row.state == "scored":
            assert (row.candle_ms, row.close_then) == _newest(row.context)


def _symbol_of(lab: Lab, run_id: int) -> str:
    return str(lab.value("SELECT symbol FROM runs WHERE id = %s", run_id))


def _newest(context: dict[str, Any]) -> tuple[int, float]:
    return context["technical"]["newest_candle_ms"], context["technical"]["close"]
