"""Verdicts on decisions: one per decision, in time, for what was read, with its audit entry, whoever else tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from support.examples import changed_settings, shipped_settings
from support.worlds import SLOT, MemoryWorld, PostgresWorld, World, born, taken

from aaos.adapters.memory import MemoryVetoes
from aaos.adapters.postgres.vetoes import PostgresVetoes
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.domain.vetoes import Veto
from aaos.errors import BrokerUnavailable, InputError, InvariantViolation
from aaos.ports import Approval, Hints, RunRecord, Verdict, Vetoes
from aaos.services.approve_decision import approve_decision, cleared_for_risk
from aaos.settings import Settings

SETTINGS = shipped_settings()
EXPIRES_S = 900.0
REVIEW = {"required": True, "expires_after_s": EXPIRES_S, "why": "fallback_model_used for trend (small)"}
HELD = {"symbol": "BTC/USDT", "signal": "BUY", "confidence": 0.68, "tradable": False, "review": REVIEW}


class Messages:
    """Implements what `approve_decision` needs of `ports.Hints`: remembers them, or cannot send them."""

    def __init__(self, away: bool = False) -> None:
        self.sent: list[tuple[str, int]] = []
        self._away = away

    def hint(self, kind: str, run_id: int) -> None:
        if self._away:
            raise BrokerUnavailable("away")
        self.sent.append((kind, run_id))


UNHEARD = cast("Hints", Messages())


def a_decision(
    world: World,
    body: Mapping[str, Any] = HELD,
    kind: str = "trading_decision",
    minute: int = 0,
    inputs: Sequence[Input] = (),
) -> int:
    """Stores a decision and returns its run's id."""
    runs = world.runs()
    claim = taken(runs, born(runs, kind=kind, slot=SLOT + timedelta(minutes=minute)))
    runs.complete(claim, Completed(body, inputs), True)
    return claim.id


def on_a_context(world: World) -> int:
    """Stores a decision that rests on a stored context."""
    candles = {"timeframe": "1m", "rows": [[1_640_995_200_000, 99, 101, 98, 100.5, 7]]}
    context_run = a_decision(world, {"symbol": "BTC/USDT", "candles": candles}, "trading_context")
    context = world.results.result_of_run(context_run)
    assert context is not None
    lineage = Input("trading_context", context.content_hash, context.analyzed_at.isoformat(), context.id)
    return a_decision(world, minute=1, inputs=[lineage])


def say(
    world: World,
    run_id: int,
    verdict: Verdict = "approved",
    by: str = "ada",
    reason: str = "seen",
    hints: Hints = UNHEARD,
    settings: Settings = SETTINGS,
) -> Approval:
    runs, results, approvals = world.runs(), world.results, world.approvals
    return approve_decision(run_id, verdict, by, reason, runs, results, approvals, hints=hints, settings=settings)


def risk_runs(world: World) -> Sequence[RunRecord]:
    return world.runs().runs(99, kind="risk_assessment")


def vetoes_of(world: World, run_id: int) -> Sequence[Veto]:
    ledger: Vetoes
    if isinstance(world, PostgresWorld):
        ledger = PostgresVetoes(world.database)
    else:
        assert isinstance(world, MemoryWorld)
        ledger = MemoryVetoes(world.database)
    return ledger.of_source(f"decision:{run_id}")


def refusal(world: World, run_id: int) -> str | None:
    record = world.results.result_of_run(run_id)
    assert record is not None
    return cleared_for_risk(record, world.approvals.verdicts([run_id]).get(run_id), world.now())


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("A1")
def test_an_approval_is_stored_with_the_hash_that_was_read_and_its_audit_entry(world: World) -> None:
    run_id = a_decision(world)
    given = say(world, run_id, reason="the 7B says what I see, too")
    record = world.results.result_of_run(run_id)
    assert record is not None
    assert (given.verdict, given.by, given.content_hash) == ("approved", "ada", record.content_hash)
    assert world.approvals.verdicts([run_id, run_id + 1]) == {run_id: given}
    [entry] = world.audit.entries(9)
    assert (entry.action, entry.actor, entry.subject) == ("decision.approved", "ada", f"run:{run_id}")
    assert entry.details == {"reason": "the 7B says what I see, too", "content_hash": record.content_hash}


@pytest.mark.requirement("R1")
def test_risk_sees_a_held_decision_only_once_it_is_approved_and_only_in_time(world: World) -> None:
    run_id = a_decision(world)
    assert "no person has approved it" in str(refusal(world, run_id))
    say(world, run_id)
    assert refusal(world, run_id) is None
    world.pass_time(EXPIRES_S - 60)
    assert refusal(world, run_id) is None
    world.pass_time(61)
    assert "its time for review ended" in str(refusal(world, run_id))


@pytest.mark.requirement("R1")
def test_risk_never_sees_a_refused_decision(world: World) -> None:
    run_id = a_decision(world)
    say(world, run_id, "refused", reason="thin book")
    assert refusal(world, run_id) == "refused by ada: thin book"


def test_the_same_verdict_twice_is_one_verdict_and_one_entry(world: World) -> None:
    run_id = a_decision(world)
    first = say(world, run_id)
    assert say(world, run_id, by="bob", reason="me, too") == first
    world.pass_time(EXPIRES_S + 1)
    assert say(world, run_id).by == "ada"
    assert len(world.audit.entries(9)) == 1


def test_another_verdict_is_refused_and_told_who_gave_the_first(world: World) -> None:
    run_id = a_decision(world)
    say(world, run_id)
    with pytest.raises(InputError, match=r"was approved by ada at .* \(seen\): a verdict is final"):
        say(world, run_id, "refused", by="bob")
    assert [each.action for each in world.audit.entries(9)] == ["decision.approved"]


def test_an_expired_decision_cannot_be_approved(world: World) -> None:
    run_id = a_decision(world)
    world.pass_time(EXPIRES_S + 30)
    with pytest.raises(InputError, match=rf"decision {run_id} expired 3\d s ago .*aaos decide"):
        say(world, run_id)
    assert (world.approvals.verdicts([run_id]), list(world.audit.entries(9))) == ({}, [])


def test_what_needs_no_approval_says_so(world: World) -> None:
    tradable = a_decision(world, {**{k: v for k, v in HELD.items() if k != "review"}, "tradable": True}, minute=1)
    hold = a_decision(world, {"symbol": "BTC/USDT", "signal": "HOLD", "confidence": 0, "tradable": False}, minute=2)
    with pytest.raises(InputError, match="needs no approval: it is tradable as it is"):
        say(world, tradable)
    with pytest.raises(InputError, match="needs no approval: it is not to be traded anyway"):
        say(world, hold)
    analysis = a_decision(world, {"a": 1}, kind="technical_analysis", minute=3)
    with pytest.raises(InputError, match="is a technical_analysis, no decision; `aaos approvals` lists"):
        say(world, analysis)
    runs = world.runs()
    unfinished = born(runs, kind="trading_decision", slot=SLOT + timedelta(minutes=4))
    with pytest.raises(InputError, match=r"is pending and has no result"):
        say(world, unfinished)


@pytest.mark.parametrize(
    ("by", "reason"), [("", "seen"), ("  ", "seen"), ("ada", ""), ("ada", "x" * 1001), ("a\x1b[2J", "x")]
)
def test_a_verdict_needs_a_name_and_a_reason_in_plain_text(world: World, by: str, reason: str) -> None:
    run_id = a_decision(world)
    with pytest.raises(InputError, match="printable characters"):
        say(world, run_id, by=by, reason=reason)


def test_a_verdict_on_another_content_than_is_stored_is_refused(world: World) -> None:
    run_id = a_decision(world)
    with pytest.raises(InputError, match="is not the one that was read"):
        world.approvals.give(run_id, "0" * 64, "approved", "ada", "seen", EXPIRES_S)
    analysis = a_decision(world, HELD, kind="technical_analysis", minute=1)
    record = world.results.result_of_run(analysis)
    assert record is not None
    with pytest.raises(InputError, match="is no decision that waits for a person"):
        world.approvals.give(analysis, record.content_hash, "approved", "ada", "seen", EXPIRES_S)
    assert list(world.audit.entries(9)) == []


def test_what_waits_is_derived_and_ends_with_a_verdict_or_with_time(world: World) -> None:
    soon = a_decision(world, HELD | {"review": REVIEW | {"expires_after_s": 100}}, minute=1)
    later, decided = a_decision(world, minute=2), a_decision(world, minute=3)
    a_decision(world, {"symbol": "BTC/USDT", "signal": "HOLD", "confidence": 0, "tradable": False}, minute=4)
    say(world, decided, "refused")
    waiting = world.approvals.waiting(10)
    assert [each.run_id for each in waiting] == [soon, later]
    first = waiting[0]
    assert (first.symbol, first.signal, first.confidence, first.why) == ("BTC/USDT", "BUY", 0.68, REVIEW["why"])
    assert first.expires_in_s == pytest.approx(100, abs=5)
    assert [each.run_id for each in world.approvals.waiting(1)] == [soon]
    world.pass_time(101)
    assert [each.run_id for each in world.approvals.waiting(10)] == [later]
    world.pass_time(EXPIRES_S)
    assert list(world.approvals.waiting(10)) == []


# --- what a verdict sets off ------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_an_approval_starts_the_decisions_one_risk_assessment_and_points_a_worker_at_it(world: World) -> None:
    run_id, messages = a_decision(world), Messages()
    given = say(world, run_id, hints=cast("Hints", messages))
    [started] = risk_runs(world)
    assert (started.symbol, started.request_key) == ("BTC/USDT", f"risk:decision:{run_id}")
    assert given.started == (started.id, "risk_assessment")
    assert messages.sent == [("risk_assessment", started.id)]
    claim = world.runs().claim(started.id, "w", 9)
    assert isinstance(claim, ClaimedRun)
    assert claim.params == {"source": f"decision:{run_id}"}
    assert say(world, run_id, by="bob") == given
    assert len(risk_runs(world)) == 1
    assert vetoes_of(world, run_id) == []


def test_the_approval_stands_and_the_run_waits_for_a_sweep_while_the_broker_is_away(world: World) -> None:
    given = say(world, a_decision(world), hints=cast("Hints", Messages(away=True)))
    assert [each.id for each in risk_runs(world)] == [given.started[0] if given.started else None]


def test_no_risk_assessment_goes_on_after_the_reviews_end(world: World) -> None:
    run_id = a_decision(world)
    world.pass_time(EXPIRES_S - 30)
    say(world, run_id)
    [started] = risk_runs(world)
    world.pass_time(31)
    world.runs().recover()
    assert world.runs().run(started.id).state.value == "skipped"


def test_while_execution_is_switched_off_what_is_approved_is_assessed_all_the_same(world: World) -> None:
    off = changed_settings(execution=ExecutionRules(enabled=False))
    assert say(world, a_decision(world), settings=off).started is not None
    assert len(risk_runs(world)) == 1


def test_a_refusal_is_a_veto_at_the_price_of_then_and_starts_nothing(world: World) -> None:
    run_id = on_a_context(world)
    assert say(world, run_id, "refused", reason="thin book").started is None
    say(world, run_id, "refused", reason="again")
    [veto] = vetoes_of(world, run_id)
    told = veto.refusal
    assert (told.stage, told.code, told.reason, told.side) == ("review", "REFUSED", "ada: thin book", "buy")
    assert (told.price, told.market_ms) == (Decimal("100.5"), 1_640_995_260_000)
    assert risk_runs(world) == []


def test_a_refusal_whose_context_is_gone_is_stored_all_the_same(world: World) -> None:
    lost = a_decision(world, inputs=[Input("trading_context", "ab" * 32, SLOT.isoformat(), 10**9)])
    assert say(world, lost, "refused").verdict == "refused"
    assert vetoes_of(world, lost) == []


@pytest.mark.requirement("R1")
def test_a_verdict_that_is_not_stored_starts_nothing(world: World) -> None:
    late = a_decision(world)
    world.pass_time(EXPIRES_S + 1)
    with pytest.raises(InputError, match="expired"):
        say(world, late)
    refused = a_decision(world, minute=1)
    say(world, refused, "refused")
    with pytest.raises(InputError, match="a verdict is final"):
        say(world, refused)
    assert risk_runs(world) == []


# --- on the real database ---------------------------------------------------------------------------------


def test_of_two_people_who_approve_and_refuse_at_once_one_wins_and_the_other_is_told_who(
    postgres_world: PostgresWorld,
) -> None:
    world = postgres_world
    for minute in range(12):
        run_id = a_decision(world, minute=minute)

        def attempt(person: tuple[str, Verdict], run_id: int = run_id) -> Approval | InputError:
            try:
                return say(world, run_id, person[1], by=person[0])
            except InputError as error:
                return error

        people: list[tuple[str, Verdict]] = [
            ("ada", "approved"),
            ("bob", "refused"),
            ("eve", "approved"),
            ("kim", "refused"),
        ]
        with ThreadPoolExecutor(4) as room:
            outcomes = list(room.map(attempt, people))
        winner = world.approvals.verdicts([run_id])[run_id]
        for (_, wanted), outcome in zip(people, outcomes, strict=True):
            if wanted == winner.verdict:
                assert outcome == winner
            else:
                assert f"was {winner.verdict} by {winner.by}" in str(outcome)
        assert len(world.audit.entries(9, subject=f"run:{run_id}")) == 1
    assert world.audit.verify().entries == 12


def test_a_verdict_whose_audit_entry_cannot_be_written_is_not_stored(postgres_world: PostgresWorld) -> None:
    run_id = a_decision(postgres_world)
    postgres_world.session.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'broken on purpose' USING ERRCODE = 'integrity_constraint_violation'; END $$;
        CREATE TRIGGER a_broken BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    with pytest.raises(InvariantViolation, match="broken on purpose"):
        say(postgres_world, run_id)
    assert postgres_world.approvals.verdicts([run_id]) == {}
    assert [each.run_id for each in postgres_world.approvals.waiting(9)] == [run_id]
    assert risk_runs(postgres_world) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE approvals SET verdict = 'approved'", "DELETE FROM approvals", "TRUNCATE approvals"]
)
def test_postgresql_refuses_to_change_or_withdraw_a_verdict(postgres_world: PostgresWorld, statement: str) -> None:
    run_id = a_decision(postgres_world)
    say(postgres_world, run_id, "refused")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="approvals is only ever appended to"):
        postgres_world.session.execute(statement)


def test_what_waits_is_found_by_an_index_however_many_results_there_are(postgres_world: PostgresWorld) -> None:
    from aaos.adapters.postgres.approvals import WAITING

    a_decision(postgres_world)
    asked = str(WAITING).replace(":longest_s", "604800").replace(":limit", "10").replace("::float8", "::float8")
    plan = postgres_world.session.execute("SET enable_seqscan = off; EXPLAIN " + asked)
    while plan.nextset():
        pass
    assert "results_to_be_reviewed" in "\n".join(row[0] for row in plan.fetchall())
