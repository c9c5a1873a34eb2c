"""A market that is being voted on, and what becomes of the votes: for the tests of scoring and calibration."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from support.lab import IDLE, QUICK, Lab, module_environment, running_lab
from support.workers import PROJECT

from aaos.adapters.market.candle_files import HEADER, load_series
from aaos.domain.runs import ClaimedRun, Completed, Input, NewRun
from aaos.errors import StaleInput
from aaos.services.use_market import use_replay, use_simulated

SPEED = 300.0
FAST = {"AAOS_SPEED": f"{SPEED:g}", "AAOS_CALIBRATION__SCORE_EVERY_S": "1"}
FIRST_MS = 1_600_000_020_000
MINUTE_MS = 60_000
HISTORY = 500
HOLED, ENDING, STEADY = "AAA/USDT", "BBB/USDT", "CCC/USDT"
# A real market beside the made ones, where there is one.
REAL = "BTC/USD"
REAL_FILE = (
    Path(os.environ.get("AAOS_TEST_DATA", PROJECT.parent / "shared" / "data")) / "candles/BTC-USD_1m_2018-04.csv"
)
MODELS = (("big", False), ("small", True))
REGIMES = ("ranging", "volatile")
numbers = count(1)

# Every row that is ended, as the database saw it: the table itself only shows the last writer.
WATCH = """
    CREATE TABLE ended_votes (result_id bigint, state text);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO ended_votes VALUES (NEW.result_id, NEW.state);
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER ends_noted AFTER UPDATE ON vote_outcomes FOR EACH ROW
    WHEN (NEW.state IN ('held', 'scored', 'unscorable')) EXECUTE FUNCTION note_end();
"""
# Votes on one stored context, by the thousand.
MANY_VOTES = """
    WITH cast_runs AS (
        INSERT INTO runs (kind, symbol, slot, request_key, state, timeout_s, start_within_s, deadline, finished_at)
        SELECT 'trading_analysis', %s, now(), 'many:' || %s || ':' || n, 'completed', 60, 60, now(), now()
        FROM generate_series(1, %s) AS n RETURNING id, request_key
    )
    INSERT INTO results (run_id, fence, kind, symbol, slot, scheduled, analyzed_at, body, content_hash, inputs)
    SELECT id, 1, 'trading_analysis', %s, now(), false, now() - interval '1 minute',
           json_build_object('voter', 'trend', 'model', 'big', 'fallback_used', false, 'confidence', (id %% 97) / 97.0,
                             'signal', CASE WHEN id %% 2 = 0 THEN 'BUY' ELSE 'SELL' END),
           'h', json_build_array(json_build_object('name', 'context', 'result_id', CAST(%s AS bigint)))
    FROM cast_runs
"""


def write_candles(path: Path, seed: int, number: int, holes: Sequence[int] = ()) -> str:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, number)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    rows = [
        f"{FIRST_MS + at * MINUTE_MS},{opened[at]},{high[at]},{low[at]},{close[at]},10"
        for at in range(number)
        if at not in holes
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return str(path)


class Ground:
    """A replay that is being voted on."""

    def __init__(self, lab: Lab, files: dict[str, str]) -> None:
        self.lab = lab
        self.files = files
        self.client = lab.client
        self.dice = random.Random(5)

    def use(self, *symbols: str) -> None:
        c = self.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        now_ms = int(c.database.now().timestamp() * 1000)
        files = [f"{symbol}@1m={self.files[symbol]}" for symbol in symbols]
        use_replay(load_series(files), SPEED, now_ms, widest_ms, c.settings.market, c.market_store)

    def use_simulated(self) -> None:
        c = self.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        use_simulated(SPEED, int(c.database.now().timestamp() * 1000), widest_ms, c.settings.market, c.market_store)
        time.sleep(2.1)  # every process remembers for 2 s which market is in use

    def context(self, symbol: str) -> int:
        """Stores what is known of the symbol right now; returns the result's id. Raises StaleInput as a run would."""
        known = self.client.market.candles(symbol, self.client.database.now(), HISTORY).tail(100)
        regime = {"regime": self.dice.choice(REGIMES)}
        body = {"candles": {"timeframe": "1m", "rows": known.rows()}, "regime": regime}
        return self._store("trading_context", symbol, Completed(body))

    def vote_on(self, symbol: str, number: int) -> list[int]:
        """Casts votes on what is known now; none in a gap, and after the end of the file."""
        try:
            context = self.context(symbol)
        except StaleInput:
            return []
        return [self.vote(symbol, context) for _ in range(number)]

    def vote(self, symbol: str, context: int) -> int:
        model, fallback = self.dice.choice(MODELS)
        said = round(self.dice.random(), 3)
        body = {
            "voter": "trend",
            "model": model,
            "fallback_used": fallback,
            "signal": self.dice.choice(("BUY", "SELL", "BUY", "SELL", "HOLD")),
            "original_confidence": said,
            "confidence": said * 0.8 if fallback else said,
        }
        return self._store("trading_analysis", symbol, Completed(body, [Input("context", "h", "", context)]))

    def many_votes(self, symbol: str, number: int) -> None:
        """Casts votes on what is known now, or after the gap that the market is in."""
        for _ in range(20):
            try:
                context = self.context(symbol)
            except StaleInput:
                time.sleep(0.2)
            else:
                break
        self.lab.rows(MANY_VOTES, symbol, str(next(numbers)), number, symbol, context)

    def _store(self, kind: str, symbol: str, outcome: Completed) -> int:
        run_id, _ = self.client.runs.insert_request(NewRun(kind, symbol, 60, 600, f"{kind}:{next(numbers)}"))
        claimed = self.client.runs.claim(run_id, "the test", 10_000)
        assert isinstance(claimed, ClaimedRun), claimed
        result_id = self.client.runs.complete(claimed, outcome, publish=False).result_id
        assert result_id is not None
        return result_id

    def unread(self) -> int:
        return int(self.lab.value("SELECT count(*) FROM vote_outcomes WHERE state = 'unread'"))

    def open(self) -> int:
        statement = "SELECT count(*) FROM vote_outcomes WHERE state IN ('unread', 'waiting')"
        return int(self.lab.value(statement))

    def states(self) -> dict[str, int]:
        found = self.lab.rows("SELECT state, reason, count(*) AS number FROM vote_outcomes GROUP BY 1, 2")
        return {row.reason or row.state: row.number for row in found}

    def check_ended_once(self) -> None:
        doubled = "SELECT result_id FROM ended_votes GROUP BY result_id HAVING count(*) > 1"
        assert self.lab.rows(doubled) == []
        assert self.lab.value("SELECT count(*) FROM ended_votes") == self.lab.value(
            "SELECT count(*) FROM vote_outcomes"
        )

    def empty(self) -> None:
        self.lab.rows("TRUNCATE vote_outcomes, ended_votes")


@contextmanager
def voting_ground(databases: Any, valkey_server: Any, directory: Path) -> Iterator[Ground]:
    """Yields a ground on servers of its own, with files to replay."""
    holes = [at for at in range(HISTORY + 10, 1_000) if at % 31 < 3]
    files = {
        HOLED: write_candles(directory / "holed.csv", 1, 1_500, holes),
        ENDING: write_candles(directory / "ending.csv", 2, HISTORY + 75),
        STEADY: write_candles(directory / "steady.csv", 3, 30_000),
    }
    if REAL_FILE.exists():
        files[REAL] = str(REAL_FILE)
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, directory / "logs", {**IDLE, **QUICK, **FAST}) as lab,
    ):
        lab.rows(WATCH)
        yield Ground(lab, files)
