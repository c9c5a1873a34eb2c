"""A database from before the Sovereign ledger had its present form: nothing in it is lost, there and back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import aaos.adapters.postgres.database
from aaos.adapters.postgres.call_book import PostgresCallBook
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.ledger import PostgresSovereignLedger
from aaos.adapters.postgres.schema import migrate
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import BudgetRules
from aaos.domain.model_request import AnswerFormat, ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, NewRun, RunRules
from aaos.errors import SovereignTimeout
from aaos.local.postgres import PostgresServer
from aaos.ports import CallPlan

MIGRATIONS = Path(aaos.adapters.postgres.database.__file__).parent / "migrations"
BEFORE, AFTER = "0001", "0002"
REQUEST = {
    "model": "sovereign-32b", "system": "You weigh trades.", "user": "candles é 漢", "temperature": 0.0,
    "max_tokens": 700, "seed": 0,
}  # fmt: skip
ANSWER = {
    "model": "Qwen/Qwen2.5-32B", "content": '{"signal": "BUY"}', "tokens_in": 2024, "tokens_out": 120,
    "latency_ms": 1234.5678, "finish_reason": "stop", "request_id": "chatcmpl-1",
}  # fmt: skip
NAUGHTY = {**REQUEST, "user": "nul \0 and half a pair \ud800 and a literal \\u0000"}
RUN = """
    INSERT INTO runs (kind, symbol, slot, request_key, state, timeout_s, start_within_s, deadline, params, finished_at,
                      failure_source)
    VALUES ('trading_analysis', 'BTC/USDT', now(), %s, %s, 30, 30, now(), %s, now(), %s) RETURNING id
"""
CALL = """
    INSERT INTO sovereign_calls (run_id, fence, model, prompt_hash, request, state, answer, tokens_in, tokens_out,
                                 latency_ms, error_code, error_message, began_at, ended_at)
    VALUES (%(run_id)s, 7, 'sovereign-32b', %(prompt_hash)s, %(request)s, %(state)s, %(answer)s, %(tokens_in)s,
            %(tokens_out)s, %(latency_ms)s, %(error_code)s, %(error_message)s, '2026-03-01 23:59:59.5+00', %(ended_at)s)
    RETURNING id
"""
OLD_COLUMNS = """
    SELECT id, run_id, fence, model, prompt_hash, request, state, answer, tokens_in, tokens_out, latency_ms, error_code,
           error_message, began_at, ended_at
    FROM sovereign_calls ORDER BY id
"""


@pytest.fixture
def old_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of revision 0001."""
    name = f"old_{os.getpid()}"
    server = postgres_server.dsn.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = make_url(postgres_server.dsn).set(database=name).render_as_string(hide_password=False)
        go_to(url, BEFORE)
        yield url
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def go_to(url: str, revision: str, *, down: bool = False) -> None:
    """Brings the schema to that revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    engine = create_engine(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        connection.commit()
    engine.dispose()


@contextmanager
def session(url: str, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, **options) as connection:
        yield connection


def a_run(at: psycopg.Connection[Any], key: str, state: str, failure_source: str | None = None) -> int:
    row = at.execute(RUN, (key, state, json.dumps({"voter": "trend", "context_run": 4}), failure_source)).fetchone()
    return int(row[0])  # type: ignore[index]


def a_call(at: psycopg.Connection[Any], run_id: int, state: str, **columns: Any) -> int:
    defaults: dict[str, Any] = dict.fromkeys(
        ("answer", "tokens_in", "tokens_out", "latency_ms", "error_code", "error_message", "ended_at")
    )
    request = columns.pop("request", REQUEST)
    values = {**defaults, "run_id": run_id, "state": state, "prompt_hash": "p1", **columns}
    if values["answer"] is not None:
        answer = values["answer"]
        values |= {name: answer[name] for name in ("tokens_in", "tokens_out", "latency_ms")}
        values |= {"answer": json.dumps(answer), "ended_at": "2026-03-02 00:00:01+00"}
    values["request"] = json.dumps(request, sort_keys=True)
    row = at.execute(CALL, values).fetchone()
    return int(row[0])  # type: ignore[index]


def old_rows(url: str) -> list[dict[str, Any]]:
    with session(url, row_factory=dict_row) as at:
        return at.execute(OLD_COLUMNS).fetchall()


def test_every_old_call_is_found_in_the_new_form_and_its_answer_is_still_paid_for(old_url: str) -> None:
    with session(old_url) as at:
        completed, nonsense = a_run(at, "a", "completed"), a_run(at, "b", "failed", "sovereign_invalid")
        crashed, open_run = a_run(at, "c", "failed", "agent_crash"), a_run(at, "d", "failed", "timeout")
        accepted = a_call(at, completed, "answered", answer=ANSWER)
        invalid = a_call(at, nonsense, "answered", answer=ANSWER | {"content": "no \0 vote"})
        failed = a_call(
            at, crashed, "failed", error_code="sovereign_invalid", ended_at="2026-03-02 00:00:01+00",
            error_message="not a completion\nraw: <html>\nraw: twice", prompt_hash="p2",
        )  # fmt: skip
        abandoned = a_call(at, crashed, "abandoned", ended_at="2026-03-02 00:00:01+00", request=NAUGHTY)
        pending = a_call(at, open_run, "pending")
        earlier = a_call(at, open_run, "answered", answer=ANSWER, prompt_hash="p3")
        later = a_call(at, open_run, "answered", answer=ANSWER, prompt_hash="p4")
    migrate(old_url)
    with session(old_url, row_factory=namedtuple_row) as at:
        calls = {row.id: row for row in at.execute("SELECT * FROM sovereign_calls")}
        texts = dict(at.execute("SELECT hash, text FROM model_texts"))
        spent = {row.scope: row.tokens for row in at.execute("SELECT * FROM llm_spending")}
    assert {name: calls[name].outcome for name in calls} == {
        accepted: "accepted", invalid: "invalid", failed: "failed", abandoned: "abandoned", pending: "pending",
        earlier: "abandoned", later: "accepted",
    }  # fmt: skip
    call = calls[accepted]
    assert (texts[call.system_hash], texts[call.user_hash]) == (REQUEST["system"], REQUEST["user"])
    assert texts[call.answer_hash] == ANSWER["content"]
    assert call.parameters == {"temperature": 0.0, "max_tokens": 700, "seed": 0}
    assert (call.decision, str(call.day), call.latency_ms) == (4, "2026-03-01", 1234.5678)
    assert all(hashlib.sha256(text.encode()).hexdigest() == digest for digest, text in texts.items())
    assert texts[calls[invalid].answer_hash] == "no \ufffd vote"
    assert texts[calls[abandoned].user_hash] == "nul \ufffd and half a pair \ufffd and a literal \\u0000"
    assert texts[calls[failed].raw_hash] == "<html>\nraw: twice"
    assert calls[failed].error["code"] == "SovereignInvalidResponse"
    assert calls[failed].error["message"] == "not a completion"
    assert calls[failed].error["elapsed_ms"] == 1500.0
    assert len(texts) == len({REQUEST["system"], REQUEST["user"], ANSWER["content"]}) + 3, "each text once"
    assert spent == {"day:2026-03-01": 4 * 2144, "decision:4": 4 * 2144}
    database = Database(old_url)
    ledger = PostgresSovereignLedger(database)
    request = ModelRequest("sovereign-32b", "s", "u")
    with session(old_url) as at:
        at.execute("UPDATE sovereign_calls SET prompt_hash = %s WHERE id = %s", (request.prompt_hash, accepted))
    assert ledger.answered(completed, request) == ModelAnswer(**ANSWER)
    assert len(PostgresCallBook(database).calls(100)) == 7
    database.close()


def test_going_back_restores_the_old_rows_to_the_letter(old_url: str) -> None:
    with session(old_url) as at:
        completed, crashed = a_run(at, "a", "completed"), a_run(at, "c", "failed", "agent_crash")
        a_call(at, completed, "answered", answer=ANSWER)
        a_call(
            at, crashed, "failed", error_code="sovereign_timeout", ended_at="2026-03-02 00:00:01+00",
            error_message="too late\nraw: half",
        )  # fmt: skip
        a_call(at, crashed, "abandoned", ended_at="2026-03-02 00:00:01+00")
        a_call(at, crashed, "pending")
    before = old_rows(old_url)
    go_to(old_url, AFTER)
    go_to(old_url, BEFORE, down=True)
    assert old_rows(old_url) == before
    with session(old_url) as at:
        kept = at.execute("SELECT request::text, answer::text FROM sovereign_calls ORDER BY id LIMIT 1").fetchone()
        left = at.execute("SELECT to_regclass('model_texts'), to_regclass('llm_spending')").fetchone()
    assert kept == (json.dumps(REQUEST, sort_keys=True), json.dumps(ANSWER))
    assert left == (None, None)
    migrate(old_url)


def test_calls_made_under_the_new_form_survive_going_back(old_url: str) -> None:
    migrate(old_url)
    database = Database(old_url)
    from aaos.adapters.postgres.runs import PostgresRunStore

    runs = PostgresRunStore(database, RunRules())
    ledger = PostgresSovereignLedger(database, {}, BudgetRules(cost_per_day=Decimal(1)))
    request = ModelRequest("sovereign-32b", "system", "user", answer_format=AnswerFormat("vote", {"type": "object"}))
    plan = CallPlan(request, 17, "primary", "vote", 1, "full", "vote-3", 100)
    answer = ModelAnswer(**ANSWER)
    for number in range(3):
        run_id, _ = runs.insert_request(NewRun("trading_analysis", "BTC/USDT", 30, 30, request_key=f"new{number}"))
        claim = runs.claim(run_id, "worker", 100)
        assert isinstance(claim, ClaimedRun)
        if number == 1:
            assert ledger.reuse(claim, plan, 1000) is not None
            ledger.settle(ledger.begin(claim, plan), answer)
        elif number == 2:
            error = ErrorEnvelope.of(SovereignTimeout("late"), "m", 1, 1.0)
            ledger.fail(ledger.begin(claim, plan), error, "half")
        else:
            ledger.settle(ledger.begin(claim, plan), answer)
    database.close()
    go_to(old_url, BEFORE, down=True)
    rows = old_rows(old_url)
    assert [row["state"] for row in rows] == ["answered", "abandoned", "answered", "failed"]
    assert rows[0]["request"] == asdict(request)
    assert rows[0]["answer"] == ANSWER
    assert (rows[3]["error_code"], rows[3]["error_message"]) == ("sovereign_timeout", "late\nraw: half")
