"""An ad-hoc request from a shell or a command line: one run, or a whole pipeline, under the caller's key."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from aaos.domain.market import unlisted
from aaos.domain.schedules import ALL_SYMBOLS, JOINT
from aaos.errors import InputError, UnknownKind, UnknownSymbol
from aaos.ports import Hints, MarketData, RunStore
from aaos.services.tick_schedule import STAGES, new_run
from aaos.settings import Settings

# Prefixes of the keys of a pipeline's parts, of votes, and of the steps of a trade; a request's own key must not look
# like one.
PART = "part:"
RESERVED = (PART, "vote:", "risk:", "execution:")
KEY_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Requested:
    """What a request led to; `created` is False when the key had its run already."""

    run_id: int
    kind: str
    symbol: str
    request_key: str
    created: bool


def request_run(
    kind: str, symbol: str, key: str | None, settings: Settings, market: MarketData, runs: RunStore, hints: Hints
) -> Requested:
    """Inserts the run unless the key has one, and points a worker at it.

    A decision gets inputs of its own, made for it: they are fresh by construction.

    Raises:
        UnknownKind, UnknownSymbol: nothing was inserted.
        InputError: the key belongs to a run of another kind or symbol; nothing was inserted.
        DatabaseUnavailable: nothing was inserted.
        BrokerUnavailable: the run is stored; it starts as soon as the broker is back.
    """
    _check(kind, symbol, settings, market)
    request_key = f"adhoc:{uuid.uuid4().hex}" if key is None else _checked_key(key)
    spec = new_run(kind, symbol, settings, request_key)
    if not spec.dependent:
        run_id, created = runs.insert_request(spec)
        if not created:
            return _known(run_id, kind, symbol, request_key, runs)
        hints.hint(kind, run_id)
        return Requested(run_id, kind, symbol, request_key, True)
    inputs = [
        (new_run(needed, symbol, settings, f"{PART}{request_key}:{needed}"), None)
        for needed in settings.schedules[kind].depends_on
    ]
    stage = new_run(STAGES[kind], symbol, settings, f"{PART}{request_key}:{STAGES[kind]}") if kind in STAGES else None
    plans = runs.insert_pipeline(spec, [symbol], None, stage, inputs)
    if not plans:
        run_id, _ = runs.insert_request(spec)
        return _known(run_id, kind, symbol, request_key, runs)
    hints.launch(plans[0].run_id)
    return Requested(plans[0].run_id, kind, symbol, request_key, True)


def _known(run_id: int, kind: str, symbol: str, request_key: str, runs: RunStore) -> Requested:
    record = runs.run(run_id)
    if (record.kind, record.symbol) != (kind, symbol):
        raise InputError(
            f"request key {request_key!r} belongs to run {run_id} ({record.kind} {record.symbol}), "
            f"not to a {kind} of {symbol}; choose another key"
        )
    return Requested(run_id, kind, symbol, request_key, False)


def _checked_key(key: str) -> str:
    if key.startswith(RESERVED) or not key.strip() or not key.isprintable() or len(key) > KEY_MAX_CHARS:
        raise InputError(
            f"key {key[:40]!r}: use 1 to {KEY_MAX_CHARS} printable characters, not beginning with "
            f"{' or '.join(RESERVED)}; or none for a new request"
        )
    return key


def _check(kind: str, symbol: str, settings: Settings, market: MarketData) -> None:
    if kind not in settings.schedules:
        known = ", ".join(sorted(settings.schedules))
        raise UnknownKind(f"{kind!r} cannot be requested; these can: {known}")
    if kind in JOINT:
        if symbol != ALL_SYMBOLS:
            raise InputError(f"{kind} is one run for all symbols: request it for {ALL_SYMBOLS!r}, not for {symbol!r}")
        return
    known_symbols = market.symbols()
    if symbol not in known_symbols:
        raise UnknownSymbol(unlisted(symbol, known_symbols))
