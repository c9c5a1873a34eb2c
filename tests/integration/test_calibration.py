"""Calibration on real servers: votes on a replay are scored by workers that die, and the figures are recomputed."""

from __future__ import annotations

import csv
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import Lab
from support.person import Person
from support.voting import ENDING, Ground, voting_ground

from aaos.domain.calibration.outcomes import NO_CANDLE_THERE

# The replay of one file ends while it is voted on.
ROUNDS, ROUNDS_AT_MOST = 24, 90


@pytest.fixture(scope="module")
def ground(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with voting_ground(databases, valkey_server, tmp_path_factory.mktemp("calibration")) as ground:
        yield ground


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


def test_switched_on_what_was_learned_takes_the_place_of_the_prior_in_the_next_vote(ground: Ground) -> None:
    lab, c = ground.lab, ground.client
    on = {"AAOS_CALIBRATION__USE_LEARNED_TRUST": "true", "AAOS_CALIBRATION__MIN_VOTES": "1"}
    symbol, model = c.settings.market.symbols[0], c.settings.voters["trend"].model
    worker = lab.fleet.worker("trading_analysis", wait=False, extra=on)
    ground.empty()
    ground.use_simulated()
    ground.many_votes(symbol, 10)
    lab.wait_until(lambda: c.score_votes().finished and ground.open() == 0, "all ended", 30)
    lab.rows("UPDATE vote_outcomes SET model = %s, confidence = 0.9, correct = false, regime = 'any'", model)
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
