"""The veto ledger added up: who saved what, who missed what, and when nothing can be said yet."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import MINUTE_MS
from veto_examples import RULES, scored

from aaos.domain.veto_report import veto_figures, veto_report
from aaos.domain.vetoes import Veto, VetoCount, VetoRules


def counts_of(vetoes: list[Veto], *more: VetoCount) -> list[VetoCount]:
    places = {(each.refusal.stage, each.refusal.code) for each in vetoes}
    counted = [
        VetoCount(stage, code, "scored", None, sum((v.refusal.stage, v.refusal.code) == (stage, code) for v in vetoes))
        for stage, code in places
    ]
    return [*counted, *more]


def test_losses_avoided_and_gains_missed_are_added_up_apart() -> None:
    figures = veto_figures([scored("-2", 0, "-10"), scored("4", 1, "20"), scored("-1", 2), scored("0", 3)])
    assert figures is not None
    assert (figures.scored, figures.saved, figures.missed) == (4, 2, 2)
    assert (figures.saved_pct, figures.missed_pct) == (3, 4)
    assert (figures.sized, figures.saved_quote, figures.missed_quote) == (2, 10, 20)
    assert figures.mean_pct == pytest.approx(0.25)


def test_overlapping_vetoes_count_as_one_window_and_few_windows_give_no_interval() -> None:
    alike = veto_figures([scored("-2", at=0, veto_id=n) for n in range(50)])
    assert alike is not None
    assert (alike.scored, alike.windows, alike.interval_pct, alike.leaning) == (50, 1, None, "too few")
    assert veto_figures([]) is None


def test_what_can_be_said_depends_on_where_zero_lies() -> None:
    def leaning(*returns: float) -> str:
        found = veto_figures([scored(f"{value:.6f}", at) for at, value in enumerate(returns)])
        assert found is not None
        return found.leaning

    noise = np.random.default_rng(3).normal(0, 1, 40)
    assert leaning(*(noise - 3)) == "saves"
    assert leaning(*(noise + 3)) == "costs"
    assert leaning(*noise) == "unclear"


def test_the_report_has_the_whole_each_stage_and_each_code_of_it() -> None:
    vetoes = [
        scored("-2", 0),
        scored("1", 1, stage="decision", code="HIDDEN_HAND"),
        scored("-1", 2, stage="decision", code="CONFIDENCE"),
    ]
    open_ones = (
        VetoCount("decision", "CONFIDENCE", "waiting", None, 3),
        VetoCount("review", "REFUSED", "unread", None, 1),
    )
    report = veto_report(vetoes, counts_of(vetoes, *open_ones), RULES)
    assert [(row.stage, row.code, row.refused, row.waiting) for row in report.rows] == [
        (None, None, 7, 4),
        ("decision", None, 5, 3),
        ("decision", "CONFIDENCE", 4, 3),
        ("decision", "HIDDEN_HAND", 1, 0),
        ("review", None, 1, 1),
        ("review", "REFUSED", 1, 1),
        ("risk", None, 1, 0),
        ("risk", "RISK_DRAWDOWN", 1, 0),
    ]
    assert [None if row.figures is None else row.figures.mean_pct for row in report.rows[:3]] == [
        pytest.approx(-2 / 3),
        0.0,
        -1.0,
    ]
    assert report.rows[4].figures is None


def test_what_was_scored_under_other_rules_or_long_ago_or_never_is_counted_and_in_no_figure() -> None:
    vetoes = [scored("-2", 0), scored("-2", 1)]
    gone = VetoCount("risk", "RISK_DRAWDOWN", "unscorable", "the market was switched", 4)
    old = VetoCount("risk", "RISK_DRAWDOWN", "scored", None, 10)
    report = veto_report(vetoes, [old, gone], VetoRules(horizon_candles=99))
    assert (report.other_rules, report.beyond_window) == (2, 8)
    assert report.unscorable == (("the market was switched", 4),)
    assert all(row.figures is None for row in report.rows)
    assert veto_report(vetoes, [old, gone], VetoRules(horizon_candles=20, taker_fee=Decimal(0))).other_rules == 2


def test_an_empty_ledger_has_no_rows_and_its_json_says_under_which_rules() -> None:
    report = veto_report([], [], RULES)
    assert report.to_dict() == {
        "rows": [],
        "unscorable": {},
        "other_rules": 0,
        "beyond_window": 0,
        "horizon_candles": 20,
        "taker_fee": "0.0006",
    }


def test_the_json_of_figures_keeps_every_digit_of_money() -> None:
    vetoes = [scored("-2.5", 0, "-0.12345678")]
    (whole, *_) = veto_report(vetoes, counts_of(vetoes), RULES).to_dict()["rows"]
    assert whole["figures"]["saved_quote"] == "0.12345678"
    assert whole["figures"]["leaning"] == "too few"


@given(st.lists(st.decimals(-9, 9, places=2), min_size=1, max_size=30))
def test_what_was_saved_less_what_was_missed_is_the_sum_of_all_returns(returns: list[Decimal]) -> None:
    figures = veto_figures([scored(str(value), at, str(value * 3)) for at, value in enumerate(returns)])
    assert figures is not None
    assert figures.missed_pct - figures.saved_pct == sum(returns)
    assert figures.missed_quote - figures.saved_quote == 3 * sum(returns)
    assert figures.saved + figures.missed == len(returns)
    assert figures.mean_pct == pytest.approx(float(sum(returns)) / len(returns), abs=1e-9)


def test_the_interval_holds_the_truth_where_counting_one_by_one_would_not() -> None:
    rng = np.random.default_rng(7)
    a_horizon, windows, steps = 20, 25, 5  # a refusal every 5 candles, followed for 20
    example = scored("0")
    assert example.terms is not None
    assert example.outcome is not None
    held, claimed = 0, 0
    for _ in range(60):
        moves = rng.normal(0, 1, a_horizon * (windows + 1))
        vetoes, returns = [], []
        for at in range(0, a_horizon * windows, steps):
            value = float(moves[at : at + a_horizon].sum())
            terms = replace(example.terms, anchor_ms=at * MINUTE_MS)
            outcome = replace(example.outcome, return_pct=Decimal(f"{value:.6f}"))
            vetoes.append(replace(example, terms=terms, outcome=outcome))
            returns.append(value)
        figures = veto_figures(vetoes)
        assert figures is not None
        assert figures.interval_pct is not None
        assert figures.windows == windows
        low, high = figures.interval_pct
        held += low <= 0 <= high
        claimed += abs(np.mean(returns)) <= 1.96 * np.std(returns, ddof=1) / len(returns) ** 0.5
    assert held >= 0.88 * 60
    assert claimed < 0.8 * 60
