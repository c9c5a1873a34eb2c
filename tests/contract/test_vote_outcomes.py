"""What became of votes: the store's contract, in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from threading import Thread

import pytest
from support.worlds import MemoryWorld, PostgresWorld, World, analysis, taken

from aaos.adapters.memory import MemoryVoteOutcomes
from aaos.adapters.postgres.calibration import PostgresVoteOutcomes
from aaos.adapters.trust import CachedTrust
from aaos.domain.calibration import CalibrationRules, SeriesNow, StateCount, VoteOutcome, read_vote
from aaos.domain.runs import Completed, Input
from aaos.ports import VoteOutcomes

RULES = CalibrationRules()
MINUTE_MS = 60_000
NEWEST_MS = 99 * MINUTE_MS
DUE_MS = NEWEST_MS + RULES.horizon_candles * MINUTE_MS
ROWS = [[at * MINUTE_MS, 100.0, 101.0, 99.0, 100.0 + at / 7, 10.0] for at in range(100)]
numbers = count(1)


class Votes:
    """Votes in one world."""

    def __init__(self, world: World, outcomes: VoteOutcomes) -> None:
        self.world = world
        self.outcomes = outcomes

    def cast(self, signal: str = "BUY", symbol: str = "BTC/USDT", confidence: float = 0.7, model: str = "big") -> int:
        context = self._store("trading_context", symbol, Completed(
            {"candles": {"timeframe": "1m", "rows": ROWS}, "regime": {"regime": "ranging"}, "technical": {"x": 1}}
        ))  # fmt: skip
        said = {"voter": "trend", "model": model, "signal": signal, "confidence": confidence, "fallback_used": False}
        return self._store("trading_analysis", symbol, Completed(said, [Input("context", "h", "", context)]))

    def other_result(self) -> int:
        return self._store("technical_analysis", "BTC/USDT", Completed({"signal": "BUY"}))

    def _store(self, kind: str, symbol: str, outcome: Completed) -> int:
        runs = self.world.runs()
        run_id, _ = runs.insert_request(analysis(kind, symbol, request_key=f"outcomes:{next(numbers)}"))
        result_id = runs.complete(taken(runs, run_id), outcome, publish=False).result_id
        assert result_id is not None
        return result_id

    def read(self, rules: CalibrationRules = RULES) -> list[VoteOutcome]:
        """Reads all new votes; returns what was said of them."""
        read = [read_vote(vote, rules) for vote in self.outcomes.unread(1_000)]
        assert self.outcomes.write(read) == len(read)
        return read

    def due(
        self, newest_ms: int = DUE_MS, symbols: Sequence[str] = ("BTC/USDT",), limit: int = 10
    ) -> list[VoteOutcome]:
        return list(self.outcomes.due(self._in_use(newest_ms, symbols), self._later(), limit))

    def stranded(self, newest_ms: int = DUE_MS, symbols: Sequence[str] = ("BTC/USDT",)) -> list[int]:
        found = self.outcomes.stranded(self._in_use(newest_ms, symbols), self._later(), 10)
        return sorted(each.result_id for each in found)

    def _in_use(self, newest_ms: int, symbols: Sequence[str]) -> list[SeriesNow]:
        return [SeriesNow(symbol, "1m", newest_ms) for symbol in symbols]

    def _later(self) -> datetime:
        return self.world.now() + timedelta(seconds=1)

    def counted(self, rules: CalibrationRules = RULES) -> dict[tuple[str, bool | None], int]:
        found: dict[tuple[str, bool | None], int] = {}
        for each in self.outcomes.counts(rules):
            found[each.state, each.current] = found.get((each.state, each.current), 0) + each.count
        return found


@pytest.fixture
def votes(world: World) -> Votes:
    if isinstance(world, MemoryWorld):
        return Votes(world, MemoryVoteOutcomes(world.database))
    assert isinstance(world, PostgresWorld)
    return Votes(world, PostgresVoteOutcomes(world.database))


def ended(outcome: VoteOutcome, right: bool = True) -> VoteOutcome:
    """The same vote, scored."""
    error = ((outcome.confidence or 0) - right) ** 2
    close = 120.0 if right else 110.0
    return replace(
        outcome, state="scored", after_ms=outcome.due_ms, close_after=close, correct=right, squared_error=error
    )


def test_every_stored_vote_is_unread_at_once_with_its_context_and_nothing_else_is(votes: Votes) -> None:
    votes.other_result()
    first, second = votes.cast(), votes.cast("HOLD")
    unread = votes.outcomes.unread(10)
    assert [each.result_id for each in unread] == [first, second]
    assert [each.result_id for each in votes.outcomes.unread(1)] == [first]
    assert unread[0].symbol == "BTC/USDT"
    assert abs((unread[0].voted_at - votes.world.now()).total_seconds()) < 5
    assert unread[0].body is not None
    assert unread[0].body["signal"] == "BUY"
    assert unread[0].context is not None
    assert unread[0].context["candles"] == {"timeframe": "1m", "rows": ROWS}
    assert unread[0].context["regime"]["regime"] == "ranging"


def test_a_vote_whose_context_is_not_stored_has_none(votes: Votes) -> None:
    said = {"signal": "BUY", "confidence": 0.7}
    votes._store("trading_analysis", "BTC/USDT", Completed(said, [Input("context", "h", "", 2**40)]))
    assert [each.context for each in votes.outcomes.unread(10)] == [None]


def test_a_vote_comes_back_as_it_was_read_once_its_horizon_is_over(votes: Votes) -> None:
    votes.cast(confidence=0.1 + 0.2)
    [read] = votes.read()
    assert votes.outcomes.unread(10) == []
    assert votes.due(DUE_MS - 1) == []
    [due] = votes.due()
    assert due == read
    assert due.close_then == ROWS[-1][4]


def test_what_is_due_comes_oldest_first_of_the_series_in_use_and_no_more_than_asked_for(votes: Votes) -> None:
    a, b, c = votes.cast(symbol="A/USDT"), votes.cast(), votes.cast(symbol="C/USDT")
    votes.read()
    assert [each.result_id for each in votes.due(symbols=["A/USDT", "BTC/USDT"])] == [a, b]
    assert [each.result_id for each in votes.due(symbols=["C/USDT"])] == [c]
    assert [each.result_id for each in votes.due(symbols=["A/USDT", "BTC/USDT", "C/USDT"], limit=2)] == [a, b]
    assert votes.due(symbols=[]) == []


def test_a_vote_stored_too_lately_is_not_due(votes: Votes) -> None:
    votes.cast()
    votes.read()
    in_use = [SeriesNow("BTC/USDT", "1m", DUE_MS)]
    earlier = votes.world.now() - timedelta(seconds=60)
    assert votes.outcomes.due(in_use, earlier, 10) == []
    assert votes.outcomes.stranded([], earlier, 10) == []


def test_votes_on_another_series_or_ahead_of_the_market_are_stranded(votes: Votes) -> None:
    here, there = votes.cast(), votes.cast(symbol="ETH/USDT")
    votes.read()
    assert votes.stranded() == [there]
    assert votes.stranded(NEWEST_MS) == [there]
    assert votes.stranded(NEWEST_MS - 1) == [here, there]
    assert votes.stranded(symbols=[]) == [here, there]


def test_a_score_is_kept_to_the_last_bit_and_dated_by_the_store(votes: Votes) -> None:
    votes.cast(confidence=0.1 + 0.2)
    [read] = votes.read()
    assert votes.outcomes.write([ended(read)]) == 1
    [kept] = votes.outcomes.scored(RULES, 10)
    assert kept.scored_at is not None
    assert abs((kept.scored_at - votes.world.now()).total_seconds()) < 5
    assert replace(kept, scored_at=None) == ended(read)


def test_what_has_ended_stays_as_it_is_whoever_writes(votes: Votes) -> None:
    votes.cast()
    [read] = votes.read()
    votes.outcomes.write([ended(read)])
    [kept] = votes.outcomes.scored(RULES, 10)
    late = [ended(read, right=False), replace(read, state="unscorable", reason="too late"), read]
    assert [votes.outcomes.write([each]) for each in late] == [0, 0, 0]
    assert list(votes.outcomes.scored(RULES, 10)) == [kept]
    assert votes.due() == []


def test_a_waiting_vote_is_not_read_anew_under_other_rules(votes: Votes) -> None:
    votes.cast()
    [read] = votes.read()
    assert votes.outcomes.write([replace(read, horizon_candles=1, due_ms=NEWEST_MS + MINUTE_MS)]) == 0
    assert votes.due() == [read]


def test_an_outcome_of_no_stored_vote_is_not_kept(votes: Votes) -> None:
    votes.cast()
    [read] = votes.read()
    assert votes.outcomes.write([replace(ended(read), result_id=2**40)]) == 0
    assert votes.outcomes.scored(RULES, 10) == []


def test_scores_are_found_newest_first_by_horizon_and_threshold(votes: Votes) -> None:
    other = replace(RULES, horizon_candles=12)
    a, b = votes.cast(), votes.cast()
    votes.outcomes.write([ended(each) for each in votes.read()])
    c = votes.cast()
    votes.outcomes.write([ended(each) for each in votes.read(other)])

    def found(rules: CalibrationRules, limit: int = 10) -> list[int]:
        return [each.result_id for each in votes.outcomes.scored(rules, limit)]

    assert (found(RULES), found(RULES, 1), found(other)) == ([b, a], [b], [c])
    assert found(replace(RULES, min_move_fraction=0.5)) == []


def test_all_votes_are_counted_by_state(votes: Votes) -> None:
    for signal in ("BUY", "HOLD", "SELL", "no vote"):
        votes.cast(signal)
    first, *_ = votes.read()
    votes.outcomes.write([ended(first)])
    votes.cast()
    assert votes.counted() == {
        ("scored", True): 1, ("held", None): 1, ("waiting", True): 1, ("unscorable", None): 1, ("unread", None): 1,
    }  # fmt: skip
    assert votes.counted(replace(RULES, horizon_candles=1))["scored", False] == 1
    unscorable = [each for each in votes.outcomes.counts(RULES) if each.state == "unscorable"]
    assert unscorable == [StateCount("big", False, "ranging", "unscorable", "what is stored is not a vote", None, 1)]


def test_of_sixteen_writers_at_once_exactly_one_ends_each_vote(votes: Votes) -> None:
    for _ in range(20):
        votes.cast()
    read = votes.read()
    changed: list[int] = []

    def write(right: bool) -> None:
        order = read if right else list(reversed(read))
        changed.append(votes.outcomes.write([ended(each, right) for each in order]))

    writers = [Thread(target=write, args=(number % 2 == 0,)) for number in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(changed) == [0] * 15 + [20]
    assert len({each.correct for each in votes.outcomes.scored(RULES, 100)}) == 1


def test_what_was_learned_is_told_of_any_store_when_it_is_switched_on(votes: Votes) -> None:
    for _ in range(3):
        votes.cast(confidence=0.8)
    votes.outcomes.write([ended(each, right=False) for each in votes.read()])
    on = replace(RULES, use_learned_trust=True, min_votes=1, prior_votes=1)
    trust = CachedTrust(votes.outcomes, on, 0.8)
    # Three wrong votes at one time are one window and weigh as much as the prior: 1 → 0.5; for the regime 0.5 → 0.25.
    assert trust.factor("big", "volatile") == pytest.approx(0.5)
    assert trust.factor("big", "ranging") == pytest.approx(0.25)
    assert trust.factor("small", "ranging") is None
    assert CachedTrust(votes.outcomes, RULES, 0.8).factor("big", "ranging") is None


def test_a_vote_that_is_odd_in_every_field_holds_up_no_other(votes: Votes) -> None:
    odd = {
        "voter": 7,
        "model": "\U0001f40d" * 500,
        "regime": ["x"],
        "signal": "SELL",
        "confidence": 1,
        "fallback_used": 3,
    }
    row = [2**62, 1e308, 1e308, 1e-308, 5e-324, 0]
    context = votes._store("trading_context", "BTC/USDT", Completed({"candles": {"timeframe": "1m", "rows": [row]}}))
    votes._store("trading_analysis", "BTC/USDT", Completed(odd, [Input("context", "h", "", context)]))
    votes._store("trading_analysis", "BTC/USDT", Completed({**odd, "signal": "HOLD", "model": "a\tb\x7f"}))
    votes._store("trading_analysis", "BTC/USDT", Completed({}))
    sound = votes.cast()
    assert [each.state for each in votes.read()] == ["unscorable", "held", "unscorable", "waiting"]
    assert [each.result_id for each in votes.due()] == [sound]
    assert {each.model for each in votes.outcomes.counts(RULES)} == {"\U0001f40d" * 200, "ab", "unknown", "big"}
