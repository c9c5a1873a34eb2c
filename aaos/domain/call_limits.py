"""How often, how much and how many at once models are asked, over all workers.

What a limit promises is exact: in no 60 seconds more requests or tokens than it says, at no instant more calls. So
calls are counted in a sliding window of 60 cells, one a second; a cell counts until its last instant is a whole
window ago. A bucket that fills up while nobody asks would let through twice the limit in its first minute, or, made
small enough not to, no request that takes a large part of a minute's tokens.

Who is refused is told when to come back, each at another instant: the first moment when what went before, and what
was promised before, has left the window, and not sooner after the one before than the limit's own pace. Promises are
kept in the same cells, so that they need no memory of their own, and are forgotten when their time comes: they
reserve nothing, since nobody knows whether who was refused will come back. `CallBook` is that arithmetic; the script
in `adapters/redis` is the same arithmetic in Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from annotated_types import Ge, Gt, Le

from aaos.domain.llm_budget import ModelCard
from aaos.errors import ConfigError

WINDOW_S: Final = 60.0
"""The minute of `…_per_minute`."""
CELLS: Final = 60
"""Parts a window is counted in; the newest is always begun, so a window spans 60 to 61 of them."""
LATENESS_CELLS: Final = 2
"""Who was told to come back is expected this much later: jitter, and the time a message takes."""
HORIZON_WINDOWS: Final = 10
"""Nobody is told to come back later than this many windows ahead, and nothing further ahead is remembered."""
HOLD_MAX_S: Final = 3600.0
"""No call holds its place longer than this."""
JITTER_S: Final = 1.0
"""Who is refused comes back up to this much later than there should be room: those of one cell not all at once."""
FIRST_GUESS_S: Final = 5.0
"""How long a call takes, until one has been given back."""
GUESS_SHARE: Final = 0.2
"""Weight of the newest call in the mean time that calls take."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Subsection `limits` of `sovereign`: for all workers and models together.

    Attributes:
        requests_per_minute: in any 60 seconds.
        tokens_per_minute: prompt and answer, in any 60 seconds.
        concurrent: calls at once.
        local_share: of all this that one process may use by itself while Redis is away.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    requests_per_minute: Annotated[int, Ge(1), Le(1_000_000)] = 120
    tokens_per_minute: Annotated[int, Ge(1_000), Le(1_000_000_000)] = 1_000_000
    concurrent: Annotated[int, Ge(1), Le(10_000)] = 16
    local_share: Annotated[float, Gt(0), Le(1)] = 0.25


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of one scope, that is of all models together or of one; None for no limit."""

    requests: int | None = None
    tokens: int | None = None
    concurrent: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return (self.requests, self.tokens, self.concurrent) != (None, None, None)

    @classmethod
    def of(cls, card: ModelCard) -> Caps:
        """Returns a model's own limits."""
        return cls(card.requests_per_minute, card.tokens_per_minute, card.concurrent)

    def share(self, part: float) -> Caps:
        """Returns that part of every limit, at least one of each."""
        return Caps(*(None if each is None else max(1, int(each * part)) for each in self._all()))

    def _all(self) -> tuple[int | None, int | None, int | None]:
        return (self.requests, self.tokens, self.concurrent)


class Limit(StrEnum):
    """Which limit refused a call."""

    REQUESTS = "requests per minute"
    TOKENS = "tokens per minute"
    CONCURRENT = "calls at once"


ALL_MODELS: Final = ""
"""The scope of all models together."""


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """All limits there are: of all models together, and of those models that have their own."""

    overall: Caps
    models: Mapping[str, Caps] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: CallLimits, models: Mapping[str, ModelCard] | None = None) -> LimitPlan:
        """Returns the plan of the configuration."""
        overall = Caps(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent)
        own = {name: Caps.of(card) for name, card in (models or {}).items()}
        return cls(overall, {name: caps for name, caps in own.items() if caps.any})

    def share(self, part: float) -> LimitPlan:
        """Returns that part of every limit."""
        return LimitPlan(self.overall.share(part), {name: caps.share(part) for name, caps in self.models.items()})

    def scopes(self, model: str) -> Sequence[tuple[str, Caps]]:
        """Returns the scopes that a call of that model counts in, with their limits."""
        own = self.models.get(model)
        overall = (ALL_MODELS, self.overall)
        return (overall,) if own is None else (overall, (model, own))


def check_largest_call(place: str, tokens_per_minute: int | None, context_tokens: int, answer_tokens: int) -> None:
    """Raises ConfigError when the largest call is more than a whole minute's tokens: it would never fit.

    Args:
        place: the key of the limit.
        tokens_per_minute: the limit, None for none.
        context_tokens: what a prompt may take.
        answer_tokens: what an answer may take.
    """
    largest = context_tokens + answer_tokens
    if tokens_per_minute is not None and tokens_per_minute < largest:
        raise ConfigError(
            f"{place} = {tokens_per_minute}: must be at least sovereign.context_budget_tokens ({context_tokens}) + "
            f"sovereign.max_tokens ({answer_tokens}) = {largest}, or such a call never fits"
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that may not be made now.

    Attributes:
        limit: the one that is reached; where several are, the one that takes longest.
        scope: whose limit it is: `ALL_MODELS`, or the model's name.
        allowed: what the limit says.
        wait_s: when there should be room for this caller.
    """

    limit: Limit
    scope: str
    allowed: int
    wait_s: float

    def __str__(self) -> str:
        whose = "all models together" if self.scope == ALL_MODELS else f"model {self.scope}"
        return f"limit of {self.allowed} {self.limit} ({whose}) reached; room in about {self.wait_s:.0f} s"


@dataclass(slots=True)
class _Scope:
    """The calls of one scope. Cells are numbered by time; [requests, tokens] each."""

    caps: Caps
    used: dict[int, list[int]] = field(default_factory=dict)
    promised: dict[int, list[int]] = field(default_factory=dict)
    under_way: dict[str, float] = field(default_factory=dict)
    turn: float = 0.0
    berth: float = 0.0
    overflow: float = 0.0
    mean_s: float = FIRST_GUESS_S


@dataclass(slots=True)
class CallBook:
    """The calls of the last minute, those under way, and what was promised; every instant is passed in (seconds)."""

    plan: LimitPlan
    window_s: float = WINDOW_S
    _scopes: dict[str, _Scope] = field(default_factory=dict)

    def acquire(self, model: str, token: str, tokens: int, hold_s: float, now: float) -> Refused | None:
        """Books the call under `token` in all its scopes, or in none and returns why not.

        A call that takes more tokens than a whole minute has is let through when it is the only one.
        """
        scopes = [(name, self._scope(name, caps)) for name, caps in self.plan.scopes(model)]
        refusals = []
        for name, scope in scopes:
            self._forget(scope, now)
            refusals += [
                each for each in (self._paced(name, scope, tokens, now), self._berthed(name, scope, now)) if each
            ]
        if refusals:
            return max(refusals, key=lambda each: each.wait_s)
        for _, scope in scopes:
            cell = scope.used.setdefault(self._cell(now), [0, 0])
            cell[0] += 1
            cell[1] += tokens
            scope.under_way[token] = now + hold_s
        return None

    def release(self, model: str, token: str, spare: int, acquired: float, now: float) -> None:
        """Ends the call; `spare` tokens of what was booked when it was acquired were not used."""
        for name, caps in self.plan.scopes(model):
            scope = self._scope(name, caps)
            if scope.under_way.pop(token, None) is None:
                continue
            cell = scope.used.get(self._cell(acquired))
            if cell is not None:
                cell[1] -= spare
            scope.mean_s += GUESS_SHARE * (max(now - acquired, 0.0) - scope.mean_s)

    def _scope(self, name: str, caps: Caps) -> _Scope:
        return self._scopes.setdefault(name, _Scope(caps))

    @property
    def _width_s(self) -> float:
        return self.window_s / CELLS

    def _cell(self, at: float) -> int:
        return int(at // self._width_s)

    def _forget(self, scope: _Scope, now: float) -> None:
        """Drops what is over, and what lies where nothing can be: then the clock was set back."""
        current = self._cell(now)
        scope.used = {cell: each for cell, each in scope.used.items() if current - CELLS <= cell <= current}
        scope.promised = {cell: each for cell, each in scope.promised.items() if cell > current}
        scope.under_way = {token: end for token, end in scope.under_way.items() if now < end <= now + HOLD_MAX_S}
        if max(scope.turn, scope.berth) > now + self._horizon_s:
            scope.turn = scope.berth = now
            scope.promised = {}

    def _paced(self, name: str, scope: _Scope, tokens: int, now: float) -> Refused | None:
        used = [sum(cell[kind] for cell in scope.used.values()) for kind in (0, 1)]
        over = _over(scope.caps, used[0], used[1], tokens)
        if over is None:
            return None
        limit, allowed = over
        spacing = self._spacing_s(scope.caps, tokens)
        slot = max(self._room_at(scope, tokens), scope.turn + spacing)
        if slot > now + self._horizon_s:
            return Refused(limit, name, allowed, self._far_off_s(scope, spacing))
        scope.turn = slot
        cell = scope.promised.setdefault(self._cell(slot) + LATENESS_CELLS, [0, 0])
        cell[0] += 1
        cell[1] += tokens
        return Refused(limit, name, allowed, slot - now)

    def _berthed(self, name: str, scope: _Scope, now: float) -> Refused | None:
        allowed = scope.caps.concurrent
        if allowed is None or len(scope.under_way) < allowed:
            return None
        spacing = scope.mean_s / allowed
        slot = max(now, scope.berth) + spacing
        if slot > now + self._horizon_s:
            return Refused(Limit.CONCURRENT, name, allowed, self._far_off_s(scope, spacing))
        scope.berth = slot
        return Refused(Limit.CONCURRENT, name, allowed, slot - now)

    def _far_off_s(self, scope: _Scope, spacing: float) -> float:
        """Returns a wait in the far half of the horizon, another one each time: there nothing is promised."""
        scope.overflow = (scope.overflow + spacing) % (self._horizon_s / 2)
        return self._horizon_s / 2 + scope.overflow

    @property
    def _horizon_s(self) -> float:
        return HORIZON_WINDOWS * self.window_s

    def _room_at(self, scope: _Scope, tokens: int) -> float:
        """Returns when enough of what is used, and promised, has left the window."""
        cells = sorted([*scope.used.items(), *scope.promised.items()])
        requests = sum(each[0] for _, each in cells)
        booked = sum(each[1] for _, each in cells)
        for cell, each in cells:
            requests -= each[0]
            booked -= each[1]
            if _over(scope.caps, requests, booked, tokens) is None:
                return (cell + CELLS + 1) * self._width_s
        raise AssertionError("an empty window has room for any call")

    def _spacing_s(self, caps: Caps, tokens: int) -> float:
        """Returns how much of a window such a call takes at the limit's pace."""
        shares = [1 / caps.requests] if caps.requests else []
        shares += [min(tokens / caps.tokens, 1.0)] if caps.tokens else []
        return self.window_s * max(shares)


def _over(caps: Caps, requests: int, booked: int, tokens: int) -> tuple[Limit, int] | None:
    if caps.requests is not None and requests + 1 > caps.requests:
        return Limit.REQUESTS, caps.requests
    if caps.tokens is not None and booked > 0 and booked + tokens > caps.tokens:
        return Limit.TOKENS, caps.tokens
    return None
