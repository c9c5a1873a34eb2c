"""The functions of `import aaos`: typed values in and out, errors that name the remedy."""

from __future__ import annotations

import getpass
import uuid
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aaos.domain.runs import State
from aaos.errors import BrokerUnavailable, InputError, UnknownSymbol
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.explanation import Explained
from aaos.shell.filters import refuse_unknown
from aaos.shell.handle import Handle, R
from aaos.shell.lists import ResultList, RunList
from aaos.shell.replay import ReplayedDecision
from aaos.shell.results import AnalysisResult, DecisionResult, RegimeResult, Result, typed
from aaos.shell.reviews import WaitingList, with_standing
from aaos.shell.runs import Run
from aaos.shell.status import Status, current_status
from aaos.shell.story import followed

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.ports import Approval, ResultRecord

ANALYSIS, REGIME, DECISION = "technical_analysis", "regime_detection", "trading_decision"
LIMIT_MAX = 100_000
ID_MAX = 2**63 - 1
_CALLER = 3  # warnings point at the line that called analyze, regime or decide


def analyze(symbol: str, key: str | None = None) -> Handle[AnalysisResult]:
    """Requests a technical analysis now; returns a handle to wait on.

    Args:
        symbol: as `symbols()` lists it.
        key: the same key gives the same run and the same stored answer, so a retry is safe.

    Raises:
        UnknownSymbol: names the known ones.
        DatabaseUnavailable: nothing was stored.
    """
    return warned(request(ANALYSIS, symbol, key, AnalysisResult))


def regime(symbol: str, key: str | None = None) -> Handle[RegimeResult]:
    """Requests a regime detection now; see `analyze`."""
    return warned(request(REGIME, symbol, key, RegimeResult))


def decide(symbol: str, key: str | None = None) -> Handle[DecisionResult]:
    """Requests a decision with fresh inputs of its own now; see `analyze`."""
    return warned(request(DECISION, symbol, key, DecisionResult))


@helpful_errors()
def runs(limit: int = 20, kind: str | None = None, symbol: str | None = None, state: str | None = None) -> RunList:
    """Returns the newest runs first.

    Raises:
        UnknownKind, UnknownSymbol: names the known ones.
    """
    container = connect()
    _check_filters(limit, kind, symbol, container)
    if state is not None and state not in list(State):
        raise InputError(f"no state {state!r}; a run is {', '.join(State)}")
    found = RunList(Run.of(each) for each in container.runs.runs(limit, kind, symbol, state))
    if not found:
        refuse_unknown(symbol, container)
    return found


@helpful_errors()
def results(symbol: str | None = None, kind: str | None = None, limit: int = 10) -> ResultList:
    """Returns the newest results first, of one symbol or of all.

    Raises:
        UnknownKind, UnknownSymbol: names the known ones.
    """
    container = connect()
    _check_filters(limit, kind, symbol, container)
    found = ResultList(
        with_standing([typed(each) for each in container.results.results(limit, kind, symbol)], container)
    )
    if not found:
        refuse_unknown(symbol, container)
    return found


@helpful_errors()
def explain(what: Handle[R] | Run | Result | int) -> Explained:
    """Returns what a result rests on, from the candles to the answer, every hash on the way checked.

    Of a decision also what became of it: risk, approval, orders, fills, position, or the veto.

    Args:
        what: a handle, a run, a run's id, or a result.

    Raises:
        UnknownRun: no such run.
        WaitTimeout, RunFailed: the run has no result yet, or will never have one.
    """
    container = connect()
    from aaos.services.explain_run import explain as explain_result

    run_id = _run_id(what)
    record = result_of_run(run_id, container)
    [shown] = with_standing([typed(record)], container)
    explanation = explain_result(record, container.results)
    if not isinstance(shown, DecisionResult):
        return Explained(explanation)
    return Explained(explanation, shown.review, followed(f"decision:{run_id}", record.symbol, container))


@helpful_errors()
def replay(what: Handle[R] | Run | Result | int, *, without_fallback: bool = False) -> ReplayedDecision:
    """Returns a decision made again from its stored inputs, answers and rules: the same to the byte, or what differs.

    Args:
        what: a handle, a run, a run's id, or a result.
        without_fallback: as it would have been, had no fallback model answered.

    Raises:
        UnknownRun: no such run.
        InputError: it is no decision, or was stored by a version that did not keep rules with decisions.
    """
    from aaos.services.replay_decision import replay_decision

    container = connect()
    return ReplayedDecision(replay_decision(_run_id(what), container.runs, container.results, without_fallback))


@helpful_errors()
def approve(
    what: Handle[R] | Run | Result | int, reason: str, *, refuse: bool = False, by: str | None = None
) -> Approval:
    """Gives a person's verdict on a decision that waits for one; the same verdict again changes nothing.

    Args:
        what: a handle, a run, a run's id, or a result.
        reason: why, for the audit log.
        refuse: it must not be traded.
        by: who says so; by default the name this process runs under.

    Raises:
        UnknownRun: no such run.
        InputError: it needs no approval, has another verdict already, or has expired.
    """
    from aaos.services.approve_decision import approve_decision

    container = connect()
    person = getpass.getuser() if by is None else by
    return approve_decision(
        _checked_id(_run_id(what)),
        "refused" if refuse else "approved",
        person,
        reason,
        container.runs,
        container.results,
        container.approvals,
        hints=container.hints,
        settings=container.settings,
    )


@helpful_errors()
def approvals(limit: int = 100) -> WaitingList:
    """Returns the decisions that wait for a person's approval, the most urgent first."""
    container = connect()
    _check_filters(limit, None, None, container)
    return WaitingList(container.approvals.waiting(limit))


@helpful_errors()
def symbols() -> Sequence[str]:
    """Returns the symbols of the market in use."""
    return tuple(connect().market.symbols())


def status() -> Status:
    """Returns what runs, what waits and what it costs; a server that is away shows as such."""
    return current_status(connect())


@helpful_errors()
def request(kind: str, symbol: str, key: str | None, _: type[R]) -> Handle[R]:
    """Stores the request and points a worker at it; a broker that is away becomes the handle's `warning`.

    Raises:
        InputError: the key belongs to another request.
        UnknownKind, UnknownSymbol, DatabaseUnavailable: nothing was stored.
    """
    container = connect()
    chosen = f"adhoc:{uuid.uuid4().hex}" if key is None else key
    warning = None
    try:
        requested = container.request(kind, symbol, chosen)
    except BrokerUnavailable as error:
        # The row is stored before a message is tried; asked again, the same key finds it and sends none.
        requested = container.request(kind, symbol, chosen)
        warning = (
            f"run {requested.run_id} is stored, but the broker is away ({error}); "
            "it starts by itself once broker and workers are back"
        )
    run = container.runs.run(requested.run_id)
    if (run.kind, run.symbol) != (kind, symbol):
        raise InputError(f"the key {chosen!r} belongs to run {run.id} ({run.kind} {run.symbol}); choose another key")
    created = requested.created or warning is not None
    return Handle(requested.run_id, kind, symbol, chosen, created, warning, _container=container)


def result_of_run(run_id: int, container: Container) -> ResultRecord:
    """Returns the run's result; raises UnknownRun, WaitTimeout or RunFailed where there is none."""
    found = container.results.result_of_run(_checked_id(run_id))
    if found is not None:
        return found
    run = container.runs.run(run_id)
    handle: Handle[Result] = Handle(run.id, run.kind, run.symbol, run.request_key or "", False, _container=container)
    handle.result()
    return result_of_run(run_id, container)  # it completed between the two looks


def _run_id(what: Handle[R] | Run | Result | int) -> int:
    return what.run_id if isinstance(what, Result) else what if isinstance(what, int) else what.id


def _checked_id(run_id: int) -> int:
    if not 0 < run_id <= ID_MAX:
        raise InputError(f"{run_id} is no run's id")
    return run_id


def warned(handle: Handle[R]) -> Handle[R]:
    """Returns the handle, its warning given at the line of the caller's caller."""
    if handle.warning is not None:
        warnings.warn(handle.warning, RuntimeWarning, stacklevel=_CALLER)
    return handle


def _check_filters(limit: int, kind: str | None, symbol: str | None, container: Container) -> None:
    if not 0 < limit <= LIMIT_MAX:
        raise InputError(f"limit is {limit}: ask for 1 to {LIMIT_MAX} rows")
    if kind is not None:
        container.settings.kind(kind)
    if symbol is not None and not symbol.isprintable():
        raise UnknownSymbol(f"no symbol {symbol!r}; `aaos.symbols()` lists them")
