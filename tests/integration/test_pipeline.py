"""The whole pipeline on replayed candles: stored, announced, linked, and honest about what it could not do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celery import chord
from support.checks import check_ledger, check_publishing, check_runs, stream_entries
from support.lab import QUICK, Lab, module_environment, running_lab
from support.workers import PROJECT

from aaos.adapters.market.candle_files import HEADER, load_series
from aaos.domain.signals import candles_to_read
from aaos.services.replay_decision import replay_decision
from aaos.services.tick_schedule import STAGES, new_run
from aaos.services.use_market import use_replay

MADE = ("AAA/USDT", "BBB/USDT")
BROKEN = "CCC/USDT"
REAL_FILES = (
    "BTC-USDT_1m_2022-01.csv",
    "BTC-USD_1m_2018-04.csv",
    "ETH-USD_1m_2018-04.csv",
    "LTC-USD_1m_2018-04.csv",
)
REAL = ("BTC/USDT", "BTC/USD", "ETH/USD", "LTC/USD")
REAL_DIRECTORY = Path(os.environ.get("AAOS_TEST_DATA", PROJECT.parent / "shared" / "data")) / "candles"
VOTERS = {"trend", "reversal", "risk"}
PIPELINE = ("technical_analysis", "regime_detection", "trading_decision")
IO_QUEUES = (
    *(*STAGES.values(), "trading_analysis", "trading_decision", "risk_assessment", "execution", "portfolio_rebalance"),
    *("result_publishing", "maintenance"),
)
FIRST_CANDLE_MS = 1_600_000_020_000


def _write_candles(path: Path, seed: int, count: int = 700) -> str:
    """A random walk of one-minute candles; long enough for the history and an hour of play."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    volume = rng.uniform(10, 100, count)
    columns = (opened, high, low, close, volume)
    rows = [
        ",".join([str(FIRST_CANDLE_MS + i * 60_000), *(str(column[i]) for column in columns)]) for i in range(count)
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running system that has just decided on every symbol once; beat has stopped again."""
    directory = tmp_path_factory.mktemp("pipeline")
    files = [
        _write_candles(directory / f"{symbol.replace('/', '-')}_1m.csv", seed)
        for seed, symbol in enumerate((*MADE, BROKEN))
    ]
    files += [str(REAL_DIRECTORY / name) for name in REAL_FILES if (REAL_DIRECTORY / name).exists()]
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, directory / "logs", QUICK, latency_ms=50) as lab,
    ):
        c = lab.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        now_ms = int(c.database.now().timestamp() * 1000)
        use_replay(load_series(files), 1.0, now_ms, widest_ms, c.settings.market, c.market_store)
        lab.rows("DELETE FROM candles WHERE symbol = %s AND open_ms > %s", BROKEN, FIRST_CANDLE_MS + 100 * 60_000)
        lab.fleet.worker("technical_analysis", "regime_detection", pool="prefork", concurrency=2, wait=False)
        lab.fleet.worker(*IO_QUEUES, wait=False)
        beat = lab.fleet.beat(wait=False)
        lab.fleet.wait_ready()
        decided = "SELECT 1 FROM runs WHERE kind = 'trading_decision' AND finished_at IS NOT NULL"
        lab.wait_until(lambda: len(lab.rows(decided)) == len(files), f"{len(files)} decisions", 60)
        beat.terminate()
        # A sweep that is late repairs the ticks of a slot that has begun meanwhile.
        lab.wait_until(lambda: _all_taken(lab), "what beat asked for is done", 30)
        lab.wait_until(lambda: not lab.rows("SELECT 1 FROM runs WHERE finished_at IS NULL"), "all final", 30)
        lab.wait_published()
        yield lab


def _all_taken(lab: Lab) -> bool:
    """Whether no message of beat's waits, or is being worked on: they are acknowledged last."""
    broker = lab.broker()
    return broker.llen("maintenance") == 0 and broker.hlen("unacked") == 0


def test_workers_keep_no_subscription_per_chord_they_send(lab: Lab) -> None:
    assert lab.redis().pubsub_channels("celery-task-meta-*") == []


def _result(lab: Lab, kind: str, symbol: str) -> Any:
    found = lab.client.results.results(10, kind, symbol)
    assert found, f"no {kind} of {symbol}; its runs: {lab.rows('SELECT * FROM runs WHERE symbol = %s', symbol)}"
    return found[-1]


@pytest.mark.requirement("P1")
@pytest.mark.requirement("P2")
@pytest.mark.requirement("F03")
def test_every_replayed_symbol_gets_technical_regime_and_decision_stored_and_announced(lab: Lab) -> None:
    announced = {int(entry["result_id"]) for _, entry in stream_entries(lab.redis())}
    for symbol in MADE:
        for kind in PIPELINE:
            assert _result(lab, kind, symbol).id in announced, f"{kind} of {symbol} is on no stream"
    counted = check_publishing(lab.rows, lab.redis())
    assert counted["entries"] == counted["distinct"] == counted["results"]
    check_runs(lab.rows)
    check_ledger(lab.rows, lab.simulator.transcript())


@pytest.mark.skipif(not REAL_DIRECTORY.is_dir(), reason="no real candles here (AAOS_TEST_DATA)")
def test_real_candles_of_four_markets_played_together_lead_to_a_decision_each(lab: Lab) -> None:
    for symbol in REAL:
        decision = _result(lab, "trading_decision", symbol)
        assert decision.body["signal"] in ("BUY", "SELL", "HOLD")
        assert decision.body["symbol"] == symbol


@pytest.mark.requirement("D1")
def test_a_decision_leads_back_to_its_candles_by_result_ids_and_matching_hashes(lab: Lab) -> None:
    for symbol in MADE:
        decision = _result(lab, "trading_decision", symbol)
        inputs = {each["name"]: each for each in decision.inputs}
        assert set(inputs) == {"trading_context", *VOTERS}
        for each in decision.inputs:
            assert lab.client.results.result(each["result_id"]).content_hash == each["content_hash"]
        context = lab.client.results.result(inputs["trading_context"]["result_id"])
        for voter in VOTERS:
            vote = lab.client.results.result(inputs[voter]["result_id"])
            assert [each["result_id"] for each in vote.inputs] == [context.id]
        _check_context(lab, symbol, context)


@pytest.mark.requirement("D2")
def test_every_decision_made_again_from_what_is_stored_comes_out_the_same_to_the_byte(lab: Lab) -> None:
    decisions = lab.rows("SELECT run_id FROM results WHERE kind = 'trading_decision'")
    assert len(decisions) >= len(MADE)
    for row in decisions:
        assert replay_decision(row.run_id, lab.client.runs, lab.client.results).same


def _check_context(lab: Lab, symbol: str, context: Any) -> None:
    sources = {each["name"]: each for each in context.inputs}
    for kind in PIPELINE[:2]:
        assert sources[kind]["result_id"] == _result(lab, kind, symbol).id
        assert sources[kind]["content_hash"] == _result(lab, kind, symbol).content_hash
    technical = _result(lab, "technical_analysis", symbol)
    settings, market = lab.client.settings, lab.client.market
    count = candles_to_read(market.timeframe(symbol), settings.market.history_candles, settings.signals)
    read = market.candles(symbol, technical.slot, count)
    assert technical.inputs[0]["content_hash"] == read.content_hash()


@pytest.mark.requirement("Q6")
@pytest.mark.requirement("F03")
def test_a_decision_whose_input_failed_is_skipped_and_says_why(lab: Lab) -> None:
    failed = lab.rows("SELECT * FROM runs WHERE symbol = %s AND kind = 'technical_analysis'", BROKEN)[0]
    assert (failed.state, failed.failure_source) == ("failed", "validation")
    for kind in ("trading_context", "trading_decision"):
        run = lab.rows("SELECT * FROM runs WHERE symbol = %s AND kind = %s", BROKEN, kind)[0]
        assert run.state == "skipped"
        assert "dependency" in run.reason
    assert "are needed (market.min_candles)" in run.reason, "the first cause is handed on"
    assert not lab.rows("SELECT 1 FROM results WHERE symbol = %s", BROKEN)


@pytest.mark.requirement("F01")
def test_a_tick_delivered_five_times_adds_no_run(lab: Lab) -> None:
    for schedule in PIPELINE:
        for _ in range(5):
            lab.client.hints.tick(schedule)
    lab.wait_until(lambda: lab.broker().llen("maintenance") == 0, "the ticks are taken")
    time.sleep(0.5)
    doubled = """
        SELECT kind, symbol, slot FROM runs WHERE request_key IS NULL GROUP BY kind, symbol, slot HAVING count(*) > 1
    """
    assert lab.rows(doubled) == []


@pytest.mark.requirement("FM-TAW-011")
def test_a_decision_requested_twice_under_one_key_is_one_run_with_one_answer(lab: Lab) -> None:
    first = lab.client.request("trading_decision", MADE[0], "the caller's own key")
    again = lab.client.request("trading_decision", MADE[0], "the caller's own key")
    assert (again.run_id, again.created) == (first.run_id, False)
    assert lab.wait_final([first.run_id], 30) == {"completed": 1}
    later = lab.client.request("trading_decision", MADE[0], "the caller's own key")
    assert lab.client.results.result_of_run(later.run_id) is not None


@pytest.mark.requirement("F03")
@pytest.mark.requirement("D1")
def test_a_decision_on_an_input_older_than_allowed_is_skipped_as_stale(lab: Lab) -> None:
    technical = _result(lab, "technical_analysis", MADE[1])
    lab.rows("UPDATE results SET analyzed_at = analyzed_at - interval '1 hour' WHERE id = %s", technical.id)
    run_id, context_id = _decision_on(lab, MADE[1], "on stale input")
    # Nobody sends a message here: the sweep finds that all it waits for is done.
    lab.wait_until(lambda: _swept_to(lab, run_id, "skipped"), "skipped", 20)
    stale = lab.value("SELECT reason FROM runs WHERE id = %s", context_id)
    lab.rows("UPDATE results SET analyzed_at = analyzed_at + interval '1 hour' WHERE id = %s", technical.id)
    assert stale.startswith("stale input: technical_analysis")
    assert "120 s are allowed" in stale
    assert "stale input" in lab.value("SELECT reason FROM runs WHERE id = %s", run_id)


def _swept_to(lab: Lab, run_id: int, state: str) -> bool:
    """Sweeps once, as beat would have it done, and looks."""
    lab.client.recover()
    return lab.state(run_id) == state


def _decision_on(lab: Lab, symbol: str, key: str) -> tuple[int, int]:
    """Inserts a decision that reuses the symbol's scheduled inputs; returns its id and its context's."""
    settings = lab.client.settings
    inputs = [(new_run(kind, symbol, settings), _result(lab, kind, symbol).slot) for kind in PIPELINE[:2]]
    stage = new_run("trading_context", symbol, settings, f"{key}:context")
    spec = new_run("trading_decision", symbol, settings, key)
    plan = lab.client.runs.insert_pipeline(spec, [symbol], None, stage, inputs)[0]
    assert plan.header == []
    return plan.run_id, plan.body[0]


@pytest.mark.requirement("F01")
@pytest.mark.requirement("FM-TAW-011")
def test_header_tasks_delivered_twice_count_once_and_the_body_runs_once(lab: Lab) -> None:
    requested = _unsent_decision(lab, "header twice")
    app = lab.client.hints._app
    sign = [app.signature(kind, args=(run,), queue=kind, immutable=True) for run, kind in requested.header]
    body = app.signature(requested.body[1], args=(requested.body[0],), queue=requested.body[1], immutable=True)
    workers = [each for each in lab.fleet.processes if each.ready_text == " ready." and each.is_running()]
    for worker in workers:
        worker.freeze()
    try:
        chord(sign, body, app=app).apply_async().forget()
        for kind in PIPELINE[:2]:
            for message in lab.broker().lrange(kind, 0, -1):
                lab.broker().rpush(kind, message)
    finally:
        for worker in workers:
            worker.thaw()
    ids = [run for run, _ in requested.header] + [requested.body[0], requested.run_id]
    assert lab.wait_final(ids, 30) == {"completed": 4}
    taken = lab.rows("SELECT kind, attempt FROM runs WHERE id = ANY(%s)", ids)
    assert {row.attempt for row in taken} == {1}, taken
    check_runs(lab.rows)


def _unsent_decision(lab: Lab, key: str) -> Any:
    settings = lab.client.settings
    inputs = [(new_run(kind, MADE[0], settings, f"{key}:{kind}"), None) for kind in PIPELINE[:2]]
    stage = new_run("trading_context", MADE[0], settings, f"{key}:context")
    spec = new_run("trading_decision", MADE[0], settings, key)
    return lab.client.runs.insert_pipeline(spec, [MADE[0]], None, stage, inputs)[0]


@pytest.mark.requirement("F03")
@pytest.mark.requirement("Q2")
def test_a_chord_whose_counters_were_lost_still_gets_its_body_from_the_sweep(lab: Lab) -> None:
    lab.simulator.behave(latency_ms=1000)
    try:
        requested = lab.client.request("trading_decision", MADE[0], "counters lost")
        voting = """
            SELECT 1 FROM runs vote JOIN run_dependencies d ON d.depends_on_id = vote.id
            WHERE d.run_id = %s AND vote.kind = 'trading_analysis' AND vote.state = 'running'
        """
        lab.wait_until(lambda: len(lab.rows(voting, requested.run_id)) == 3, "three votes at work", 30)
        removed = sum(lab.redis().delete(key) for key in lab.redis().scan_iter("celery-taskset-meta-*"))
        removed += sum(lab.redis().delete(key) for key in lab.redis().scan_iter("*.j"))
        removed += sum(lab.redis().delete(key) for key in lab.redis().scan_iter("*.t"))
        assert lab.state(requested.run_id) == "pending"
        lab.wait_until(lambda: not lab.rows(voting, requested.run_id), "the votes are cast", 30)
        lab.wait_until(lambda: _swept_to(lab, requested.run_id, "completed"), "decided", 30)
    finally:
        lab.simulator.behave(latency_ms=50)
    assert lab.value("SELECT count(*) FROM results WHERE run_id = %s", requested.run_id) == 1
    assert lab.value("SELECT attempt FROM runs WHERE id = %s", requested.run_id) == 1


@pytest.mark.requirement("F05")
def test_votes_of_three_symbols_are_cast_side_by_side(lab: Lab) -> None:
    """Three times 500 ms in less than a second: shown by what overlapped, not by a clock on a busy machine."""
    symbols = [*MADE, MADE[0]]
    contexts = [lab.store_context(symbol) for symbol in symbols]
    votes = [lab.insert_votes(1, context, "side by side")[0] for context in contexts]
    lab.simulator.behave(latency_ms=500)
    try:
        lab.hint("trading_analysis", *votes)
        assert lab.wait_final(votes, 30) == {"completed": 3}
    finally:
        lab.simulator.behave(latency_ms=50)
    spans = lab.rows("SELECT started_at, finished_at FROM runs WHERE id = ANY(%s)", votes)
    one_after_another_s = sum((row.finished_at - row.started_at).total_seconds() for row in spans)
    together_s = (max(row.finished_at for row in spans) - min(row.started_at for row in spans)).total_seconds()
    assert one_after_another_s >= 1.5
    assert max(row.started_at for row in spans) < min(row.finished_at for row in spans), "all three at once"
    assert together_s < one_after_another_s * 2 / 3
