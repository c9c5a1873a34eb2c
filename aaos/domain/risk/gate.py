"""The risk gate: a proposal and the evidence in, a sized trade and seven checks out. Pure, so it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aaos.domain.amounts import exact
from aaos.domain.orders import NewRiskApproval
from aaos.domain.risk.checks import Check, Trade, seven_checks, shown
from aaos.domain.risk.correlation import Correlation, correlation
from aaos.domain.risk.equity import Account, Marked, valued
from aaos.domain.risk.formulas import margin_percent
from aaos.domain.risk.proposal import Evidence, Proposal, Seen, Terms
from aaos.domain.risk.rules import RiskRules
from aaos.domain.risk.sizing import Sizing, percent_of, size_trade


@dataclass(frozen=True, slots=True)
class Assessment:
    """What risk found: approved only when every check passed."""

    proposal: Proposal
    sizing: Sizing
    account: Account
    correlations: Mapping[str, Correlation]
    checks: tuple[Check, ...]
    base_risk: Decimal

    @property
    def approved(self) -> bool:
        """Whether all checks passed."""
        return not self.failed

    @property
    def failed(self) -> Sequence[Check]:
        """Returns the checks that did not pass, in their order; the first one's code is the refusal's."""
        return [each for each in self.checks if not each.passed]

    def approval(self, expires_after_s: float) -> NewRiskApproval | None:
        """Returns what risk lets through; None unless every check passed."""
        if not self.approved:
            return None
        proposal, sizing = self.proposal, self.sizing
        return NewRiskApproval(
            source=proposal.source,
            source_hash=proposal.source_hash,
            account=proposal.account,
            symbol=proposal.symbol,
            side=proposal.side,
            quantity=sizing.quantity,
            leverage=sizing.leverage,
            entry_price=sizing.price,
            limit_price=proposal.limit_price,
            stop_price=sizing.stop_price,
            take_profit_price=sizing.take_profit_price,
            reduce_only=proposal.reduce_only,
            expires_after_s=expires_after_s,
            book_version=self.account.snapshot.version,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form: every figure as text, so that it keeps its digits."""
        return {
            "checks": [each.to_dict() for each in self.checks],
            "sizing": self._sizing(),
            "figures": self._figures(),
        }

    def _sizing(self) -> dict[str, Any]:
        sizing, proposal = self.sizing, self.proposal
        full_size = margin_percent(self.base_risk, sizing.leverage)
        return {
            "quantity": exact(sizing.quantity),
            "price": exact(sizing.price),
            "notional": exact(sizing.notional),
            "leverage": exact(sizing.leverage),
            "margin": shown(sizing.margin),
            "margin_percent": shown(percent_of(sizing.margin, self.account.equity)),
            "full_size_margin_percent": None if proposal.quantity is not None else shown(full_size),
            "stop_price": None if sizing.stop_price is None else exact(sizing.stop_price),
            "take_profit_price": None if sizing.take_profit_price is None else exact(sizing.take_profit_price),
            "liquidation_price": shown(sizing.liquidation_price),
            "limit_price": None if proposal.limit_price is None else exact(proposal.limit_price),
            "size_fraction": exact(proposal.size_fraction),
            "asked_leverage": None if proposal.leverage is None else exact(proposal.leverage),
            "reduce_only": proposal.reduce_only,
        }

    def _figures(self) -> dict[str, Any]:
        snapshot = self.account.snapshot
        return {
            "equity": exact(self.account.equity),
            "cash": exact(snapshot.cash),
            "book_version": snapshot.version,
            "peak_equity": shown(snapshot.peak_equity),
            "day_equity": shown(snapshot.day_equity),
            "week_equity": shown(snapshot.week_equity),
            "losses_in_a_row": snapshot.losses_in_a_row,
            "hourly_atr_percent": shown(self.sizing.atr_percent),
            "max_leverage": exact(self.sizing.max_leverage),
            "exposures": [_exposure(each) for each in self.account.marks],
            "correlations": [_correlation(*each) for each in sorted(self.correlations.items())],
        }


def assess(
    proposal: Proposal,
    evidence: Evidence,
    rules: RiskRules,
    terms: Terms,
    entry_level: int,
    max_book_age_s: float,
) -> Assessment:
    """Returns what risk makes of a proposal: its size, and all seven checks with their figures and limits.

    Args:
        proposal: what shall be traded.
        evidence: market, venue and account at one instant.
        rules: section `risk`.
        terms: the limits of this kind of trade.
        entry_level: book level of the own side that entries rest at.
        max_book_age_s: positions in other symbols are not valued by a book older than this, in market seconds.
    """
    own = Seen(evidence.book, evidence.candles)
    account = valued(evidence.snapshot, {**evidence.others, proposal.symbol: own}, max_book_age_s)
    sizing = size_trade(proposal, evidence, account.equity, rules, terms, entry_level)
    others = sorted({each.exposure.symbol for each in account.grows} - {proposal.symbol})
    correlations = {
        symbol: correlation(evidence.candles, evidence.others.get(symbol, Seen()).candles, rules.correlation_candles)
        for symbol in others
    }
    trade = Trade(proposal, sizing, evidence.instrument, account, correlations, terms, rules)
    return Assessment(proposal, sizing, account, correlations, seven_checks(trade), rules.base_risk)


def _exposure(mark: Marked) -> dict[str, Any]:
    exposure = mark.exposure
    return {
        "source": exposure.source,
        "symbol": exposure.symbol,
        "quantity": exact(exposure.quantity),
        "entry_price": exact(exposure.price),
        "is_open": exposure.is_open,
        "marked_at": exact(mark.price),
        "marked_by": mark.by,
        "unrealised": shown(mark.unrealised),
        "notional": shown(mark.notional),
    }


def _correlation(symbol: str, found: Correlation) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "value": exact(found.value),
        "returns": found.returns,
        "undefined": found.undefined,
    }
