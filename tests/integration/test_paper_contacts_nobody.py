"""R8: from the order book to the fill, a process that trades on paper talks to its database and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from sqlalchemy.engine import make_url
from support.person import run

# Every connection and every look-up of a name that Python makes is refused; libpq's own are seen by the kernel.
SCRIPT = """
import json, sys
from decimal import Decimal

asked = []

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.exec"):
        asked.append((event, str(args)))
        raise RuntimeError(f"{event} {args}")

sys.addaudithook(refuse)

from aaos.bootstrap import container

sys.path.insert(0, "tests")
from support.venues import an_order

home = container()
broker, books, symbol = home.broker("paper"), home.order_books, "BTC/USDT"
book = books.book(symbol, home.database.now())
instrument = broker.instrument(symbol)
quantity = instrument.quantity(Decimal(2000) / book.mid)
entry = broker.place(an_order("buy", quantity, "entry"))
stop = broker.place(an_order("sell", quantity, "stop", trigger_price=instrument.price(book.mid * Decimal("0.9")),
                             reduce_only=True))
rests = an_order("buy", quantity, "rests", price=instrument.price(book.bids[8].price, "buy"))
broker.place(rests)
broker.cancel(rests)
broker.advance()
exit_ = broker.place(an_order("sell", quantity, "exit", reduce_only=True))

import psutil

print(json.dumps({
    "states": [entry.state, stop.state, exit_.state, *(broker.order(name, symbol).state for name in ("rests", "stop"))],
    "fills": len(broker.fills(None)),
    "asked": asked,
    "talks_to": sorted({tuple(each.raddr) for each in psutil.Process().net_connections() if each.raddr}),
    "loaded": sorted(name for name in ("ccxt", "httpx", "requests", "aiohttp", "websockets", "celery", "redis",
                                       "aaos.adapters.sovereign.client") if name in sys.modules),
}))
"""


@pytest.mark.requirement("R8")
def test_a_paper_trade_is_made_while_every_other_connection_is_refused(aaos_environment: Mapping[str, str]) -> None:
    ended = run(aaos_environment, "-c", SCRIPT)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["states"] == ["filled", "working", "filled", "canceled", "canceled"]
    assert told["fills"] >= 2
    assert told["asked"] == []
    database = make_url(aaos_environment["AAOS_DATABASE_URL"])
    assert told["talks_to"] == [[database.host, database.port]]
    assert told["loaded"] == []


@pytest.mark.requirement("R8")
def test_the_refusal_is_real() -> None:
    ended = run(
        {}, "-c", SCRIPT.partition("from aaos.bootstrap")[0] + "import socket\nsocket.create_connection(('::1', 9))"
    )
    assert ended.returncode != 0
    assert "RuntimeError: socket." in ended.stderr
