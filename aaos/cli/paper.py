"""paper: the paper venue by its own ledger, and how it shall misbehave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aaos.cli.output import Json, Limit, note, print_json, say, show
from aaos.domain.orders import TRADING_ACCOUNT
from aaos.errors import ConfigError
from aaos.shell.connection import connect, helpful_errors

if TYPE_CHECKING:
    from datetime import datetime

    from aaos.domain.venue.misbehaviours import Misbehaviour

WELL = "ok"
ALL_TRADES = 2**31 - 1

Account = Annotated[str, typer.Option("--account", metavar="NAME", help="paper (decisions) or paper-portfolio")]

paper = typer.Typer(
    help="The paper venue by its own ledger, and how it shall misbehave.", no_args_is_help=True, rich_markup_mode=None
)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(paper, name="paper")


@paper.command()
@helpful_errors()
def account(name: Account = TRADING_ACCOUNT, as_json: Json = False) -> None:
    """An account's money: cash = deposits + realised − fees + funding − liquidation fees."""
    container = connect()
    broker = container.broker(_known(name, container.brokers))
    cash, positions, flows = broker.cash(), broker.positions(), broker.cash_flows(None)
    sums: dict[str, Decimal] = {"cash": cash}
    for flow in flows:
        key = "deposits" if flow.kind in ("deposit", "withdrawal") else flow.kind
        sums[key] = sums.get(key, Decimal(0)) + flow.amount
    trades = container.venue_store.newest_trades(name, ALL_TRADES)
    sums["realised"] = sum((trade.realised for trade in trades), Decimal(0))
    sums["fees"] = sum((trade.fill.fee for trade in trades), Decimal(0))
    if as_json:
        print_json({"account": name, **_texts(sums), "positions": len(positions), "trades": len(trades)})
        return
    _show(("what", "quote currency"), ((key, f"{value:.8f}") for key, value in sums.items()))
    say(f"open positions: {len(positions)}, trades: {len(trades)}")


@paper.command()
@helpful_errors()
def orders(
    name: Account = TRADING_ACCOUNT,
    only_open: Annotated[bool, typer.Option("--open", help="only those that are open")] = False,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Orders as the venue has them, newest first, open or ended."""
    container = connect()
    found = container.venue_store.orders(_known(name, container.brokers), limit, open_only=only_open)
    if as_json:
        print_json([_texts(asdict(each)) for each in found])
        return
    headers = ("order", "client id", "symbol", "side", "type", "quantity", "filled", "price", "state", "reason", "made")
    _show(headers, ([
        each.venue_order_id, each.client_order_id or "", each.symbol, f"{each.side}{' (exit)' * each.reduce_only}",
        each.type, each.quantity, each.filled, each.price or each.trigger_price or "", each.state, each.reason or "",
        _time(each.created_at),
    ] for each in found), "no orders at the venue")  # fmt: skip


@paper.command()
@helpful_errors()
def trades(name: Account = TRADING_ACCOUNT, limit: Limit = 20, as_json: Json = False) -> None:
    """Trades as the venue has them, newest first."""
    container = connect()
    found = container.venue_store.newest_trades(_known(name, container.brokers), limit)
    if as_json:
        print_json([_texts(asdict(each.fill)) | _texts({"realised": each.realised}) for each in found])
        return
    headers = ("trade", "order", "symbol", "side", "quantity", "price", "fee", "realised", "liquidity", "time")
    _show(headers, ([
        each.fill.trade_id, each.fill.venue_order_id, each.fill.symbol, each.fill.side, each.fill.quantity,
        each.fill.price, f"{each.fill.fee:.6f}", f"{each.realised:.6f}", each.fill.liquidity,
        _time(each.fill.filled_at),
    ] for each in found), "no trades at the venue")  # fmt: skip


@paper.command()
@helpful_errors()
def positions(name: Account = TRADING_ACCOUNT, as_json: Json = False) -> None:
    """Open positions as the venue has them."""
    container = connect()
    found = container.broker(_known(name, container.brokers)).positions()
    if as_json:
        print_json([_texts(asdict(each)) for each in found])
        return
    headers = ("symbol", "quantity", "average entry")
    _show(headers, ([p.symbol, p.quantity, f"{p.average_entry:.8f}"] for p in found), "no position at the venue")


@paper.command()
@helpful_errors()
def requests(
    name: Annotated[str | None, typer.Option("--account", metavar="NAME", help="only this one")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """What reached the venue, when, and what came of it, newest first."""
    found = connect().venue_store.requests(limit, name)
    if as_json:
        print_json([_texts(asdict(each)) for each in found])
        return
    headers = ("time", "account", "method", "client id", "symbol", "outcome", "misbehaviour")
    _show(headers, ([
        _time(each.at), each.account, each.method, each.client_order_id or "", each.symbol or "", each.outcome,
        each.misbehaviour or "",
    ] for each in found), "no requests yet")  # fmt: skip


@paper.command()
@helpful_errors()
def behave(
    mode: Annotated[str, typer.Argument(metavar="MODE", help="`aaos paper misbehaviours` lists them; ok ends all")],
    calls: Annotated[int | None, typer.Option("--calls", metavar="N", help="so often, then never again")] = None,
    share: Annotated[float, typer.Option("--share", metavar="X", help="of the calls, more than 0 to 1")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="which of the calls")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="for the modes that take a time")] = 2.0,
    on: Annotated[list[str] | None, typer.Option("--on", metavar="METHOD", help="strike this; repeatable")] = None,
    name: Annotated[str | None, typer.Option("--account", metavar="NAME", help="only this account")] = None,
) -> None:
    """Misbehaves from the next request on, in every process."""
    from aaos.domain.venue.misbehaviours import misbehaviour

    container = connect()
    if mode == WELL:
        say(f"misbehaviours ended: {container.venue_store.behave_well()}")
        return
    if name is not None:
        _known(name, container.brokers)
    asked = misbehaviour(mode, name, tuple(on or ()), share, seconds, seed, calls)
    say(_described(container.venue_store.behave(asked)))


@paper.command()
@helpful_errors()
def misbehaviours(as_json: Json = False) -> None:
    """Every way to misbehave, and what is asked for now."""
    from aaos.domain.venue.misbehaviours import describe

    found = connect().venue_store.misbehaviours()
    if as_json:
        print_json([_texts(asdict(each)) for each in found])
        return
    say(describe())
    say("\n".join(map(_described, found)) or "the venue behaves well")


@paper.command(context_settings={"ignore_unknown_options": True})
@helpful_errors()
def deposit(
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="quote currency; below 0 it is paid out")],
    name: Account = TRADING_ACCOUNT,
    flow_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="counts once however often it is said")
    ] = None,
) -> None:
    """Pays into an account, or out of it as far as nothing has set it aside."""
    import uuid

    container = connect()
    broker = container.broker(_known(name, container.brokers))
    cash = broker.deposit(_money(amount), f"deposit:{flow_id or uuid.uuid4()}")
    note(f"the account {name} has {cash:.8f} now")


def _known(name: str, accounts: Iterable[str]) -> str:
    names = list(accounts)
    if name not in names:
        raise ConfigError(f"no account {name!r} at the paper venue; there are {', '.join(names)}")
    return name


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount == 0:
        raise ConfigError(f"{text!r} is not an amount; write a number such as 500 or -12.5")
    return amount


def _described(asked: Misbehaviour) -> str:
    left = "until `aaos paper behave ok`" if asked.calls_left is None else f"{asked.calls_left} times"
    who = asked.account or "all accounts"
    often = "every call" if asked.share == 1 else f"{asked.share:.0%} of the calls (seed {asked.seed})"
    return f"{asked.mode}: {often} of {', '.join(asked.methods)}, {who}, {left}"


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields as JSON takes them: money and instants as text, which keeps them exact."""
    return {
        name: value if isinstance(value, bool | int | float | list | tuple) or value is None else _text(value)
        for name, value in fields.items()
    }


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _show(headers: tuple[str, ...], rows: Iterable[Iterable[Any]], empty: str = "") -> None:
    from aaos.shell.tables import table

    found = [list(map(str, row)) for row in rows]
    if found:
        show(table(headers, found))
    else:
        say(empty)
