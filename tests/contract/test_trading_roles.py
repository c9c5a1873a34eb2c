"""Logins: who decides cannot write the books, who executes cannot write clearances; each can do all of its own work."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from support.desk import ACCOUNT, approved, entry, new_approval, seen, stop, trade
from support.servers import TestDatabases
from support.worlds import PostgresWorld, analysis, taken

from aaos.adapters.postgres.roles import CREATE_ROLE, DECIDER, EXECUTOR, apply_roles, create_login, unwritable
from aaos.adapters.postgres.schema import migrate
from aaos.domain.orders import CashFlow
from aaos.domain.runs import Completed
from aaos.errors import ConfigError

PASSWORD = "only-for-tests"
DENIED = psycopg.errors.InsufficientPrivilege


@dataclass(frozen=True, slots=True)
class Desks:
    """One database, seen by its owner, by a worker that decides, and by one that executes."""

    owner: PostgresWorld
    decider: PostgresWorld
    executor: PostgresWorld


@pytest.fixture
def desks(database_url: str) -> Iterator[Desks]:
    logins = []
    for group in (DECIDER, EXECUTOR):
        name = f"test_{group}"
        create_login(database_url, name, group, PASSWORD)
        logins.append(
            make_url(database_url).set(username=name, password=PASSWORD).render_as_string(hide_password=False)
        )
    with (
        closing(PostgresWorld(database_url)) as owner,
        closing(PostgresWorld(logins[0])) as decider,
        closing(PostgresWorld(logins[1])) as executor,
    ):
        yield Desks(owner, decider, executor)


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R1")
def test_the_decider_approves_the_executor_orders_and_both_end_their_runs(desks: Desks) -> None:
    approval = approved(desks.decider)
    runs = desks.executor.runs()
    run_id, _ = runs.insert_request(analysis(kind="execution", request_key="execution:decision:1"))
    claim = taken(runs, run_id)
    written = desks.executor.orders.intend(entry(approval), claim)
    assert written.created
    assert desks.executor.orders.may_send(written.order.id)
    desks.executor.orders.settle(written.order.id, seen(written.order, "filled"))
    deposit = CashFlow(ACCOUNT, "d1", "deposit", None, Decimal(1000), desks.owner.now())
    assert desks.executor.books.book(ACCOUNT, [trade(written.order)], [deposit])
    desks.executor.books.record_equity(ACCOUNT, Decimal(1000), Decimal(0))
    protecting = desks.executor.orders.intend(stop(approval)).order
    desks.executor.orders.doubt(protecting.id, "no answer")
    desks.executor.orders.quarantine(protecting.id, "not there")
    desks.executor.orders.release(protecting.id, "ada", "gone")
    [position] = desks.executor.books.open_positions()
    assert position.id is not None
    assert desks.executor.books.raise_stop(position.id, Decimal(99))
    assert desks.executor.books.reconciled(ACCOUNT, desks.executor.books.books(ACCOUNT).dirty_version)
    with desks.executor.books.watching(ACCOUNT) as held:
        assert held
    assert runs.complete(claim, Completed({"order_id": written.order.id}), True).result_id is not None
    assert desks.decider.desk.snapshot(ACCOUNT).version == desks.owner.desk.snapshot(ACCOUNT).version
    assert desks.decider.switch.stop("drawdown", "5 %").stopped
    venue = "INSERT INTO paper.accounts (name, opened_at, seen_at) VALUES ('paper', now(), now())"
    desks.executor.session.execute(venue)
    assert desks.decider.session.execute("SELECT name FROM paper.accounts").fetchall() == [("paper",)]


ANY_ORDER = """
    INSERT INTO orders (client_order_id, approval_id, source, source_hash, account, leg, symbol, side, type, quantity,
                        leverage, price, reduce_only, stop_epoch)
    SELECT 'mine', id, source, source_hash, account, 'entry', symbol, side, 'limit', quantity, leverage, entry_price,
           reduce_only, (SELECT epoch FROM trading_switch) FROM risk_approvals
"""
ANY_APPROVAL = """
    INSERT INTO risk_approvals (run_id, source, source_hash, account, symbol, side, quantity, leverage, entry_price,
                                reduce_only, expires_at)
    SELECT run_id, 'decision:666', source_hash, account, symbol, side, 1000, 100, entry_price, false,
           now() + interval '1 day' FROM risk_approvals
"""
ANY_FILL = """
    INSERT INTO fills (account, trade_id, venue_order_id, symbol, side, quantity, price, fee, liquidity, filled_at)
    VALUES ('paper', 't', 'v', 'BTC/USDT', 'buy', 1, 1, 0, 'maker', now())
"""
ANY_INTENT = """
    SELECT * FROM intend_order((
        SELECT to_jsonb(a) || jsonb_build_object('leg', 'entry', 'type', 'limit', 'price', 100, 'approval_id', a.id,
                                                 'client_order_id', 'mine') FROM risk_approvals a), NULL, NULL, 12)
"""
NOT_THE_DECIDERS = [
    ANY_ORDER,
    "UPDATE orders SET state = 'working'",
    "DELETE FROM orders",
    ANY_FILL,
    "UPDATE fills SET quantity = 1",
    "INSERT INTO cash_flows (account, flow_id, kind, amount, at) VALUES ('paper', 'f', 'deposit', 1, now())",
    "UPDATE positions SET stop_price = 1",
    "INSERT INTO equity_points (account, cash, unrealised) VALUES ('paper', 1, 1)",
    "UPDATE account_books SET why = NULL",
    "INSERT INTO paper.accounts (name, opened_at, seen_at) VALUES ('mine', now(), now())",
    "UPDATE paper.orders SET quantity = 1",
    "DELETE FROM paper.positions",
    "UPDATE risk_approvals SET used_at = now()",
    "INSERT INTO approvals (run_id, content_hash, verdict, given_by, reason) VALUES (1, 'h', 'approved', 'ada', 'so')",
    "UPDATE approvals SET verdict = 'approved'",
    ANY_INTENT,
    "TRUNCATE runs CASCADE",
    "ALTER TABLE orders DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "DROP TRIGGER approved ON orders",
    "CREATE TABLE public.mine (id int)",
    "UPDATE trading_namespace SET id = gen_random_uuid()",
    "UPDATE alembic_version SET version_num = '0'",
    "CREATE ROLE friend LOGIN IN ROLE aaos_executor",
    "SET ROLE aaos_executor",
    """
    CREATE TEMP TABLE mine (LIKE orders);
    CREATE TRIGGER approved AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION order_is_approved()
    """,
]
NOT_THE_EXECUTORS = [
    ANY_APPROVAL,
    "UPDATE risk_approvals SET quantity = 1000",
    "UPDATE risk_approvals SET used_at = NULL, used_by = NULL",
    "DELETE FROM risk_approvals",
    "INSERT INTO approvals (run_id, content_hash, verdict, given_by, reason) VALUES (1, 'h', 'approved', 'me', 'so')",
    "UPDATE approvals SET verdict = 'approved'",
    "TRUNCATE orders CASCADE",
    "ALTER TABLE orders DISABLE TRIGGER approved",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION public.order_is_approved() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
    "SET ROLE aaos_decider",
]


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R1")
def test_who_decides_writes_no_order_fill_cash_or_position(desks: Desks) -> None:
    approved(desks.decider)
    for statement in NOT_THE_DECIDERS:
        with pytest.raises(psycopg.Error) as refused:
            desks.decider.session.execute(statement)
        assert isinstance(refused.value, DENIED), f"{statement}: {refused.value}"
    assert list(desks.owner.orders.orders(9)) == []
    with pytest.raises(ConfigError, match=r"may not do this .*docs/trading-store\.md"):
        desks.decider.orders.intend(entry(desks.owner.desk.approvals(1)[0]))
    with pytest.raises(ConfigError, match="may not do this"):
        desks.decider.books.doubt(ACCOUNT, "mine")


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R1")
def test_who_executes_writes_no_approval_of_risk_or_of_a_person(desks: Desks) -> None:
    approved(desks.decider)
    for statement in NOT_THE_EXECUTORS:
        with pytest.raises(psycopg.Error) as refused:
            desks.executor.session.execute(statement)
        assert isinstance(refused.value, DENIED), f"{statement}: {refused.value}"
    assert len(desks.owner.desk.approvals(9)) == 1
    new = new_approval(desks.executor, "decision:2")
    runs = desks.executor.runs()
    run_id, _ = runs.insert_request(analysis(kind="risk_assessment", request_key="risk:decision:2"))
    claim = taken(runs, run_id)
    with pytest.raises(ConfigError, match="may not do this"):
        runs.complete(claim, Completed({}, approval=new), False)
    assert desks.owner.rows()[run_id].state == "running"


@pytest.mark.requirement("ENG-4")
def test_tables_of_later_migrations_are_covered_and_applying_roles_again_changes_nothing(
    desks: Desks, database_url: str
) -> None:
    desks.owner.session.execute("CREATE TABLE from_a_later_migration (id int)")
    with pytest.raises(DENIED):
        desks.decider.session.execute("INSERT INTO from_a_later_migration VALUES (1)")
    grants = """
        SELECT table_name, grantee, string_agg(privilege_type, ',' ORDER BY privilege_type)
        FROM information_schema.role_table_grants WHERE grantee LIKE 'aaos\\_%' GROUP BY 1, 2 ORDER BY 1, 2
    """
    before = desks.owner.session.execute(grants).fetchall()
    migrate(database_url)
    after = desks.owner.session.execute(grants).fetchall()
    assert [each for each in after if each[0] != "from_a_later_migration"] == before
    desks.decider.session.execute("INSERT INTO from_a_later_migration VALUES (1)")
    desks.executor.session.execute("DELETE FROM from_a_later_migration")


@pytest.mark.requirement("ENG-4")
def test_databases_of_one_server_are_set_up_at_the_same_time(databases: TestDatabases) -> None:
    start = Barrier(6)

    def set_up(url: str) -> bool:
        engine = create_engine(url)
        start.wait(10)
        with engine.begin() as connection:
            connection.execute(text(CREATE_ROLE.format("test_group")))
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('aaos.migrate'))"))  # as `migrate` does
                return apply_roles(connection)
        finally:
            engine.dispose()
            create_login(url, "test_racing", EXECUTOR, PASSWORD)

    with databases.fresh() as first, databases.fresh() as second, databases.fresh() as third:
        with ThreadPoolExecutor(6) as room:
            assert all(room.map(set_up, [first, second, third] * 2))
        with psycopg.connect(first.replace("+psycopg", ""), autocommit=True) as owner:
            owner.execute("DROP ROLE test_racing, test_group")


def test_a_login_moves_between_groups_and_gets_its_new_password(database_url: str) -> None:
    create_login(database_url, "test_moving", EXECUTOR, "old")
    create_login(database_url, "test_moving", DECIDER, "it's new")
    member = "SELECT pg_has_role('test_moving', %s, 'member')"
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as owner:
        assert owner.execute(member, (DECIDER,)).fetchone() == (True,)
        assert owner.execute(member, (EXECUTOR,)).fetchone() == (False,)
        secret = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'test_moving'").fetchone()
        assert secret is not None
        assert str(secret[0]).startswith("SCRAM-SHA-256$")
        owner.execute("DROP ROLE test_moving")
    with pytest.raises(ConfigError, match="is no group of logins; allowed: aaos_decider, aaos_executor"):
        create_login(database_url, "test_moving", "postgres", "x")


def test_without_the_right_to_create_roles_the_schema_is_migrated_all_the_same(
    databases: TestDatabases, capsys: pytest.CaptureFixture[str]
) -> None:
    with databases.fresh() as url, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        name = owner.info.dbname
        owner.execute("CREATE ROLE test_plain LOGIN PASSWORD 'plain'")
        owner.execute(f"CREATE DATABASE {name}_plain OWNER test_plain")
        plain = make_url(url).set(username="test_plain", password="plain", database=f"{name}_plain")
        try:
            migrate(plain.render_as_string(hide_password=False))
            engine = create_engine(plain)
            with engine.connect() as connection:
                # The groups are there, from the other databases: an owner may grant without creating any.
                assert apply_roles(connection)
                connection.rollback()
            engine.dispose()
            owner.execute("ALTER ROLE aaos_decider RENAME TO test_elsewhere")
            try:
                migrate(plain.render_as_string(hide_password=False))
            finally:
                owner.execute("ALTER ROLE test_elsewhere RENAME TO aaos_decider")
            assert "roles_skipped" in capsys.readouterr().out
        finally:
            owner.execute(f"DROP DATABASE {name}_plain WITH (FORCE)")
            owner.execute("DROP ROLE test_plain")


@pytest.mark.requirement("R1")
def test_a_login_that_may_not_do_a_queues_work_is_named_before_it_tries(desks: Desks) -> None:
    queues = ["execution", "risk_assessment", "technical_analysis"]
    assert unwritable(desks.owner.database, queues) == []
    assert unwritable(desks.decider.database, queues) == [("execution", "orders")]
    assert unwritable(desks.executor.database, queues) == [("risk_assessment", "risk_approvals")]
    assert unwritable(desks.decider.database, ["risk_assessment", "trading_decision"]) == []
