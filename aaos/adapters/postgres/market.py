"""Market series, their candles and their clock anchors on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from aaos.adapters.postgres.database import Database
from aaos.domain.market import Candles
from aaos.domain.market_clock import MarketAnchor

ACTIVE_SERIES = text("""
    SELECT source, symbol, timeframe, content_hash, first_open_ms, last_open_ms
    FROM market_series WHERE active ORDER BY symbol
""")
STORED_SERIES = text("""
    SELECT source, symbol, timeframe, content_hash, first_open_ms, last_open_ms FROM market_series
    WHERE source = :source AND symbol = :symbol AND timeframe = :timeframe
""")
DEACTIVATE = text("UPDATE market_series SET active = false WHERE active")
ACTIVATE = text("""
    INSERT INTO market_series (source, symbol, timeframe, content_hash, first_open_ms, last_open_ms)
    VALUES (:source, :symbol, :timeframe, :content_hash, :first_open_ms, :last_open_ms)
    ON CONFLICT (source, symbol, timeframe) DO UPDATE SET active = true, content_hash = EXCLUDED.content_hash,
        first_open_ms = EXCLUDED.first_open_ms, last_open_ms = EXCLUDED.last_open_ms
""")
FORGET_CANDLES = text("DELETE FROM candles WHERE source = :source AND symbol = :symbol AND timeframe = :timeframe")
# Arrays instead of rows: one statement for the whole file.
STORE_CANDLES = text("""
    INSERT INTO candles (source, symbol, timeframe, open_ms, open, high, low, close, volume)
    SELECT :source, :symbol, :timeframe, * FROM unnest(
        CAST(:open_ms AS bigint[]), CAST(:open AS float8[]), CAST(:high AS float8[]), CAST(:low AS float8[]),
        CAST(:close AS float8[]), CAST(:volume AS float8[]))
""")
NEWEST_CANDLES = text("""
    SELECT open_ms, open, high, low, close, volume FROM candles
    WHERE source = :source AND symbol = :symbol AND timeframe = :timeframe AND open_ms <= :last_open_ms
    ORDER BY open_ms DESC LIMIT :limit
""")
ANCHORS = text("""
    SELECT wall_ms, market_ms, speed FROM market_anchors
    WHERE source = :source AND symbol = :symbol ORDER BY wall_ms
""")
ADD_ANCHOR = text("""
    INSERT INTO market_anchors (source, symbol, wall_ms, market_ms, speed)
    VALUES (:source, :symbol, :wall_ms, :market_ms, :speed)
    ON CONFLICT (source, symbol, wall_ms) DO UPDATE SET market_ms = EXCLUDED.market_ms, speed = EXCLUDED.speed
""")


@dataclass(frozen=True, slots=True)
class Series:
    """A market series: one symbol in one timeframe from one source."""

    source: str
    symbol: str
    timeframe: str
    content_hash: str
    first_open_ms: int
    last_open_ms: int


class PostgresMarketStore:
    """Keeps which series the pipeline works on, their candles, and how their time maps to the wall clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def active_series(self) -> Sequence[Series]:
        """Returns the series in use, by symbol."""
        return [Series(**row._asdict()) for row in self._database.rows(ACTIVE_SERIES)]

    def stored(self, source: str, symbol: str, timeframe: str) -> Series | None:
        """Returns the series as it is stored, in use or not."""
        row = self._database.row(STORED_SERIES, {"source": source, "symbol": symbol, "timeframe": timeframe})
        return None if row is None else Series(**row._asdict())

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        """Returns the anchors of a series, oldest first."""
        rows = self._database.rows(ANCHORS, {"source": source, "symbol": symbol})
        return [MarketAnchor(row.wall_ms, row.market_ms, row.speed) for row in rows]

    def use(
        self,
        series: Sequence[Series],
        candles: Sequence[Candles],
        anchors: Sequence[tuple[str, str, MarketAnchor]],
    ) -> None:
        """Makes exactly these series the ones in use, in one transaction: all of it or nothing.

        Args:
            series: what to use from now on.
            candles: replaces what is stored of these symbols and timeframes.
            anchors: (source, symbol, anchor) to be added.
        """
        sources = {(each.symbol, each.timeframe): each.source for each in series}
        with self._database.transaction() as connection:
            connection.execute(DEACTIVATE)
            for each in series:
                connection.execute(ACTIVATE, {name: getattr(each, name) for name in Series.__dataclass_fields__})
            for columns in candles:
                _store(connection, sources[columns.symbol, columns.timeframe], columns)
            for source, symbol, anchor in anchors:
                connection.execute(
                    ADD_ANCHOR,
                    {
                        "source": source,
                        "symbol": symbol,
                        "wall_ms": anchor.wall_ms,
                        "market_ms": anchor.market_ms,
                        "speed": anchor.speed,
                    },
                )

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        """Returns up to `limit` candles that opened at or before `last_open_ms`, oldest first."""
        rows = self._database.rows(
            NEWEST_CANDLES,
            {
                "source": source,
                "symbol": symbol,
                "timeframe": timeframe,
                "last_open_ms": last_open_ms,
                "limit": limit,
            },
        )
        table = np.array([tuple(row) for row in reversed(rows)], dtype=np.float64).reshape(len(rows), 6)
        # Milliseconds since 1970 stay far below 2**53, so the detour through float64 is exact.
        return Candles(symbol, timeframe, table[:, 0].astype(np.int64), *(table[:, i].copy() for i in range(1, 6)))


def _store(connection: Connection, source: str, candles: Candles) -> None:
    key = {"source": source, "symbol": candles.symbol, "timeframe": candles.timeframe}
    connection.execute(FORGET_CANDLES, key)
    connection.execute(
        STORE_CANDLES,
        {
            **key,
            "open_ms": candles.open_time_ms.tolist(),
            "open": candles.open.tolist(),
            "high": candles.high.tolist(),
            "low": candles.low.tolist(),
            "close": candles.close.tolist(),
            "volume": candles.volume.tolist(),
        },
    )
