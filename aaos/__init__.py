"""What a person types in a Python shell.

    >>> import aaos
    >>> h = aaos.analyze("BTC/USDT")
    >>> h.wait(30)
    >>> aaos.decide("BTC/USDT").wait(120)
    >>> aaos.runs()
    >>> aaos.results("BTC/USDT")
    >>> aaos.explain(h)
    >>> aaos.chart("BTC/USDT", "btc.png")
    >>> aaos.approvals()
    >>> aaos.approve(17, "seen, the 7B is right")
    >>> aaos.positions()
    >>> aaos.portfolio()
    >>> aaos.rebalance().wait(60)
    >>> aaos.pnl()
    >>> aaos.vetoes()

Importing this costs next to nothing: what a name needs is loaded when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaos import errors
    from aaos.shell.api import (
        analyze,
        approvals,
        approve,
        decide,
        explain,
        regime,
        replay,
        results,
        runs,
        status,
        symbols,
    )
    from aaos.shell.assessments import Assessed, AssessmentList, risk
    from aaos.shell.calibration import Calibration, calibration
    from aaos.shell.chart import chart
    from aaos.shell.explanation import Explained
    from aaos.shell.handle import Handle
    from aaos.shell.lists import ResultList, RunList
    from aaos.shell.orders import FillList, OrderList, fills, orders, release_order
    from aaos.shell.pnl import Profits, pnl
    from aaos.shell.portfolio import (
        Portfolio,
        Targets,
        TradeList,
        portfolio,
        portfolio_targets,
        portfolio_trades,
        rebalance,
    )
    from aaos.shell.positions import ClosedPositionList, PositionList, positions
    from aaos.shell.results import (
        AnalysisResult,
        DecisionResult,
        RebalanceResult,
        RegimeResult,
        Result,
        VoteResult,
    )
    from aaos.shell.reviews import WaitingList
    from aaos.shell.runs import Run
    from aaos.shell.sovereign import sovereign_call, sovereign_calls, sovereign_cost
    from aaos.shell.status import Status
    from aaos.shell.trading import Trading, resume_trading, stop_trading, trading
    from aaos.shell.vetoes import VetoList, VetoTotals, vetoes

__all__ = [
    "AnalysisResult",
    "Assessed",
    "AssessmentList",
    "Calibration",
    "ClosedPositionList",
    "DecisionResult",
    "Explained",
    "FillList",
    "Handle",
    "OrderList",
    "Portfolio",
    "PositionList",
    "Profits",
    "RebalanceResult",
    "RegimeResult",
    "Result",
    "ResultList",
    "Run",
    "RunList",
    "Status",
    "Targets",
    "TradeList",
    "Trading",
    "VetoList",
    "VetoTotals",
    "VoteResult",
    "WaitingList",
    "analyze",
    "approvals",
    "approve",
    "calibration",
    "chart",
    "decide",
    "errors",
    "explain",
    "fills",
    "orders",
    "pnl",
    "portfolio",
    "portfolio_targets",
    "portfolio_trades",
    "positions",
    "rebalance",
    "regime",
    "release_order",
    "replay",
    "results",
    "resume_trading",
    "risk",
    "runs",
    "sovereign_call",
    "sovereign_calls",
    "sovereign_cost",
    "status",
    "stop_trading",
    "symbols",
    "trading",
    "vetoes",
]

_HOMES = {
    "aaos.shell.api": (
        "analyze",
        "approvals",
        "approve",
        "decide",
        "explain",
        "regime",
        "replay",
        "results",
        "runs",
        "status",
        "symbols",
    ),
    "aaos.shell.assessments": ("Assessed", "AssessmentList", "risk"),
    "aaos.shell.calibration": ("Calibration", "calibration"),
    "aaos.shell.chart": ("chart",),
    "aaos.shell.explanation": ("Explained",),
    "aaos.shell.handle": ("Handle",),
    "aaos.shell.lists": ("ResultList", "RunList"),
    "aaos.shell.orders": ("FillList", "OrderList", "fills", "orders", "release_order"),
    "aaos.shell.pnl": ("Profits", "pnl"),
    "aaos.shell.portfolio": (
        "Portfolio",
        "Targets",
        "TradeList",
        "portfolio",
        "portfolio_targets",
        "portfolio_trades",
        "rebalance",
    ),
    "aaos.shell.positions": ("ClosedPositionList", "PositionList", "positions"),
    "aaos.shell.results": (
        "AnalysisResult",
        "DecisionResult",
        "RebalanceResult",
        "RegimeResult",
        "Result",
        "VoteResult",
    ),
    "aaos.shell.reviews": ("WaitingList",),
    "aaos.shell.runs": ("Run",),
    "aaos.shell.sovereign": ("sovereign_call", "sovereign_calls", "sovereign_cost"),
    "aaos.shell.status": ("Status",),
    "aaos.shell.trading": ("Trading", "resume_trading", "stop_trading", "trading"),
    "aaos.shell.vetoes": ("VetoList", "VetoTotals", "vetoes"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("aaos.errors")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aaos' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
