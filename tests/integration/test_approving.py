"""A person's word on decisions, typed on the command line and in Python, on a real database."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from support.person import Person, run
from support.worlds import SLOT, PostgresWorld, born, taken

from aaos.domain.decision import CastVote, DecisionInputs, DecisionRules, decide, distrusted
from aaos.domain.regime import RegimeOutput
from aaos.domain.runs import Completed, NewAlert
from aaos.domain.signals import SignalOutput

RULES = DecisionRules(fallback_policy="review")


@pytest.fixture
def world(alone: Person) -> Iterator[PostgresWorld]:
    """The database behind the person's commands."""
    opened = PostgresWorld(alone.environment["AAOS_DATABASE_URL"])
    yield opened
    opened.close()


def a_body(rules: DecisionRules) -> dict[str, Any]:
    """A decision as it is stored, on one BUY of 0.9 by the fallback model."""
    trust = distrusted(0.9, True, rules)
    vote = CastVote(
        "trend", "sovereign-7b", "BUY", trust.confidence, 0.3, "it rises", True, 0.9, trust.factor, trust.source
    )
    technical = SignalOutput("BTC/USDT", "1m", "long", 65.0, 50.0, (), {}, 500, 0)
    regime = RegimeOutput("BTC/USDT", "1m", "trending_up", 0.8, "markup", "rising", {}, 500, 0)
    decided = decide(DecisionInputs("BTC/USDT", technical, regime, (vote,), (), 1), rules)
    spoken = {key: vote.to_dict()[key] for key in ("voter", "model", "signal", "confidence", "original_confidence")}
    times = {"as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()}
    shown = {"timeframe": "1m", "votes": [{"run": 1, "fallback_used": True, **spoken}]}
    return decided.to_dict() | times | shown


def a_decision(world: PostgresWorld, rules: DecisionRules = RULES, minute: int = 0, *, alert: bool = False) -> int:
    runs = world.runs()
    claim = taken(runs, born(runs, kind="trading_decision", slot=SLOT + timedelta(minutes=minute)))
    alerts = [NewAlert("approval_needed", f"decision {claim.id} waits")] if alert else []
    runs.complete(claim, Completed(a_body(rules), alerts=alerts), True)
    return claim.id


@pytest.mark.requirement("FM-TAW-006")
def test_a_held_decision_is_listed_shown_everywhere_approved_and_audited(alone: Person, world: PostgresWorld) -> None:
    run_id = a_decision(world, alert=True)
    assert f"decision {run_id} waits" in alone.types("alerts").stdout
    header, row = alone.types("approvals").stdout.splitlines()
    assert header.split() == ["run", "symbol", "signal", "confidence", "expires", "in", "why"]
    assert row.split()[:6] == [str(run_id), "BTC/USDT", "BUY", "0.72", "14", "min"]
    assert alone.json("approvals")[0]["run_id"] == run_id
    for words in (("results",), ("explain", str(run_id))):
        assert "waits for approval until" in alone.types(*words).stdout, words
    status = alone.types("status").stdout
    assert "decisions that wait for approval" in status
    assert f"{run_id}  BTC/USDT  BUY" in status
    assert alone.json("status")["waiting"][0]["run_id"] == run_id
    said = alone.types("approve", str(run_id), "--by", "ada", "--reason", "the 7B sees what I see").stdout
    assert said.startswith(f"decision {run_id} approved by ada: the 7B sees what I see")
    assert alone.types("approvals").stdout == "no decision waits for a person\n"
    assert "review: approved by ada at " in alone.types("explain", str(run_id)).stdout
    assert "approved by ada" in alone.types("results", "--kind", "trading_decision").stdout
    assert alone.json("explain", str(run_id))["review"].startswith("approved by ada")
    audit = alone.types("audit", "--action", "decision.approved").stdout
    assert f"run:{run_id}" in audit
    assert 'reason "the 7B sees what I see"' in audit
    assert alone.types("audit", "--verify").stdout == "1 audit entries, every one as it was written\n"
    assert alone.json("audit")[0]["actor"] == "ada"
    assert alone.types("audit", "--action", "nonsense").stdout == "no such audit entries\n"
    assert "leave out --action" in alone.types("audit", "--verify", "--action", "decision.approved", status=1).stderr


def test_slips_are_answered_with_the_remedy(alone: Person, world: PostgresWorld) -> None:
    held, free, late = a_decision(world), a_decision(world, DecisionRules(), 1), a_decision(world, RULES, 2)
    world.session.execute(
        "UPDATE results SET analyzed_at = analyzed_at - interval '16 minutes' WHERE run_id = %s", (late,)
    )
    alone.types("approve", str(held), "--reason", "no", "--refuse", "--by", "bob")
    slips = {
        (str(held), "--reason", "yes"): "was refused by bob at",
        (str(free), "--reason", "yes"): "needs no approval: it is tradable as it is; `aaos approvals` lists",
        ("999999", "--reason", "yes"): "no run 999999; `aaos runs` lists the newest",
        (str(held), "--reason", " "): "reason ' ': say it in 1 to 1000 printable characters",
    }
    for words, answer in slips.items():
        assert answer in alone.types("approve", *words, status=1).stderr, words
    # Sixteen minutes old, fifteen allowed: expired a minute ago, and the seconds that the test took until here.
    told = alone.types("approve", str(late), "--reason", "yes", status=1).stderr
    remedy = "s ago and will not be traded; ask for a new one with `aaos decide`"
    assert re.search(rf"decision {late} expired [67]\d {re.escape(remedy)}", told), told
    assert "Missing option '--reason'" in run(alone.environment, "-m", "aaos.cli", "approve", str(held)).stderr
    assert alone.types("approve", str(held), "--refuse", "--reason", "again").stdout.startswith(
        f"decision {held} refused by bob: no"
    )
    assert "not approved, expired" in alone.types("explain", str(late)).stdout
    assert alone.json("approvals") == []


def test_from_python_a_verdict_bears_the_name_of_whoever_runs_it(alone: Person, world: PostgresWorld) -> None:
    run_id = a_decision(world)
    said = alone.python(f"""
        import getpass
        waiting = aaos.approvals()
        given = aaos.approve({run_id}, "seen")
        decision = aaos.results("BTC/USDT")[0]
        again = aaos.approve(decision, "seen twice")
        said = {{"waiting": [each.run_id for each in waiting], "table": repr(waiting), "me": getpass.getuser(),
                 "given": [given.verdict, given.by], "same": again == given, "tradable": decision.tradable,
                 "review": decision.review, "left": repr(aaos.approvals())}}
        try:
            aaos.approve(waiting[0].run_id, "no", refuse=True)
        except aaos.errors.InputError as error:
            said["refused"] = str(error)
    """)
    assert (said["waiting"], said["given"], said["same"]) == ([run_id], ["approved", said["me"]], True)
    assert (said["tradable"], said["left"]) == (False, "no decision waits for a person")
    assert said["review"].startswith(f"approved by {said['me']} at ")
    assert "a verdict is final" in said["refused"]
    assert "14 min" in said["table"]


def test_of_two_processes_that_approve_and_refuse_at_once_one_wins_and_the_other_is_told_who(
    alone: Person, world: PostgresWorld
) -> None:
    run_id = a_decision(world)
    ended: dict[str, Any] = {}

    def type_it(who: str, *more: str) -> None:
        words = ("-m", "aaos.cli", "approve", str(run_id), "--by", who, "--reason", f"says {who}", *more)
        ended[who] = run(alone.environment, *words)

    people = [threading.Thread(target=type_it, args=each) for each in (("ada",), ("bob", "--refuse"))]
    for person in people:
        person.start()
    for person in people:
        person.join()
    winner = world.approvals.verdicts([run_id])[run_id]
    loser = "bob" if winner.by == "ada" else "ada"
    assert (ended[winner.by].returncode, ended[loser].returncode) == (0, 1)
    assert f"was {winner.verdict} by {winner.by}" in ended[loser].stderr
    assert len(world.audit.entries(9)) == 1


@pytest.mark.requirement("A1")
def test_a_log_that_somebody_changed_is_named_and_ends_with_an_error(alone: Person, world: PostgresWorld) -> None:
    for minute in range(3):
        alone.types("approve", str(a_decision(world, minute=minute)), "--reason", "seen", "--by", "ada")
    world.session.execute(
        "SET session_replication_role = replica; UPDATE audit_log SET entry = replace(entry::text, 'ada', 'eve')::json"
        " WHERE id = 2; RESET session_replication_role"
    )
    told = alone.types("audit", "--verify", status=1).stderr
    assert told == (
        "error: the audit log is broken at entry 2: entry 2 is not what was written; the 1 before it are as written\n"
    )
    assert alone.types("audit", "--limit", "1").stdout.count("\n") == 2
