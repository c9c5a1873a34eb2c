"""The question to a voter, with as much context as fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from aaos.domain.model_request import ModelRequest
from aaos.domain.prompts import (
    PROMPT_VERSION,
    REPAIR_MAX_TOKENS,
    TIERS,
    Tier,
    build_figures,
    vote_request,
)
from aaos.domain.sovereign import SovereignSettings
from aaos.domain.tokens import TokenCounter, estimate_tokens, prompt_tokens
from aaos.errors import ContextTooLarge
from aaos.settings import Voter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PreparedVote:
    """A question ready to be asked.

    Attributes:
        request: to the voter's own model.
        tier: how much of the context it carries.
        prompt_tokens: what the prompt takes at most.
        tokens_saved: what it would take more with the whole context.
        prompt_version: of the template.
    """

    request: ModelRequest
    tier: Tier
    prompt_tokens: int
    tokens_saved: int
    prompt_version: str = PROMPT_VERSION


def prepare_vote(
    context: Mapping[str, object],
    voter: str,
    asked: Voter,
    settings: SovereignSettings,
    count: TokenCounter = estimate_tokens,
) -> PreparedVote:
    """Returns the question to `voter` in the fullest tier that fits (FM-002, FM-TAW-009).

    It fits within `context_budget_tokens`, and leaves room for a repair below `context_cap_tokens`.

    Raises:
        ContextTooLarge: not even the least tier fits; names the figures and the remedy.
    """
    room = min(settings.context_budget_tokens, settings.context_cap_tokens - REPAIR_MAX_TOKENS)
    needed: list[int] = []
    for tier in TIERS:
        request = vote_request(build_figures(context, tier), voter, asked.model, asked.stance, settings)
        needed.append(prompt_tokens(request, count))
        if needed[-1] <= room:
            saved = needed[0] - needed[-1]
            if tier != TIERS[0]:
                log.info("context_reduced", voter=voter, tier=tier, prompt_tokens=needed[-1], tokens_saved=saved)
            return PreparedVote(request, tier, needed[-1], saved)
    raise ContextTooLarge(
        f"the least context for {voter} takes {needed[-1]} tokens, the whole one {needed[0]}; {room} are allowed: "
        f"raise sovereign.context_budget_tokens (now {settings.context_budget_tokens}), and context_cap_tokens (now "
        f"{settings.context_cap_tokens}) to at least {REPAIR_MAX_TOKENS} above it, if the model's context window allows"
    )
