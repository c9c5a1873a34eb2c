"""The scripted venue and the floor around it, by the name that unit tests know."""

from support.trading_floor import (
    ACCOUNT,
    AWAY,
    DEPOSIT,
    FEE,
    GRID,
    LOST_AFTER,
    LOST_BEFORE,
    REFUSED,
    SOURCE,
    START,
    SYMBOL,
    Floor,
    ScriptedVenue,
    StillBooks,
    a_book,
)

__all__ = [
    "ACCOUNT",
    "AWAY",
    "DEPOSIT",
    "FEE",
    "GRID",
    "LOST_AFTER",
    "LOST_BEFORE",
    "REFUSED",
    "SOURCE",
    "START",
    "SYMBOL",
    "Floor",
    "ScriptedVenue",
    "StillBooks",
    "a_book",
]
