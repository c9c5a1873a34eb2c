"""`aaos sovereign breakers`, on real servers and without Redis."""

from __future__ import annotations

import json

import pytest
from support.person import Person

from aaos.adapters.redis.breakers import RedisModelBreakers
from aaos.adapters.redis.scripts import connect_brisk
from aaos.domain.breakers import BreakerRules

BIG, SMALL = "sovereign-32b", "sovereign-7b"


def test_each_model_is_listed_with_how_its_breaker_stands(alone: Person) -> None:
    address = alone.environment.get("AAOS_REDIS_URL") or alone.environment["AAOS_BROKER_URL"]
    shared = RedisModelBreakers(connect_brisk(address), BreakerRules(), 120.0)
    for _ in range(3):
        shared.report(shared.admit(BIG), ok=False)
    rows = {row.pop("model"): row for row in alone.json("sovereign", "breakers")}
    assert rows[SMALL] == {"state": "closed", "failures_in_a_row": 0, "retry_after_s": 0.0}
    assert rows[BIG] == {"state": "open", "failures_in_a_row": 3, "retry_after_s": pytest.approx(60, abs=10)}
    shown = alone.types("sovereign", "breakers").stdout
    assert shown.splitlines()[0].split() == [
        "model",
        "breaker",
        "failures",
        "in",
        "a",
        "row",
        "left",
        "alone",
        "for",
        "s",
    ]
    assert [line.split()[:3] for line in shown.splitlines()[1:3]] == [[BIG, "open", "3"], [SMALL, "closed", "0"]]
    status = alone.types("status").stdout
    assert f"{BIG} is left alone for" in status
    assert f"{SMALL} is" not in status, "nothing to tell"
    assert [row["state"] for row in alone.json("status")["breakers"]] == ["open", "closed"]


def test_without_redis_nothing_is_made_up(alone: Person) -> None:
    asked = alone.types("sovereign", "breakers", "--json", AAOS_REDIS_URL="redis://127.0.0.1:1/0")
    assert [row["state"] for row in json.loads(asked.stdout)] == [None, None]
    assert "Redis is away" in asked.stderr
