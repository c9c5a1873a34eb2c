"""Calibration on real servers: votes on a replay are scored by workers that die, and the figures are recomputed."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lab import IDLE, QUICK, Lab, module_environment, running_lab
from support.person import Person
from support.workers import PROJECT

from aaos.adapters.market.candle_files import HEADER, load_series
from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.calibration.outcomes import MARKET_SWITCHED, NO_CANDLE_THERE, SERIES_GONE, SET_BACK
from aaos.domain.runs import ClaimedRun, Completed, Input, NewRun
from aaos.errors import StaleInput
from aaos.services.use_market import use_replay, use_simulated

SPEED = 300.0
FAST = {"AAOS_SPEED": f"{SPEED:g}", "AAOS_CALIBRATION__SCORE_EVERY_S": "1"}
FIRST_MS = 1_600_000_020_000
MINUTE_MS = 60_000
HISTORY = 500
HOLED, ENDING, STEADY = "AAA/USDT", "BBB/USDT", "CCC/USDT"
# A real market beside the made ones, where there is one.
REAL = "BTC/USD"
REAL_FILE = (
    Path(os.environ.get("AAOS_TEST_DATA", PROJECT.parent / "shared" / "data")) / "candles/BTC-USD_1m_2018-04.csv"
)
# The replay of one file ends while it is voted on.
ROUNDS, ROUNDS_AT_MOST = 24, 90
KILLED_VOTES = 3_000
KILLS = 3  # while votes are read, and as many again while they are scored
MODELS = (("big", False), ("small", True))
REGIMES = ("ranging", "volatile")
numbers = count(1)

# Every row that is ended, as the database saw it: the table itself only shows the last writer.
WATCH = """
    CREATE TABLE ended_votes (result_id bigint, state text);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO ended_votes VALUES (NEW.result_id, NEW.state);
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER ends_noted AFTER UPDATE ON vote_outcomes FOR EACH ROW
    WHEN (NEW.state IN ('held', 'scored', 'unscorable')) EXECUTE FUNCTION note_end();
"""
# Votes on one stored context, by the thousand.
MANY_VOTES = """
    WITH cast_runs AS (
        INSERT INTO runs (kind, symbol, slot, request_key, state, timeout_s, start_within_s, deadline, finished_at)
        SELECT 'trading_analysis', %s, now(), 'many:' || %s || ':' || n, 'completed', 60, 60, now(), now()
        FROM generate_series(1, %s) AS n RETURNING id, request_key
    )
    INSERT INTO results (run_id, fence, kind, symbol, slot, scheduled, analyzed_at, body, content_hash, inputs)
    SELECT id, 1, 'trading_analysis', %s, now(), false, now() - interval '1 minute',
           json_build_object('voter', 'trend', 'model', 'big', 'fallback_used', false, 'confidence', (id %% 97) / 97.0,
                             'signal', CASE WHEN id %% 2 = 0 THEN 'BUY' ELSE 'SELL' END),
           'h', json_build_array(json_build_object('name', 'context', 'result_id', CAST(%s AS bigint)))
    FROM cast_runs
"""
SCORE_FOREVER = """
from aaos.bootstrap import container
import aaos.services.score_votes
container().vote_outcomes.unread(1)
print("scoring", flush=True)
while True:
    container().score_votes()
"""


def _write_candles(path: Path, seed: int, number: int, holes: Sequence[int] = ()) -> str:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, number)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    rows = [
        f"{FIRST_MS + at * MINUTE_MS},{opened[at]},{high[at]},{low[at]},{close[at]},10"
        for at in range(number)
        if at not in holes
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return str(path)


class Ground:
    """A replay that is being voted on."""

    def __init__(self, lab: Lab, files: dict[str, str]) -> None:
        self.lab = lab
        self.files = files
        self.client = lab.client
        self.dice = random.Random(5)

    def use(self, *symbols: str) -> None:
        c = self.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        now_ms = int(c.database.now().timestamp() * 1000)
        files = [f"{symbol}@1m={self.files[symbol]}" for symbol in symbols]
        use_replay(load_series(files), SPEED, now_ms, widest_ms, c.settings.market, c.market_store)

    def use_simulated(self) -> None:
        c = self.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        use_simulated(SPEED, int(c.database.now().timestamp() * 1000), widest_ms, c.settings.market, c.market_store)
        time.sleep(2.1)  # every process remembers for 2 s which market is in use

    def context(self, symbol: str) -> int:
        """Stores what is known of the symbol right now; returns the result's id. Raises StaleInput as a run would."""
        known = self.client.market.candles(symbol, self.client.database.now(), HISTORY).tail(100)
        regime = {"regime": self.dice.choice(REGIMES)}
        body = {"candles": {"timeframe": "1m", "rows": known.rows()}, "regime": regime}
        return self._store("trading_context", symbol, Completed(body))

    def vote_on(self, symbol: str, number: int) -> list[int]:
        """Casts votes on what is known now; none in a gap, and after the end of the file."""
        try:
            context = self.context(symbol)
        except StaleInput:
            return []
        return [self.vote(symbol, context) for _ in range(number)]

    def vote(self, symbol: str, context: int) -> int:
        model, fallback = self.dice.choice(MODELS)
        said = round(self.dice.random(), 3)
        body = {
            "voter": "trend",
            "model": model,
            "fallback_used": fallback,
            "signal": self.dice.choice(("BUY", "SELL", "BUY", "SELL", "HOLD")),
            "original_confidence": said,
            "confidence": said * 0.8 if fallback else said,
        }
        return self._store("trading_analysis", symbol, Completed(body, [Input("context", "h", "", context)]))

    def many_votes(self, symbol: str, number: int) -> None:
        """Casts votes on what is known now, or after the gap that the market is in."""
        for _ in range(20):
            try:
                context = self.context(symbol)
            except StaleInput:
                time.sleep(0.2)
            else:
                break
        self.lab.rows(MANY_VOTES, symbol, str(next(numbers)), number, symbol, context)

    def _store(self, kind: str, symbol: str, outcome: Completed) -> int:
        run_id, _ = self.client.runs.insert_request(NewRun(kind, symbol, 60, 600, f"{kind}:{next(numbers)}"))
        claimed = self.client.runs.claim(run_id, "the test", 10_000)
        assert isinstance(claimed, ClaimedRun), claimed
        result_id = self.client.runs.complete(claimed, outcome, publish=False).result_id
        assert result_id is not None
        return result_id

    def unread(self) -> int:
        return int(self.lab.value("SELECT count(*) FROM vote_outcomes WHERE state = 'unread'"))

    def open(self) -> int:
        statement = "SELECT count(*) FROM vote_outcomes WHERE state IN ('unread', 'waiting')"
        return int(self.lab.value(statement))

    def states(self) -> dict[str, int]:
        found = self.lab.rows("SELECT state, reason, count(*) AS number FROM vote_outcomes GROUP BY 1, 2")
        return {row.reason or row.state: row.number for row in found}

    def check_ended_once(self) -> None:
        doubled = "SELECT result_id FROM ended_votes GROUP BY result_id HAVING count(*) > 1"
        assert self.lab.rows(doubled) == []
        assert self.lab.value("SELECT count(*) FROM ended_votes") == self.lab.value(
            "SELECT count(*) FROM vote_outcomes"
        )

    def empty(self) -> None:
        self.lab.rows("TRUNCATE vote_outcomes, ended_votes")


@pytest.fixture(scope="module")
def ground(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("calibration")
    holes = [at for at in range(HISTORY + 10, 1_000) if at % 31 < 3]
    files = {
        HOLED: _write_candles(directory / "holed.csv", 1, 1_500, holes),
        ENDING: _write_candles(directory / "ending.csv", 2, HISTORY + 100),
        STEADY: _write_candles(directory / "steady.csv", 3, 30_000),
    }
    if REAL_FILE.exists():
        files[REAL] = str(REAL_FILE)
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, directory / "logs", {**IDLE, **QUICK, **FAST}) as lab,
    ):
        lab.rows(WATCH)
        yield Ground(lab, files)


def test_votes_on_a_replay_are_scored_by_workers_that_die_and_the_figures_are_those_of_the_files(
    ground: Ground,
) -> None:
    lab, symbols = ground.lab, tuple(ground.files)
    ground.use(*symbols)
    first = lab.fleet.worker("maintenance", wait=False)
    beat = lab.fleet.beat(wait=False)
    votes: list[int] = []
    playing = True
    for number in range(ROUNDS_AT_MOST):
        if number >= ROUNDS and not playing:
            break
        cast = {symbol: ground.vote_on(symbol, 4) for symbol in symbols}
        playing = bool(cast[ENDING])
        votes += [vote for each in cast.values() for vote in each]
        if number == ROUNDS // 2:
            first.wait_for(first.ready_text).kill()
            lab.fleet.worker("maintenance", wait=False)
        time.sleep(0.25)
    lab.wait_until(lambda: ground.open() == 0, "every vote has an end", 60)
    beat.terminate()
    assert lab.value("SELECT count(*) FROM vote_outcomes") == len(votes)
    ground.check_ended_once()
    expected = _recomputed(lab, ground.files)
    assert ground.states() == expected.states
    assert expected.states["scored"] > 100
    assert expected.states[NO_CANDLE_THERE] > 10
    report = Person(lab.environment).json("sovereign", "calibration")
    assert {(row["model"], row["fallback_used"], row["regime"]) for row in report["rows"]} == set(expected.groups)
    for row in report["rows"]:
        _check_row(row, expected.groups[row["model"], row["fallback_used"], row["regime"]])


class _Expected:
    """What other code makes of the same votes: rows of the files, no class and no formula of ours."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.groups: dict[tuple[str, bool, str | None], list[tuple[float, int, int]]] = defaultdict(list)
        self.held: Counter[tuple[str, bool, str | None]] = Counter()


def _recomputed(lab: Lab, files: dict[str, str]) -> _Expected:
    expected = _Expected()
    closes = {}
    for symbol, path in files.items():
        with Path(path).open(encoding="utf-8") as opened:
            closes[symbol] = {int(row["timestamp_ms"]): float(row["close"]) for row in csv.DictReader(opened)}
    statement = """
        SELECT v.symbol, v.body AS vote, c.body AS context FROM results v JOIN results c
            ON c.id = CAST(v.inputs -> 0 ->> 'result_id' AS bigint) WHERE v.kind = 'trading_analysis'
    """
    for row in lab.rows(statement):
        vote, then_ms = row.vote, row.context["candles"]["rows"][-1][0]
        source = (vote["model"], vote["fallback_used"])
        places = [(*source, None), (*source, row.context["regime"]["regime"])]
        for place in places:
            expected.groups.setdefault(place, [])
        if vote["signal"] == "HOLD":
            expected.states["held"] += 1
            expected.held.update(places)
            continue
        at_most_two_back = [then_ms + (24 - back) * 60_000 for back in range(3)]
        after = next((closes[row.symbol][ms] for ms in at_most_two_back if ms in closes[row.symbol]), None)
        if after is None:
            expected.states[NO_CANDLE_THERE] += 1
            continue
        expected.states["scored"] += 1
        move = (after - closes[row.symbol][then_ms]) / closes[row.symbol][then_ms]
        right = int(move > 0.0012 if vote["signal"] == "BUY" else move < -0.0012)
        for place in places:
            expected.groups[place].append((vote["original_confidence"], right, then_ms))
    return expected


def _check_row(row: dict[str, Any], votes: list[tuple[float, int, int]]) -> None:
    figures = row["figures"]
    if figures is None:
        assert votes == []
        return
    n = len(votes)
    said, right = [p for p, _, _ in votes], [y for _, y, _ in votes]
    share = sum(right) / n
    brier = sum((p - y) ** 2 for p, y, _ in votes) / n
    assert figures["votes"] == n
    assert figures["hit_rate"] == pytest.approx(share)
    assert figures["mean_confidence"] == pytest.approx(sum(said) / n)
    assert figures["brier"] == pytest.approx(brier)
    windows, ends_ms = 0, 0
    for _, _, then_ms in sorted(votes, key=lambda vote: vote[2]):
        if then_ms >= ends_ms:
            windows, ends_ms = windows + 1, then_ms + 24 * 60_000
    assert figures["windows"] == windows
    assert row["lesson"]["windows"] == windows
    assert not row["lesson"]["enough"]
    assert (row["in_force"], row["source"]) == ((0.8, "prior") if row["fallback_used"] else (1.0, "none"))


def test_the_shell_and_the_command_line_show_the_same_report_and_how_to_use_what_was_learned(ground: Ground) -> None:
    person = Person(ground.lab.environment)
    shown = person.types("sovereign", "calibration").stdout
    assert "big" in shown
    assert "volatile" in shown
    assert "learned multipliers are reported only" in shown
    assert "AAOS_CALIBRATION__USE_LEARNED_TRUST=true" in shown
    typed = person.python("said = aaos.calibration('big').to_dict()")
    assert typed == person.json("sovereign", "calibration", "--model", "big")
    only = person.json("sovereign", "calibration", "--regime", "volatile")
    assert {row["regime"] for row in only["rows"]} == {"volatile"}
    used = person.types("sovereign", "calibration", AAOS_CALIBRATION__USE_LEARNED_TRUST="true").stdout
    assert "learned multipliers are in force" in used
    told = person.types("sovereign", "calibration", "--model", "unknown-9b", status=1).stderr
    assert "models: big, small" in told


def _kill_scorers_at_work(ground: Ground, number_of: Callable[[], int]) -> tuple[int, int]:
    """Kills two scorers as soon as they have changed this number; returns how many votes are unread, and open."""
    before = number_of()
    scorers = [ground.lab.fleet.python("-c", SCORE_FOREVER, name=f"scorer{next(numbers)}") for _ in range(2)]
    for scorer in scorers:
        scorer.wait_for("scoring")
    give_up_at = time.monotonic() + 10
    while 0 < number_of() == before and time.monotonic() < give_up_at:
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
    time.sleep(24 * MINUTE_MS / 1000 / SPEED)  # the horizon
    left = [_kill_scorers_at_work(ground, count) for count in (ground.unread, ground.open) for _ in range(KILLS)]
    lab.wait_until(lambda: ground.client.score_votes().finished and ground.open() == 0, "all ended", 30)
    assert ground.states() == {"scored": KILLED_VOTES}
    ground.check_ended_once()
    print(left)
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
    ground.files[HOLED] = _write_candles(Path(ground.files[HOLED]).with_name("other.csv"), 9, 1_500)
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
    worker = lab.fleet.worker("trading_analysis")
    contexts = [lab.store_context(symbol) for symbol in c.settings.market.symbols for _ in range(2)]
    runs = [run for context in contexts for run in lab.insert_votes(2, context, symbol=_symbol_of(lab, context))]
    lab.hint("trading_analysis", *runs)
    assert lab.wait_final(runs, 60) == {"completed": len(runs)}
    worker.terminate()
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


def test_switched_on_what_was_learned_takes_the_place_of_the_prior_in_the_next_vote(ground: Ground) -> None:
    lab, c = ground.lab, ground.client
    symbol, model = c.settings.market.symbols[0], c.settings.voters["trend"].model
    ground.empty()
    ground.use_simulated()
    ground.many_votes(symbol, 10)
    lab.wait_until(lambda: c.score_votes().finished and ground.open() == 0, "all ended", 30)
    lab.rows("UPDATE vote_outcomes SET model = %s, confidence = 0.9, correct = false, regime = 'any'", model)
    on = {"AAOS_CALIBRATION__USE_LEARNED_TRUST": "true", "AAOS_CALIBRATION__MIN_VOTES": "1"}
    worker = lab.fleet.worker("trading_analysis", extra=on)
    [run] = lab.insert_votes(1, lab.store_context(symbol), "learned", symbol)
    lab.hint("trading_analysis", run)
    assert lab.wait_final([run], 60) == {"completed": 1}, lab.rows("SELECT reason FROM runs WHERE id = %s", run)
    worker.terminate()
    vote = lab.value("SELECT body FROM results WHERE run_id = %s", run)
    # Ten wrong votes at one time are one window against a prior that weighs fifty.
    assert (vote["trust_source"], vote["trust_factor"]) == ("learned", pytest.approx(50 / 51))
    assert vote["confidence"] == pytest.approx(vote["original_confidence"] * 50 / 51)
    shown = Person({**lab.environment, **on}).json("sovereign", "calibration")["rows"][0]
    assert (shown["in_force"], shown["source"]) == (vote["trust_factor"], "learned")


def _symbol_of(lab: Lab, run_id: int) -> str:
    return str(lab.value("SELECT symbol FROM runs WHERE id = %s", run_id))


def _newest(context: dict[str, Any]) -> tuple[int, float]:
    return context["technical"]["newest_candle_ms"], context["technical"]["close"]
