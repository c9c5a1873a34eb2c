"""S1 at the ledger: a service that says our key back gets it into no row."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from support.sovereign_servers import completion, http, saying, scripted
from support.worlds import PostgresWorld, born, taken

from aaos.adapters.sovereign.client import SovereignClient
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.model_request import ModelRequest
from aaos.domain.sovereign import SovereignSettings
from aaos.errors import AaosError, SovereignInvalidResponse
from aaos.ports import CallPlan

KEY = "sk-planted-in-the-ledger-0123456789"
REQUEST = ModelRequest("sovereign-32b", "system", "user")
PLAN = CallPlan(REQUEST, 17, "primary", "vote", 1, "full", "vote-3", 100)
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


@pytest.mark.requirement("S1")
@pytest.mark.parametrize(
    "response",
    [
        http("200 OK", completion(f"your key is {KEY}", model=KEY), f"x-request-id: {KEY}"),
        http("200 OK", f"no completion, but {KEY}".encode()),
        http("401 Unauthorized", f"wrong key {KEY}".encode()),
        http("500 Oops", f"with {KEY} it breaks".encode()),
    ],
)
def test_a_key_that_the_service_echoes_reaches_no_row_of_any_table(database_url: str, response: bytes) -> None:
    world = PostgresWorld(database_url)
    runs = world.runs()
    claim = taken(runs, born(runs))
    call = world.ledger.begin(claim, PLAN)
    with scripted(saying(response)) as server:
        client = SovereignClient(server.url, SovereignSettings(), KEY)
        try:
            world.ledger.settle(call, client.ask(REQUEST))
        except AaosError as error:
            raw = error.raw if isinstance(error, SovereignInvalidResponse) else ""
            world.ledger.fail(call, ErrorEnvelope.of(error, REQUEST.model, 1, 1.0), raw)
        finally:
            client.close()
        assert KEY.encode() in server.requests[0], "the key was sent, where it belongs"
    (told,) = world.ledger.calls(claim.id)
    assert told["outcome"] in ("accepted", "failed")
    assert rows_with(database_url, KEY) == []
    asked = replace(REQUEST, user=f"a prompt that holds {KEY}")
    world.ledger.begin(claim, replace(PLAN, request=asked))
    assert rows_with(database_url, KEY) == ["model_texts"], "the search finds what is there"
    world.close()


def rows_with(url: str, text: str) -> list[str]:
    """Returns the tables in which the text stands in any column."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        names = [row[0] for row in connection.execute(TABLES)]
        assert "sovereign_calls" in names
        search = sql.SQL("SELECT count(*) FROM {table} WHERE {table}::text LIKE %s")
        counted = {
            name: connection.execute(search.format(table=sql.Identifier(name)), (f"%{text}%",)).fetchone()
            for name in names
        }
    return [name for name, row in counted.items() if row is not None and row[0]]
