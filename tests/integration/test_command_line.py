"""What a person asks and is told on the command line, against real servers and a real worker."""

from __future__ import annotations

import json

from support.person import KINDS, Person, on_a_terminal, run


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


def test_a_command_is_a_process_with_one_json_document_on_stdout_and_an_exit_status(person: Person) -> None:
    done = run(person.environment, "-m", "aaos.cli", "analyze", "BTC/USDT", "--json")
    assert json.loads(done.stdout)["kind"] == "technical_analysis"
    assert (done.returncode, done.stderr) == (0, "")
    refused = run(person.environment, "-m", "aaos", "analyze", "DOGE/USDT", "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: no symbol 'DOGE/USDT'")
    assert refused.stderr.count("\n") == 1


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


def test_on_a_terminal_the_stages_of_a_decision_are_shown_while_waiting(person: Person) -> None:
    printed, shown = on_a_terminal(person.environment, "-m", "aaos.cli", "decide", "BTC/USDT", "--json")
    assert json.loads(printed)["kind"] == "trading_decision"
    for stage in ("technical_analysis", "regime_detection", "trading_context", "trading_decision"):
        assert stage in shown
