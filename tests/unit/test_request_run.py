"""Ad-hoc requests: stored first, then pointed at; the same key is the same run."""

from __future__ import annotations

import pytest
from support.examples import StillMarket, shipped_settings
from support.worlds import MemoryWorld, taken

from aaos.adapters.memory import MemoryHints
from aaos.domain.runs import Completed
from aaos.errors import BrokerUnavailable, DatabaseUnavailable, InputError, UnknownKind, UnknownSymbol
from aaos.services.request_run import Requested, request_run

SETTINGS = shipped_settings()


class Client:
    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs()
        self.hints = MemoryHints()

    def request(self, kind: str = "technical_analysis", symbol: str = "BTC/USDT", key: str | None = None) -> Requested:
        return request_run(kind, symbol, key, SETTINGS, StillMarket(), self.runs, self.hints)


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_request_is_stored_and_hinted(client: Client) -> None:
    requested = client.request(key="mine")
    assert (requested.kind, requested.symbol, requested.request_key, requested.created) == (
        "technical_analysis",
        "BTC/USDT",
        "mine",
        True,
    )
    assert client.hints.sent == [("technical_analysis", requested.run_id)]
    assert client.runs.run(requested.run_id).request_key == "mine"


def test_requests_without_a_key_are_different_runs(client: Client) -> None:
    first, second = client.request(), client.request()
    assert first.run_id != second.run_id
    assert first.request_key != second.request_key
    assert first.request_key.startswith("adhoc:")


@pytest.mark.requirement("F01")
@pytest.mark.requirement("FM-TAW-011")
def test_a_key_used_again_gives_the_same_run_and_sends_no_second_message(client: Client) -> None:
    first = client.request(key="mine")
    client.runs.complete(taken(client.runs, first.run_id), Completed({"score": 1}), publish=True)
    again = client.request(key="mine")
    assert (again.run_id, again.created) == (first.run_id, False)
    assert len(client.hints.sent) == 1


@pytest.mark.parametrize("change", [{"symbol": "ETH/USDT"}, {"kind": "regime_detection"}, {"kind": "trading_decision"}])
def test_a_key_that_belongs_to_something_else_is_refused_by_name(client: Client, change: dict[str, str]) -> None:
    first = client.request(key="mine")
    with pytest.raises(InputError, match=rf"'mine' belongs to run {first.run_id} \(technical_analysis BTC/USDT\)"):
        client.request(key="mine", **change)


@pytest.mark.requirement("F03")
def test_a_requested_decision_gets_a_context_and_inputs_of_its_own(client: Client) -> None:
    requested = client.request("trading_decision", key="mine")
    assert client.hints.launched == [requested.run_id]
    assert client.hints.sent == []
    keys = {record.kind: record.request_key for record in client.runs.runs(10)}
    assert keys == {
        "trading_decision": "mine",
        "trading_context": "part:mine:trading_context",
        "technical_analysis": "part:mine:technical_analysis",
        "regime_detection": "part:mine:regime_detection",
    }
    [stage] = client.runs.dependencies(requested.run_id)
    assert {each.kind for each in client.runs.dependencies(stage.run_id)} == {"technical_analysis", "regime_detection"}
    again = client.request("trading_decision", key="mine")
    assert (again.run_id, again.created) == (requested.run_id, False)
    assert len(client.runs.runs(10)) == 4
    assert client.hints.launched == [requested.run_id]


@pytest.mark.parametrize("kind", ["no_such_kind", "trading_analysis", "trading_context"])
def test_a_kind_that_cannot_be_requested_is_refused_and_the_others_named(client: Client, kind: str) -> None:
    with pytest.raises(UnknownKind, match="regime_detection, technical_analysis, trading_decision"):
        client.request(kind)
    assert client.runs.runs(10) == []


def test_an_unknown_symbol_is_refused_and_the_known_ones_named(client: Client) -> None:
    with pytest.raises(UnknownSymbol, match="BTC/USDT, ETH/USDT"):
        client.request(symbol="XRP/USDT")
    assert client.runs.runs(10) == []


def test_without_a_broker_the_run_is_stored_all_the_same(client: Client) -> None:
    client.hints.away = True
    with pytest.raises(BrokerUnavailable):
        client.request(key="mine")
    [record] = client.runs.runs(10)
    assert record.state == "pending"
    client.hints.away = False
    assert client.request(key="mine").run_id == record.id


def test_without_a_database_nothing_is_sent(client: Client) -> None:
    client.world.database.away = True
    with pytest.raises(DatabaseUnavailable):
        client.request()
    assert client.hints.sent == []
