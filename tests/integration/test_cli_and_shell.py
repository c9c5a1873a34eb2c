"""What a person types, against real servers, a real worker and the simulated Sovereign."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.lab import module_environment
from support.workers import PROJECT, fleet

import aaos
from aaos import bootstrap
from aaos.adapters.market.candle_files import HEADER
from aaos.cli.app import main
from aaos.settings import settings
from aaos.shell.environment import leave

COMMAND_TIMEOUT_S = 60
KINDS = ("technical_analysis", "regime_detection", "trading_context", "trading_analysis", "trading_decision")
FIRST_MS = 1_600_000_020_000
NO_STATE = {"AAOS_STATE_DIR": "/nonexistent/state"}


def run(environment: Mapping[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs Python in the project, as a process of its own, with these AAOS_* variables and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AAOS_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**ours, **NO_STATE, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@contextmanager
def keyboard(environment: Mapping[str, str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Yields (stdout, stderr) of what is typed inside, in this process: starting one takes a second each time."""
    variables = {**NO_STATE, **environment}
    before = dict(os.environ)
    configured = structlog.is_configured()
    os.environ.update(variables)
    _forget()
    shown, told = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(shown), redirect_stderr(told):
            yield shown, told
    finally:
        if "AAOS_DATABASE_URL" in os.environ:
            bootstrap.container().database.close()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        _forget()
        if not configured:
            structlog.reset_defaults()


def _forget() -> None:
    settings.cache_clear()
    bootstrap.reset()
    leave()
    sys.modules.pop("celeryconfig", None)


@dataclass(frozen=True, slots=True)
class Typed:
    """What a command showed."""

    stdout: str
    stderr: str


class Person:
    """Somebody at the keyboard, with servers named in the environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def types(self, *words: str, status: int = 0, **changes: str) -> Typed:
        """Runs one aaos command; fails unless it ends with `status`. An unexpected error shows as itself."""
        with keyboard(self.environment | changes) as (shown, told):
            ended = main(words)
        typed = Typed(shown.getvalue(), told.getvalue())
        assert ended == status, typed
        return typed

    def json(self, *words: str, status: int = 0) -> Any:
        """Returns the one JSON document that a command prints."""
        return json.loads(self.types(*words, "--json", status=status).stdout)

    def python(self, code: str, **changes: str) -> Any:
        """Runs lines of Python with aaos imported; returns what they call `said`, through JSON."""
        names: dict[str, Any] = {"aaos": aaos}
        with keyboard(self.environment | changes):
            exec(textwrap.dedent(code), names)
            return json.loads(json.dumps(names["said"], default=str))


@pytest.fixture(scope="module")
def person(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person whose servers have one worker for everything; no beat, so nothing happens unasked."""
    with (
        module_environment(databases, valkey_server) as environment,
        fleet(environment, tmp_path_factory.mktemp("typed")) as processes,
    ):
        simulator = processes.simulator(latency_ms=20)
        processes.environment = {**environment, "AAOS_SOVEREIGN_URL": f"{simulator.base_url}/v1"}
        processes.worker()
        yield Person(processes.environment)


@pytest.fixture
def alone(aaos_environment: dict[str, str]) -> Person:
    """A person whose servers run, but no worker."""
    return Person(aaos_environment)


# --- the Python shell ---------------------------------------------------------------------------------------


def test_importing_aaos_loads_neither_database_nor_queue_nor_numpy() -> None:
    heavy = "sqlalchemy celery kombu redis numpy pydantic rich httpx typer structlog"
    code = (
        "import sys, time; began = time.process_time(); import aaos; took = time.process_time() - began\n"
        f"print([name for name in {heavy.split()} if name in sys.modules], took < 0.1)\n"
        "print(sorted(set(aaos.__all__) - set(dir(aaos))), aaos.errors.WaitTimeout.__name__)"
    )
    assert run({}, "-c", code).stdout.split("\n")[:2] == ["[] True", "[] WaitTimeout"]


def test_an_analysis_a_regime_and_a_decision_come_back_typed(person: Person) -> None:
    said = person.python("""
        analysis, regime = aaos.analyze("BTC/USDT"), aaos.regime("BTC/USDT")
        decision = aaos.decide("BTC/USDT").wait(60)
        results = [analysis.wait(30), regime.wait(30), decision]
        said = {
            "types": [type(each).__name__ for each in results],
            "states": [analysis.state, regime.state],
            "signal": decision.signal,
            "votes": [vote.voter for vote in decision.votes],
            "reprs": [repr(each) for each in results],
            "explained": repr(aaos.explain(decision.run_id)),
            "same": repr(aaos.explain(decision)) == repr(aaos.explain(decision.run_id)),
        }
    """)
    assert said["types"] == ["AnalysisResult", "RegimeResult", "DecisionResult"]
    assert said["states"] == ["completed", "completed"]
    assert said["signal"] in ("BUY", "SELL", "HOLD")
    assert set(said["votes"]) == {"trend", "reversal", "risk"}
    assert all("\n" not in each for each in said["reprs"])
    assert said["same"]
    for stage in ("candles:", "indicators:", "regime:", "Sovereign's answers", "adjustments", "decision:"):
        assert stage in said["explained"]
    assert "PROBLEM" not in said["explained"]


@pytest.mark.requirement("FM-TAW-011")
def test_the_same_key_gives_the_same_run_and_the_same_stored_answer(person: Person) -> None:
    said = person.python("""
        first = aaos.analyze("ETH/USDT", key="mine")
        again = aaos.analyze("ETH/USDT", key="mine")
        answers = [first.wait(30), again.wait(30), aaos.analyze("ETH/USDT", key="mine").result()]
        said = {"ids": [first.id, again.id], "created": [first.created, again.created],
                "answers": [each.id for each in answers], "other": aaos.analyze("ETH/USDT").id}
        for symbol, kind in (("BTC/USDT", aaos.analyze), ("ETH/USDT", aaos.decide)):
            try:
                kind(symbol, key="mine")
            except aaos.errors.InputError as error:
                said.setdefault("refused", []).append(str(error))
    """)
    assert len(set(said["ids"])) == len(set(said["answers"])) == 1
    assert said["created"] == [True, False]
    assert said["other"] not in said["ids"]
    assert len(said["refused"]) == 2
    assert "belongs to run" in said["refused"][0]


def test_lists_filter_and_print_as_tables(person: Person) -> None:
    person.types("analyze", "SOL/USDT", "--wait", "30")
    said = person.python("""
        runs = aaos.runs(limit=5, kind="technical_analysis", symbol="SOL/USDT", state="completed")
        results = aaos.results("SOL/USDT", kind="technical_analysis", limit=1)
        said = {"runs": [[r.kind, r.symbol, r.state] for r in runs], "table": repr(runs).splitlines()[0],
                "results": [r.symbol for r in results], "symbols": aaos.symbols()}
    """)
    assert said["runs"][0] == ["technical_analysis", "SOL/USDT", "completed"]
    assert said["table"].split()[:2] == ["run", "kind"]
    assert said["results"] == ["SOL/USDT"]
    assert said["symbols"] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


def test_slips_are_answered_with_what_is_known(person: Person) -> None:
    said = person.python("""
        said = []
        for slip in (lambda: aaos.analyze("DOGE/USDT"), lambda: aaos.results("DOGE/USDT"),
                     lambda: aaos.runs(kind="no_such_kind"), lambda: aaos.runs(state="done"),
                     lambda: aaos.runs(limit=0),
                     lambda: aaos.analyze("BTC/USDT", key=" "), lambda: aaos.explain(10**12), lambda: aaos.explain(-1),
                     lambda: aaos.results("BTC/USDT\\x00")):
            try:
                slip()
            except aaos.errors.InputError as error:
                said.append(f"{type(error).__name__}: {error}")
    """)
    assert len(said) == 9
    assert said[0] == "UnknownSymbol: no symbol 'DOGE/USDT' in this market; it has: BTC/USDT, ETH/USDT, SOL/USDT"
    assert "BTC/USDT, ETH/USDT, SOL/USDT" in said[1]
    assert all(kind in said[2] for kind in KINDS)
    assert "pending, running, completed, failed, skipped" in said[3]
    assert said[6].startswith("UnknownRun: no run 1000000000000")


def test_with_the_broker_away_the_request_is_stored_and_the_person_told(alone: Person) -> None:
    said = alone.python(
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            handles = [aaos.analyze("BTC/USDT", key="kept"), aaos.decide("BTC/USDT")]
        told = [str(each.message) for each in caught if each.category is RuntimeWarning]
        said = {"told": told, "states": [h.state for h in handles], "created": [h.created for h in handles]}
        try:
            handles[0].wait(0.3)
        except aaos.errors.WaitTimeout as error:
            said["timeout"] = str(error)
        """,
        AAOS_BROKER_URL="redis://127.0.0.1:1/0",
    )
    assert said["states"] == ["pending", "pending"]
    assert said["created"] == [True, True]
    assert len(said["told"]) == 2
    assert all("is stored, but the broker is away" in told and "AAOS_BROKER_URL" in told for told in said["told"])
    assert "no worker has taken it" in said["timeout"]
    assert "-Q technical_analysis" in said["timeout"]


# --- the command line ---------------------------------------------------------------------------------------


def test_answers_are_one_json_document_on_stdout(person: Person) -> None:
    analysis = person.json("analyze", "BTC/USDT", "--wait", "30", "--key", "cli")
    assert analysis["kind"] == "technical_analysis"
    assert analysis == person.json("analyze", "BTC/USDT", "--key", "cli") | {"published_at": analysis["published_at"]}
    decision = person.json("decide", "BTC/USDT", "--wait", "60")
    assert decision["body"]["signal"] in ("BUY", "SELL", "HOLD")
    assert person.json("regime", "BTC/USDT")["body"]["regime"]
    requested = person.json("analyze", "BTC/USDT", "--no-wait")
    assert (requested["kind"], requested["created"]) == ("technical_analysis", True)


def test_results_and_runs_as_json_have_every_promised_field(person: Person) -> None:
    person.types("decide", "ETH/USDT", "--wait", "60")
    (result,) = person.json("results", "--kind", "trading_decision", "--symbol", "ETH/USDT", "--limit", "1")
    promised = "id run_id kind symbol slot fence analyzed_at published_at content_hash body inputs"
    assert list(result) == promised.split()
    (ran,) = person.json("runs", "--kind", "trading_decision", "--symbol", "ETH/USDT", "--limit", "1")
    assert (ran["id"], ran["result_id"], ran["state"]) == (result["run_id"], result["id"], "completed")
    assert person.json("runs", "--state", "failed", "--symbol", "ETH/USDT") == []
    for words in (("dead-letters",), ("alerts",), ("symbols",)):
        assert isinstance(person.json(*words), list)


def test_a_decision_is_explained_on_the_command_line_in_text_and_json(person: Person) -> None:
    decision = person.json("decide", "SOL/USDT", "--wait", "60")
    by_run = person.types("explain", str(decision["run_id"])).stdout
    assert by_run.startswith("trading_decision: ")
    assert by_run == person.types("explain", "--symbol", "SOL/USDT").stdout
    assert by_run == person.types("explain", "--result", str(decision["id"])).stdout
    told = person.json("explain", "--last")
    assert (told["id"], told["problems"], told["intact"]) == (decision["id"], [], True)
    assert {each["check"] for each in told["inputs"]} == {"verified"}


def test_status_shows_servers_queues_and_memory_as_json(person: Person) -> None:
    status = person.json("status")
    assert {each["name"]: each["reachable"] for each in status["servers"]} == {
        "PostgreSQL": True, "broker": True, "Sovereign": True
    }  # fmt: skip
    assert {each["queue"] for each in status["queues"]} == {*KINDS, "result_publishing", "maintenance"}
    assert (status["running"], status["memory_pss_mb"], status["processes"]) == (False, 0.0, [])
    assert isinstance(status["outbox_backlog"], int)
    assert all("***" in each["address"] for each in status["servers"][:2])


def test_a_tick_makes_the_current_slots_runs(person: Person) -> None:
    assert "technical_analysis" in person.types("tick", "technical_analysis").stdout
    said = person.python("""
        import time
        give_up_at = time.monotonic() + 30
        ticked = []
        while len(ticked) < 3 and time.monotonic() < give_up_at:
            found = aaos.runs(50, kind="technical_analysis")
            ticked = [run.symbol for run in found if run.request_key is None]
            time.sleep(0.1)
        said = sorted(set(ticked))
    """)
    assert said == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert "enabled are: " in person.types("tick", "nonsense", status=1).stderr


def test_waiting_in_vain_is_status_3_and_a_failed_run_status_4(alone: Person) -> None:
    late = alone.types("analyze", "BTC/USDT", "--wait", "0.2", "--key", "late", status=3)
    assert late.stdout == ""
    assert late.stderr.startswith("error: run ")
    assert "is still pending after 0.2 s and goes on" in late.stderr
    alone.python("""
        from aaos.shell.connection import connect
        from aaos.domain.runs import Failed
        runs = connect().runs
        run_id = aaos.runs(1)[0].id
        runs.end(runs.claim(run_id, "host:1:x", 10), Failed("agent_crash", "it broke"))
        said = run_id
    """)
    failed = alone.types("analyze", "BTC/USDT", "--key", "late", "--json", status=4)
    assert failed.stdout == ""
    assert "failed (agent_crash): it broke" in failed.stderr
    (letter,) = alone.json("dead-letters")
    assert (letter["failure_source"], letter["reason"]) == ("agent_crash", "it broke")


def test_missed_slots_are_hidden_in_the_table_counted_below_it_and_all_in_json(alone: Person) -> None:
    alone.python("""
        from datetime import UTC, datetime, timedelta
        from aaos.shell.connection import connect
        slots = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n) for n in range(30)]
        aaos.analyze("BTC/USDT", key="visible")
        connect().runs.record_missed("technical_analysis", ["BTC/USDT"], slots, "missed: nobody ticked this slot")
        said = None
    """)
    shown = alone.types("runs", "--limit", "5")
    assert len(shown.stdout.splitlines()) == 2
    assert "30 missed slots are not shown; --all shows them" in shown.stderr
    assert len(alone.types("runs", "--limit", "50", "--all").stdout.splitlines()) == 32
    assert len(alone.json("runs", "--limit", "50")) == 31


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


def test_a_command_is_a_process_with_one_json_document_on_stdout_and_an_exit_status(person: Person) -> None:
    done = run(person.environment, "-m", "aaos.cli", "analyze", "BTC/USDT", "--json")
    assert json.loads(done.stdout)["kind"] == "technical_analysis"
    assert (done.returncode, done.stderr) == (0, "")
    refused = run(person.environment, "-m", "aaos", "analyze", "DOGE/USDT", "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: no symbol 'DOGE/USDT'")
    assert refused.stderr.count("\n") == 1


def test_the_shell_has_aaos_imported(person: Person) -> None:
    typed = "print(len(aaos.symbols()))\naaos.analyze('BTC/USDT').wait(30).symbol\n"
    done = run(person.environment, "-m", "aaos.cli", "shell", stdin=typed)
    assert done.returncode == 0, done.stderr
    assert "3" in done.stdout
    assert "'BTC/USDT'" in done.stdout


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


def test_everything_is_readable_for_people_too(person: Person, alone: Person) -> None:
    assert "score" not in person.types("analyze", "BTC/USDT").stderr
    assert "`aaos explain " in person.types("decide", "BTC/USDT").stdout
    assert person.types("analyze", "BTC/USDT", "--no-wait").stdout.startswith("run ")
    assert person.types("results", "--limit", "3").stdout.splitlines()[0].split()[:2] == ["result", "run"]
    assert person.types("symbols").stdout.split() == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert "market time" in person.types("market", "show").stdout
    status = person.types("status").stdout
    for shown in ("no stack is running in", "PostgreSQL", "technical_analysis", "results not announced yet"):
        assert shown in status
    nothing = {"runs": "no runs", "results": "no results", "alerts": "no alerts", "dead-letters": "no dead letters"}
    for command, said in nothing.items():
        assert alone.types(command).stdout.strip() == said
    assert "there is no decision yet" in alone.types("explain", status=1).stderr
    alone.python("""
        from aaos.shell.connection import connect
        connect().alerts.raise_alert("dead_letter", "run 7 crashed", {"run": 7})
        said = repr(aaos.status())
    """)
    assert "run 7 crashed" in alone.types("alerts").stdout
    assert "run 7 crashed" in alone.types("status").stdout


def on_a_terminal(environment: Mapping[str, str], *words: str) -> tuple[str, str]:
    """Returns (stdout, what stderr's terminal got) of a process; the terminal is read as it is written."""
    terminal, its_end = pty.openpty()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AAOS_")}
    child = subprocess.Popen(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**ours, **NO_STATE, **environment, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=its_end,
    )
    os.close(its_end)
    got = bytearray()

    def read() -> None:
        with suppress(OSError):  # how Linux reports that the other end has been closed
            while piece := os.read(terminal, 4096):
                got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        printed, _ = child.communicate(timeout=COMMAND_TIMEOUT_S)
    finally:
        child.kill()
        reader.join(COMMAND_TIMEOUT_S)
        os.close(terminal)
    assert child.returncode == 0, got.decode(errors="replace")
    return printed.decode(), got.decode(errors="replace")


def test_on_a_terminal_the_stages_of_a_decision_are_shown_while_waiting(person: Person) -> None:
    printed, shown = on_a_terminal(person.environment, "-m", "aaos.cli", "decide", "BTC/USDT", "--json")
    assert json.loads(printed)["kind"] == "trading_decision"
    for stage in ("technical_analysis", "regime_detection", "trading_context", "trading_decision"):
        assert stage in shown
