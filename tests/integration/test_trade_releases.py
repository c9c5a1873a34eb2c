"""Scheduled trades under real processes that are killed while they release: each becomes one risk run, ever (F07)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from support.worlds import SLOT, PostgresWorld, born, taken

from aaos.domain.portfolio.trades import NewTrade, TradePlan
from aaos.domain.runs import Completed

ACCOUNT = "paper-portfolio"
WORKERS = 8
TRADES = 240
KILLS = 40
DUE_EVERY_S = 0.05
SEED = 11
TIMEOUT_S = 60
# What a worker's housekeeping does, without Celery around it: the transactions are the same. A release is held up
# between the claim and its commit, so that kills find it there.
WORKER = """
import sys, time
from sqlalchemy import text
from aaos.adapters.postgres import portfolio
from aaos.adapters.postgres.database import Database
from aaos.domain.runs import NewRun

plain = portfolio._risk_runs
def held_up(connection, spec, due):
    runs = plain(connection, spec, due)
    connection.execute(text("SELECT pg_sleep(0.05)"))
    return runs
portfolio._risk_runs = held_up
trades = portfolio.PostgresScheduledTrades(Database(sys.argv[1], pool_size=1))
spec = NewRun("risk_assessment", "", timeout_s=60.0, start_within_s=3600.0, request_key="risk:trade")
print("ready", flush=True)
while True:
    if not trades.release_due(spec, 3):
        time.sleep(0.01)
"""


class Crew:
    """Releasing processes of their own; whoever is killed is replaced."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._members: list[subprocess.Popen[str]] = []

    def hire(self) -> None:
        command = [sys.executable, "-c", WORKER, self._url]
        self._members.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ), start_new_session=True)
        )

    def kill_one(self, chance: random.Random) -> None:
        """Kills the one that has been at it for longest, wherever it is."""
        victim = self._members.pop(0)
        assert victim.stdout is not None
        assert victim.stdout.readline().strip() == "ready"
        time.sleep(chance.random() * DUE_EVERY_S)
        _end(victim)

    def dismiss(self) -> None:
        for member in self._members:
            _end(member)


def _end(member: subprocess.Popen[str]) -> None:
    member.kill()
    member.wait(10)
    if member.stdout is not None:
        member.stdout.close()


@contextmanager
def crew(url: str) -> Iterator[Crew]:
    hired = Crew(url)
    try:
        for _ in range(WORKERS):
            hired.hire()
        yield hired
    finally:
        hired.dismiss()


def _planned(world: PostgresWorld) -> None:
    run = taken(world.runs(), born(world.runs(), "*", SLOT, kind="portfolio_rebalance"))
    trades = tuple(
        NewTrade(ACCOUNT, f"S{n}/USDT", "sell", Decimal(1), 0, n * DUE_EVERY_S, 900.0, "an example")
        for n in range(TRADES)
    )
    world.runs().complete(run, Completed({}, trades=TradePlan(ACCOUNT, 0, (), trades)), publish=False)


@pytest.mark.requirement("F07")
def test_killed_in_between_eight_processes_release_every_trade_exactly_once(database_url: str) -> None:
    world, chance = PostgresWorld(database_url), random.Random(SEED)
    try:
        with crew(database_url) as processes:
            _planned(world)
            for _ in range(KILLS):
                processes.kill_one(chance)
                processes.hire()
            give_up_at = time.monotonic() + TIMEOUT_S
            while _open(world.session) and time.monotonic() < give_up_at:
                time.sleep(0.05)
        _check(world.session)
    finally:
        world.close()


def _open(session: psycopg.Connection[Any]) -> int:
    return int(session.execute("SELECT count(*) FROM scheduled_trades WHERE state = 'planned'").fetchall()[0][0])


def _check(session: psycopg.Connection[Any]) -> None:
    def value(statement: str) -> int:
        return int(session.execute(statement).fetchall()[0][0])  # type: ignore[arg-type]

    assert value("SELECT count(*) FROM scheduled_trades WHERE state = 'released'") == TRADES
    assert value("SELECT count(*) FROM runs WHERE kind = 'risk_assessment'") == TRADES, "no run without its trade"
    matched = """
        SELECT count(DISTINCT r.id) FROM scheduled_trades t
        JOIN runs r ON r.id = t.risk_run AND r.request_key = 'risk:trade:' || t.id
                   AND r.params ->> 'source' = 'trade:' || t.id AND r.symbol = t.symbol
    """
    assert value(matched) == TRADES
    # Ids of runs that were inserted and rolled back are missing: the kills came in between, as they were meant to.
    assert value("SELECT max(id) - count(*) FROM runs") >= 3, "no process was killed in the middle of a release"
