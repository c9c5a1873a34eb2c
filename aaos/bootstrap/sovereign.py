"""The adapters around the language-model service: asking, limiting, distrusting it, and keeping account of it."""

from __future__ import annotations

import os
import socket
from functools import cached_property
from typing import TYPE_CHECKING

from aaos.bootstrap.adapters import Adapters
from aaos.errors import ConfigError

if TYPE_CHECKING:
    from aaos.adapters.call_limiter import SteadyCallLimiter
    from aaos.adapters.postgres.approvals import PostgresApprovals
    from aaos.adapters.postgres.audit import PostgresAuditLog
    from aaos.adapters.postgres.calibration import PostgresVoteOutcomes
    from aaos.adapters.postgres.call_book import PostgresCallBook
    from aaos.adapters.postgres.ledger import PostgresSovereignLedger
    from aaos.adapters.sovereign.router import ModelRouter
    from aaos.adapters.trust import CachedTrust
    from aaos.domain.llm_budget import ModelCard
    from aaos.services.guard_models import GuardedBreakers
    from aaos.services.questions import SovereignAccess


class SovereignAdapters(Adapters):
    """The adapters of one process, with those around the model service."""

    @cached_property
    def ledger(self) -> PostgresSovereignLedger:
        """Calls to Sovereign."""
        from aaos.adapters.postgres.ledger import PostgresSovereignLedger

        return PostgresSovereignLedger(self.database, self.settings.models, self.settings.sovereign.budget)

    @cached_property
    def call_book(self) -> PostgresCallBook:
        """Calls to Sovereign, for reading."""
        from aaos.adapters.postgres.call_book import PostgresCallBook

        return PostgresCallBook(self.database)

    @cached_property
    def sovereign(self) -> ModelRouter:
        """The language-model service: one address, and those of models that are served elsewhere."""
        from aaos.adapters.sovereign.client import SovereignClient
        from aaos.adapters.sovereign.router import ModelRouter

        settings = self.settings
        key = settings.sovereign_api_key
        secret = None if key is None else key.get_secret_value()
        places = {name: (card.url, _key_of(name, card)) for name, card in settings.models.items() if card.url}
        clients = {(url, own): SovereignClient(url, settings.sovereign, own) for url, own in set(places.values())}
        return ModelRouter(
            SovereignClient(settings.sovereign_url, settings.sovereign, secret),
            {name: clients[place] for name, place in places.items()},
        )

    @cached_property
    def breakers(self) -> GuardedBreakers:
        """One breaker per model."""
        from aaos.adapters.memory.breakers import LocalModelBreakers
        from aaos.adapters.redis.breakers import RedisModelBreakers
        from aaos.adapters.redis.scripts import connect_brisk
        from aaos.services.guard_models import GuardedBreakers

        rules = self.settings.sovereign.breaker
        # A trial whose worker died is over when the vote that made it is.
        lease_s = self.settings.kind("trading_analysis").timeout_seconds
        return GuardedBreakers(
            RedisModelBreakers(connect_brisk(self.settings.redis_address), rules, lease_s),
            LocalModelBreakers(rules, lease_s),
            self.alerts,
            self.audit,
            f"worker:{socket.gethostname()}:{os.getpid()}",
        )

    @cached_property
    def limiter(self) -> SteadyCallLimiter:
        """How often, how much and how many at once models are asked."""
        from aaos.adapters.call_limiter import SteadyCallLimiter
        from aaos.adapters.memory.limiter import LocalCallLimiter
        from aaos.adapters.redis.limiter import RedisCallLimiter
        from aaos.adapters.redis.scripts import connect_brisk

        limits, models = self.settings.sovereign.limits, self.settings.models
        return SteadyCallLimiter(
            RedisCallLimiter(connect_brisk(self.settings.redis_address), limits, models),
            LocalCallLimiter(limits, models=models, share=limits.local_share),
        )

    @cached_property
    def audit(self) -> PostgresAuditLog:
        """The audit log."""
        from aaos.adapters.postgres.audit import PostgresAuditLog

        return PostgresAuditLog(self.database)

    @cached_property
    def approvals(self) -> PostgresApprovals:
        """A person's word on decisions."""
        from aaos.adapters.postgres.approvals import PostgresApprovals

        return PostgresApprovals(self.database)

    @cached_property
    def sovereign_access(self) -> SovereignAccess:
        """All that stands between a question and the model service."""
        from aaos.services.questions import SovereignAccess

        return SovereignAccess(self.sovereign, self.ledger, self.breakers, self.limiter, self.settings.sovereign)

    @cached_property
    def vote_outcomes(self) -> PostgresVoteOutcomes:
        """What became of votes."""
        from aaos.adapters.postgres.calibration import PostgresVoteOutcomes

        return PostgresVoteOutcomes(self.database)

    @cached_property
    def learned_trust(self) -> CachedTrust:
        """What outcomes have taught."""
        from aaos.adapters.trust import CachedTrust

        return CachedTrust(self.vote_outcomes, self.settings.calibration, self.settings.decision.fallback_multiplier)


def _key_of(model: str, card: ModelCard) -> str | None:
    """Returns the key for a model's own address; the key of the others goes nowhere else."""
    if card.api_key_variable is None:
        return None
    try:
        return os.environ[card.api_key_variable]
    except KeyError:
        raise ConfigError(
            f"models.{model}.api_key_variable = {card.api_key_variable}: the environment has no such variable"
        ) from None
