"""Every way in which the paper venue can misbehave when it is asked to, with one line of meaning each.

How each is done stands in adapters/brokers/paper (broker.py: replies; books.py: order books).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from aaos.errors import ConfigError

SENDS: Final = ("place", "cancel")
READS: Final = ("order", "open_orders", "fills", "cash_flows", "positions", "cash")
FILLS: Final = ("fills",)
MATCH: Final = ("match",)
BOOK: Final = ("book",)
METHODS: Final = (*SENDS, *READS, *MATCH, *BOOK)
"""What can be misbehaved in; `match`: whenever something is traded, `book`: whenever a book is read."""
DEFAULT_SECONDS: Final = 2.0
MOST_SECONDS: Final = 86_400
FOREVER: Final = None


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to misbehave: what it means, the methods it strikes unless told otherwise, and whether it takes a time."""

    meaning: str
    methods: tuple[str, ...]
    timed: bool = False


MODES: Final[Mapping[str, Mode]] = {
    "timeout_after": Mode("the request is carried out, and no answer comes", SENDS),
    "error_before": Mode("503, and nothing is carried out; nobody can tell from the answer", SENDS),
    "error_after": Mode("the request is carried out, and the answer is 502", SENDS),
    "not_found": Mode(
        "the order is accepted, no answer comes, and queries do not see it for --seconds", ("place",), True
    ),
    "disconnect": Mode("no connection: nothing is sent", SENDS),
    "rejected": Mode("the order is refused", ("place",)),
    "slow": Mode("the request is carried out at once and answered after --seconds", SENDS, True),
    "reads_fail": Mode("503 to whatever only reads", READS),
    "duplicate_fills": Mode("each trade is told twice", FILLS),
    "reordered_fills": Mode("trades are told newest first", FILLS),
    "late_fills": Mode("a trade is told --seconds after it was made, with its true time", MATCH, True),
    "stale_book": Mode("order books are --seconds (of the market) older than they are", BOOK, True),
    "empty_book": Mode("order books have no levels", BOOK),
    "crossed_book": Mode("order books bid more than they ask", BOOK),
}
"""Meaning by name."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One misbehaviour that somebody asked for.

    Attributes:
        id: None before it is stored.
        account: that it strikes; None: all.
        methods: that it strikes.
        share: of the calls of these methods, 0 to 1; which of them follows from `seed` alone.
        seconds: for the modes that take a time.
        calls_left: how often it still strikes; None: for ever.
        seen: calls it could have struck so far.
    """

    mode: str
    account: str | None = None
    methods: tuple[str, ...] = ()
    share: float = 1.0
    seconds: float = DEFAULT_SECONDS
    seed: int = 0
    calls_left: int | None = None
    seen: int = 0
    id: int | None = None
    made_at: datetime | None = None

    def concerns(self, method: str, account: str | None) -> bool:
        """Returns whether a call of that method is one it could strike."""
        fits_account = self.account is None or self.account == account
        return method in self.methods and fits_account and self.calls_left != 0

    @property
    def strikes_next(self) -> bool:
        """Whether it strikes the next call that it could; a hash of seed and count, the same in every process."""
        digest = hashlib.sha256(f"{self.seed}\n{self.mode}\n{self.seen}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def counted(misbehaviour: Misbehaviour) -> Misbehaviour:
    """Returns the misbehaviour after a call that it could have struck."""
    left = misbehaviour.calls_left
    if left is not None and misbehaviour.strikes_next:
        left -= 1
    return replace(misbehaviour, seen=misbehaviour.seen + 1, calls_left=left)


def misbehaviour(
    mode: str,
    account: str | None = None,
    methods: tuple[str, ...] = (),
    share: float = 1.0,
    seconds: float = DEFAULT_SECONDS,
    seed: int = 0,
    calls: int | None = FOREVER,
) -> Misbehaviour:
    """Returns a misbehaviour that makes sense.

    Raises:
        ConfigError: names what does not, and what is allowed.
    """
    if mode not in MODES:
        raise ConfigError(f"no misbehaviour {mode!r}; choose one of {', '.join(MODES)}")
    unknown = [each for each in methods if each not in METHODS]
    if unknown:
        raise ConfigError(f"no method {unknown[0]!r}; choose from {', '.join(METHODS)}")
    kept = MODES[mode].methods if set(MODES[mode].methods) & {*MATCH, *BOOK, *FILLS} else ()
    if kept and methods and set(methods) != set(kept):
        raise ConfigError(f"{mode} strikes {', '.join(kept)} and nothing else; leave out --on")
    if mode in ("not_found", "rejected") and set(methods) - {"place"}:
        raise ConfigError(f"{mode} strikes place and nothing else; leave out --on")
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share:g}: more than 0, at most 1")
    if not 0 <= seconds <= MOST_SECONDS:
        raise ConfigError(f"seconds is {seconds:g}: 0 to {MOST_SECONDS}")
    if calls is not None and calls < 1:
        raise ConfigError(f"calls is {calls}: at least 1")
    return Misbehaviour(mode, account, methods or MODES[mode].methods, share, seconds, seed, calls)


def describe() -> str:
    """Returns the table of all modes, for people."""
    width = max(map(len, MODES))
    return "\n".join(f"  {name:<{width}}  {mode.meaning} ({', '.join(mode.methods)})" for name, mode in MODES.items())
