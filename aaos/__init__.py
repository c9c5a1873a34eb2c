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
        results,
        runs,
        status,
        symbols,
    )
    from aaos.shell.calibration import Calibration, calibration
    from aaos.shell.chart import chart
    from aaos.shell.explanation import Explained
    from aaos.shell.handle import Handle
    from aaos.shell.lists import ResultList, RunList
    from aaos.shell.results import AnalysisResult, DecisionResult, RegimeResult, Result, VoteResult
    from aaos.shell.reviews import WaitingList
    from aaos.shell.runs import Run
    from aaos.shell.sovereign import sovereign_call, sovereign_calls, sovereign_cost
    from aaos.shell.status import Status

__all__ = [
    "AnalysisResult",
    "Calibration",
    "DecisionResult",
    "Explained",
    "Handle",
    "RegimeResult",
    "Result",
    "ResultList",
    "Run",
    "RunList",
    "Status",
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
    "regime",
    "results",
    "runs",
    "sovereign_call",
    "sovereign_calls",
    "sovereign_cost",
    "status",
    "symbols",
]

_HOMES = {
    "aaos.shell.api": (
        "analyze",
        "approvals",
        "approve",
        "decide",
        "explain",
        "regime",
        "results",
        "runs",
        "status",
        "symbols",
    ),
    "aaos.shell.calibration": ("Calibration", "calibration"),
    "aaos.shell.chart": ("chart",),
    "aaos.shell.explanation": ("Explained",),
    "aaos.shell.handle": ("Handle",),
    "aaos.shell.lists": ("ResultList", "RunList"),
    "aaos.shell.results": ("AnalysisResult", "DecisionResult", "RegimeResult", "Result", "VoteResult"),
    "aaos.shell.reviews": ("WaitingList",),
    "aaos.shell.runs": ("Run",),
    "aaos.shell.sovereign": ("sovereign_call", "sovereign_calls", "sovereign_cost"),
    "aaos.shell.status": ("Status",),
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
