"""The audit log: chained, in one transaction with what it tells of, and on PostgreSQL changed by nobody unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from support.worlds import MemoryWorld, PostgresWorld, World, born, taken

from aaos.adapters.memory import MemoryDatabase
from aaos.domain.audit import NOTHING_BEFORE, AuditEntry
from aaos.domain.runs import Completed, NewAlert, State
from aaos.errors import FenceLost, InputError, InvariantViolation

DEGRADED = AuditEntry("vote.degraded", "run:1", "run:1", {"confidence": 0.68, "original_confidence": 0.85})


def three_entries(world: World) -> None:
    for number in (1, 2, 3):
        world.audit.append("breaker.opened", "aaos", f"model:m{number}", {"failures": number, "why": "über 50 %"})


@pytest.mark.requirement("A1")
def test_entries_come_newest_first_and_by_action_and_subject(world: World) -> None:
    three_entries(world)
    world.audit.append("breaker.closed", "aaos", "model:m1", {})
    subjects = [(each.id, each.action, each.subject) for each in world.audit.entries(3)]
    assert subjects == [
        (4, "breaker.closed", "model:m1"),
        (3, "breaker.opened", "model:m3"),
        (2, "breaker.opened", "model:m2"),
    ]
    assert [each.id for each in world.audit.entries(9, action="breaker.opened")] == [3, 2, 1]
    assert [each.id for each in world.audit.entries(9, subject="model:m1")] == [4, 1]
    assert [each.id for each in world.audit.entries(9, "breaker.closed", "model:m1")] == [4]
    oldest = world.audit.entries(9)[-1]
    assert (oldest.actor, oldest.details) == ("aaos", {"failures": 1, "why": "über 50 %"})


@pytest.mark.requirement("A1")
def test_a_log_that_nobody_touched_is_intact(world: World) -> None:
    assert world.audit.verify().intact
    three_entries(world)
    check = world.audit.verify()
    assert (check.intact, check.entries, check.why) == (True, 3, "")


def test_an_entry_that_json_has_no_word_for_is_refused_and_leaves_no_gap(world: World) -> None:
    with pytest.raises(InputError, match="nan"):
        world.audit.append("vote.degraded", "run:1", "run:1", {"confidence": float("nan")})
    three_entries(world)
    assert (world.audit.verify().entries, world.audit.entries(1)[0].id) == (3, 3)


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("A1")
def test_a_result_its_audit_entry_and_its_alert_are_stored_together(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    runs.complete(claim, Completed({"a": 1}, audit=[DEGRADED], alerts=[NewAlert("look", "look at this")]), True)
    [entry] = world.audit.entries(9)
    assert (entry.action, entry.details) == (DEGRADED.action, DEGRADED.details)
    assert world.alert_messages() == ["look at this"]
    assert runs.run(claim.id).state is State.COMPLETED


@pytest.mark.requirement("FM-TAW-006")
def test_when_the_audit_entry_cannot_be_written_neither_is_the_result(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    unwritable = replace(DEGRADED, details={"confidence": float("inf")})
    with pytest.raises(InputError):
        runs.complete(claim, Completed({"a": 1}, audit=[unwritable], alerts=[NewAlert("look", "look")]), True)
    assert (runs.run(claim.id).state, world.results.result_of_run(claim.id)) == (State.RUNNING, None)
    assert (world.audit.entries(9), world.alert_messages(), world.announced()) == ([], [], {})


@pytest.mark.requirement("Q3")
def test_whoever_lost_the_fence_writes_no_audit_entry_and_raises_no_alert(world: World) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    taken(runs, stale.id)
    with pytest.raises(FenceLost):
        runs.complete(stale, Completed({"a": 1}, audit=[DEGRADED], alerts=[NewAlert("look", "look")]), True)
    assert (world.audit.entries(9), world.alert_messages()) == ([], [])


def test_completing_again_after_a_lost_confirmation_writes_no_second_entry(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    outcome = Completed({"a": 1}, audit=[DEGRADED], alerts=[NewAlert("look", "look")])
    first = runs.complete(claim, outcome, True)
    assert runs.complete(claim, outcome, True).result_id == first.result_id
    assert (len(world.audit.entries(9)), len(world.alert_messages())) == (1, 1)


# --- what PostgreSQL itself refuses, and what the chain shows when it could not ---------------------------


@pytest.mark.requirement("A1")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET entry = '{}' WHERE id = 2",
        "DELETE FROM audit_log WHERE id = 2",
        "TRUNCATE audit_log",
        "UPDATE audit_head SET id = 2",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "INSERT INTO audit_head (only_row, id, hash) VALUES (true, 9, 'x')",
    ],
)
def test_postgresql_refuses_to_change_the_log(real_world: PostgresWorld, statement: str) -> None:
    real_world.reset()
    three_entries(real_world)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="only ever appended to"):
        real_world.session.execute(statement)
    assert real_world.audit.verify().entries == 3


@pytest.mark.requirement("A1")
def test_a_row_inserted_by_hand_gets_its_place_in_the_chain_whatever_it_claims(real_world: PostgresWorld) -> None:
    real_world.reset()
    three_entries(real_world)
    real_world.session.execute(
        "INSERT INTO audit_log (id, at, entry, previous_hash, hash) VALUES"
        """ (99, '2020-01-01', '{"action":"x.y","actor":"eve","details":{},"subject":"s"}', 'no', 'no')"""
    )
    newest = real_world.audit.entries(1)[0]
    assert (newest.id, newest.actor, newest.at.year >= 2025) == (4, "eve", True)
    assert real_world.audit.verify().intact


FORGERIES = [
    ("UPDATE audit_log SET entry = json_build_object('action', 'a.b', 'subject', 's', 'actor', 'eve') WHERE id = 2",
     2, "not what was written"),
    ("UPDATE audit_log SET at = at - interval '1 hour' WHERE id = 2", 2, "not what was written"),
    ("UPDATE audit_log SET hash = repeat('a', 64) WHERE id = 1", 1, "not what was written"),
    ("UPDATE audit_log SET previous_hash = repeat('a', 64) WHERE id = 3", 3, "does not follow"),
    ("DELETE FROM audit_log WHERE id = 2", 2, "entry 2 is missing"),
    ("DELETE FROM audit_log WHERE id = 1", 1, "entry 1 is missing"),
    ("DELETE FROM audit_log WHERE id = 3", 3, "ends after entry 2, entry 3 was written last"),
    ("DELETE FROM audit_log", 1, "ends after entry 0"),
    ("DELETE FROM audit_head", 1, "not recorded"),
    ("INSERT INTO audit_log SELECT 4, at, entry, hash, hash FROM audit_log WHERE id = 3", 4, "beyond the recorded end"),
]  # fmt: skip


@pytest.mark.requirement("A1")
@pytest.mark.parametrize(("forgery", "broken", "why"), FORGERIES)
def test_a_log_changed_with_its_triggers_off_names_the_first_broken_row(
    real_world: PostgresWorld, forgery: str, broken: int, why: str
) -> None:
    real_world.reset()
    three_entries(real_world)
    columns = forgery.replace("INTO audit_log SELECT", "INTO audit_log (id, at, entry, previous_hash, hash) SELECT")
    real_world.session.execute(f"SET session_replication_role = replica; {columns}; RESET session_replication_role")
    try:
        check = real_world.audit.verify()
        assert (check.intact, check.broken_id) == (False, broken)
        assert why in check.why
    finally:
        real_world.session.execute(
            "SET session_replication_role = replica; DELETE FROM audit_head; INSERT INTO audit_head (id, hash) "
            f"VALUES (0, '{NOTHING_BEFORE}'); RESET session_replication_role"
        )


@pytest.mark.requirement("A1")
@pytest.mark.parametrize(
    ("forge", "broken"),
    [
        (lambda database: database.tables.audit.pop(2), 2),
        (lambda database: database.tables.audit.pop(3), 3),
        (lambda database: database.tables.audit.update({2: replace(database.tables.audit[2], entry=b"{}")}), 2),
    ],
)
def test_a_log_in_memory_that_was_changed_names_the_first_broken_row(
    forge: Callable[[MemoryDatabase], object], broken: int
) -> None:
    world = MemoryWorld()
    three_entries(world)
    forge(world.database)
    assert world.audit.verify().broken_id == broken


@pytest.mark.requirement("FM-TAW-006")
def test_when_postgresql_cannot_write_the_entry_it_does_not_store_the_result(postgres_world: PostgresWorld) -> None:
    postgres_world.session.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'broken on purpose' USING ERRCODE = 'integrity_constraint_violation'; END $$;
        CREATE TRIGGER a_broken BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    runs = postgres_world.runs()
    claim = taken(runs, born(runs))
    with pytest.raises(InvariantViolation, match="broken on purpose"):
        runs.complete(claim, Completed({"a": 1}, audit=[DEGRADED], alerts=[NewAlert("look", "look")]), True)
    assert (runs.run(claim.id).state, postgres_world.results.result_of_run(claim.id)) == (State.RUNNING, None)
    assert (postgres_world.announced(), postgres_world.alert_messages()) == ({}, [])


@pytest.mark.requirement("A1")
def test_writers_at_the_same_time_make_one_chain_without_a_gap(postgres_world: PostgresWorld) -> None:
    def write(number: int) -> None:
        postgres_world.audit.append("test.written", f"writer:{number % 8}", "s", {"number": number})

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(80)))
    check = postgres_world.audit.verify()
    assert (check.intact, check.entries) == (True, 80)
    assert {each.details["number"] for each in postgres_world.audit.entries(100)} == set(range(80))
    instants = [each.at for each in postgres_world.audit.entries(100)]
    assert instants == sorted(instants, reverse=True)
