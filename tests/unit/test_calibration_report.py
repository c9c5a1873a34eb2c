"""The report: every model and role, what is learned beside what is in force, and all that is left out."""

from __future__ import annotations

import json
from dataclasses import replace

from calibration_examples import RULES, forecasts

from aaos.domain.calibration import CalibrationReport, CalibrationRules, StateCount, VoteOutcome, calibration_report

PRIOR = 0.8


def count(state: str, number: int, current: bool | None = None, reason: str | None = None, **who: object) -> StateCount:
    source = {"model": "big", "fallback_used": False, "regime": "ranging", **who}
    return StateCount(**source, state=state, reason=reason, current=current, count=number)  # type: ignore[arg-type]


def report(
    scored: list[VoteOutcome], *counts: StateCount, rules: CalibrationRules = RULES, **only: str
) -> CalibrationReport:
    return calibration_report(scored, counts, rules, PRIOR, **only)


def test_without_votes_the_report_is_empty_and_still_says_what_is_in_force() -> None:
    empty = report([])
    assert empty.rows == ()
    assert "reported only" in empty.verdict
    assert "AAOS_CALIBRATION__USE_LEARNED_TRUST=true" in empty.verdict
    assert "calibration.use_learned_trust: true" in empty.verdict


def test_each_model_and_role_has_a_row_over_all_and_one_for_each_regime() -> None:
    votes = [
        *forecasts(60, seed=1),
        *forecasts(10, seed=2, regime="volatile"),
        *forecasts(5, seed=3, model="small", fallback_used=True),
    ]
    rows = report(votes).rows
    assert [(row.model, row.fallback_used, row.regime) for row in rows] == [
        ("big", False, None),
        ("big", False, "ranging"),
        ("big", False, "volatile"),
        ("small", True, None),
        ("small", True, "ranging"),
    ]
    assert [row.figures.votes for row in rows if row.figures] == [70, 60, 10, 5, 5]


def test_switched_off_the_priors_are_in_force_and_the_learned_factor_stands_beside_them() -> None:
    votes = [*forecasts(200, seed=1, trust=0.5), *forecasts(5, seed=2, model="small", fallback_used=True)]
    rows = report(votes).rows
    assert {(row.model, row.in_force, row.source) for row in rows} == {("big", 1.0, "none"), ("small", 0.8, "prior")}
    assert all(row.lesson is not None and row.lesson.factor < 0.7 for row in rows if row.model == "big")


def test_switched_on_the_learned_factor_is_in_force_where_there_is_evidence() -> None:
    votes = [*forecasts(200, seed=1, trust=0.5), *forecasts(5, seed=2, model="small", fallback_used=True)]
    on = report(votes, rules=replace(RULES, use_learned_trust=True))
    for row in on.rows:
        if row.model == "big":
            assert row.lesson is not None
            assert (row.in_force, row.source) == (row.lesson.factor, "learned")
        else:
            assert (row.in_force, row.source) == (0.8, "prior")
    assert "in force" in on.verdict
    assert "false" in on.verdict


def test_holds_waiting_and_unscorable_votes_are_counted_though_not_scored() -> None:
    found = report(
        forecasts(6, seed=1),
        count("scored", 6, current=True),
        count("held", 3),
        count("waiting", 2, current=True),
        count("unscorable", 1, reason="a gap"),
        count("unread", 4, model=None, fallback_used=None, regime=None),
    )
    row = found.rows[0]
    assert (row.held, row.waiting, row.unscorable, row.hold_share) == (3, 2, 1, 0.25)
    assert (found.unscorable, found.unread) == ({"a gap": 1}, 4)


def test_a_model_that_only_holds_has_a_row_without_figures() -> None:
    [overall, regime] = report([], count("held", 3)).rows
    assert (overall.figures, overall.hold_share, overall.lesson, regime.regime) == (None, 1.0, None, "ranging")


def test_votes_scored_under_other_rules_and_beyond_the_window_are_told_of() -> None:
    found = report(forecasts(6, seed=1), count("scored", 9, current=False), count("scored", 10, current=True))
    assert (found.other_rules, found.beyond_window) == (9, 4)


def test_one_model_or_one_regime_is_shown_alone() -> None:
    votes = [*forecasts(6, seed=1), *forecasts(6, seed=2, model="small"), *forecasts(6, seed=3, regime="volatile")]
    assert {row.model for row in report(votes, model="small").rows} == {"small"}
    assert {(row.model, row.regime) for row in report(votes, regime="volatile").rows} == {("big", "volatile")}


def test_the_report_is_json() -> None:
    plain = json.loads(json.dumps(report(forecasts(60, seed=1), count("held", 3)).to_dict(), allow_nan=False))
    assert plain["rows"][0]["figures"]["votes"] == 60
    assert plain["rules"]["horizon_candles"] == 24
