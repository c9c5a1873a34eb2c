"""What a person types in Python, against real servers, a real worker and the simulated Sovereign."""

from __future__ import annotations

import pytest
from support.person import KINDS, Person, run


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


def test_the_shell_has_aaos_imported(person: Person) -> None:
    typed = "print(len(aaos.symbols()))\naaos.analyze('BTC/USDT').wait(30).symbol\n"
    done = run(person.environment, "-m", "aaos.cli", "shell", stdin=typed)
    assert done.returncode == 0, done.stderr
    assert "3" in done.stdout
    assert "'BTC/USDT'" in done.stdout
