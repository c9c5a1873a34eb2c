"""Servers, markets and settings on the command line: found, named, chosen, and missed with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

from support.person import Person, run

from aaos.adapters.market.candle_files import HEADER

FIRST_MS = 1_600_000_020_000


def test_a_database_that_is_away_is_named_with_its_variable_and_without_its_password(alone: Person) -> None:
    away = {"AAOS_DATABASE_URL": "postgresql://aaos:hunter2@127.0.0.1:1/aaos"}
    for words in (("runs",), ("results", "--json"), ("analyze", "BTC/USDT"), ("explain",), ("migrate",)):
        done = alone.types(*words, status=1, **away)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "AAOS_DATABASE_URL" in done.stderr
        assert "hunter2" not in done.stderr
    status = json.loads(alone.types("status", "--json", **away).stdout)
    assert [each["reachable"] for each in status["servers"]][:2] == [False, True]
    assert status["outbox_backlog"] is None
    assert "hunter2" not in json.dumps(status)


def test_without_any_server_named_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    nobody = Person({"AAOS_STATE_DIR": str(tmp_path / "none")})
    assert "start one with ./run up" in nobody.types("runs", status=1).stderr
    named = nobody.types("runs", "--state", str(tmp_path / "none"), status=1)
    assert "no stack was ever started in" in named.stderr


def test_the_state_directory_leads_to_its_stack_and_a_named_one_wins(person: Person, tmp_path: Path) -> None:
    state = tmp_path / "state with spaces"
    state.mkdir()
    lines = [f"{name}='{value}'\n" for name, value in person.environment.items()]
    (state / "env").write_text("".join(lines), encoding="utf-8")
    found = Person({"AAOS_STATE_DIR": str(state)})
    assert found.json("symbols") == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert found.python("said = aaos.analyze('BTC/USDT').wait(30).symbol") == "BTC/USDT"
    elsewhere = Person({"AAOS_DATABASE_URL": "postgresql://127.0.0.1:1/aaos"})
    assert elsewhere.json("symbols", "--state", str(state)) == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert elsewhere.json("--state", str(state), "symbols") == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


def candle_lines(count: int, first_ms: int = FIRST_MS) -> list[str]:
    return [f"{first_ms + n * 60_000},100,101,99,100.5,{10 + n % 7}" for n in range(count)]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return str(path)


def test_candle_files_are_used_all_or_none(alone: Person, tmp_path: Path) -> None:
    good = write(tmp_path / "AAA-USDT_1m.csv", candle_lines(600))
    bad = write(tmp_path / "BBB-USDT_1m.csv", [*candle_lines(400), candle_lines(1)[0]])
    refused = alone.types("market", "use", "--replay", good, "--replay", bad, status=1)
    assert f"{bad} line 402: unsorted" in refused.stderr
    assert alone.json("symbols") == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    used = alone.json("market", "use", "--replay", good, "--replay", f"CCC/USDT@1m={good}")
    assert [each["symbol"] for each in used] == ["AAA/USDT", "CCC/USDT"]
    assert {each["source"] for each in used} == {"replay"}
    assert (
        used == alone.json("market", "show") or used[0]["market_time"] < alone.json("market", "show")[0]["market_time"]
    )
    assert alone.types("market", "use", "--replay", str(tmp_path / "no.csv"), status=1).stderr.startswith("error: ")
    left = alone.types("market", "use")
    assert "the replay of" in left.stderr
    assert "has ended" in left.stderr
    back = alone.json("market", "use")
    assert {each["source"] for each in back} == {"simulated"}


def test_another_speed_than_the_schedules_is_pointed_out(alone: Person, tmp_path: Path) -> None:
    good = write(tmp_path / "AAA-USDT_1m.csv", candle_lines(600))
    done = alone.types("market", "use", "--replay", good, "--speed", "30")
    assert "AAOS_SPEED=1" in done.stderr
    assert alone.json("market", "show")[0]["speed"] == 30


def test_queues_and_settings_are_printed_without_any_server() -> None:
    nobody = Person({"AAOS_SOVEREIGN_API_KEY": "hunter2", "AAOS_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"})
    found = {each["queue"]: each for each in nobody.json("queues")}
    assert found["trading_analysis"]["requires"] == ["sovereign_access", "trading_analysis"]
    assert found["technical_analysis"]["command"].startswith(
        "celery -A workers worker -Q technical_analysis -P prefork"
    )
    assert found["technical_analysis"]["command"] in nobody.types("queues").stdout
    settings = nobody.types("config").stdout
    assert "sovereign_api_key: set" in settings
    assert "hunter2" not in settings
    assert settings.startswith("# hash ")


def test_migrating_twice_is_as_good_as_once(alone: Person) -> None:
    assert alone.types("migrate").stdout == alone.types("migrate").stdout


def test_the_simulator_answers_for_itself() -> None:
    nobody = Person({})
    assert "--latency-ms" in nobody.types("sovereign-sim", "--help").stdout
    assert nobody.types("sovereign-sim", status=2).stderr


def test_up_becomes_the_supervisor_which_refuses_what_is_not_there_and_down_says_that_nothing_runs(
    tmp_path: Path,
) -> None:
    state, missing = str(tmp_path / "state"), str(tmp_path / "no such.csv")
    refused = run({}, "-m", "aaos.cli", "up", "--state", state, "--replay", missing)
    assert refused.returncode == 1
    assert missing in refused.stdout + refused.stderr
    assert "No stack is running" in Person({}).types("down", "--state", state).stdout
