"""The simulated models: what each looks at, how soon it acts, how sure it says it is, how long it takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aaos.domain.prompts import DATA_CLOSE, STANCE_LABEL, STANCES, read_figures
from aaos.local import sovereign_rules as rules
from aaos.local.sovereign_latency import Latency

_STANCE: Final = re.compile(rf"^{STANCE_LABEL} (\w+)", re.MULTILINE)

Rules = Callable[[rules.Figures, str], Iterator[rules.Evidence]]


@dataclass(frozen=True, slots=True)
class Character:
    """How a simulated model votes.

    Attributes:
        name: what it is asked for by.
        says: one line about it.
        find: yields its evidence, from the figures and the stance it was asked to take.
        act_from: a conviction smaller than this, either way, is a HOLD.
        sure: confidence of an action: at no conviction, and what full conviction adds to it.
        hold_sure: confidence of a HOLD without any conviction.
        risk_share: part of the risk that it sees.
        jitter: spread of the seeded difference between equally informed votes.
        latency: its own, where the simulator was told to use that.
        context_tokens: prompt and answer it takes at most.
    """

    name: str
    says: str
    find: Rules
    act_from: float
    sure: tuple[float, float]
    hold_sure: float
    risk_share: float
    jitter: float
    latency: Latency
    context_tokens: int = 32_768


CAREFUL: Final = Character(
    "sovereign-32b",
    "careful: weighs score, regime, phase, volume and drift by its stance; its confidence grows with the evidence",
    rules.by_stance,
    act_from=0.15,
    sure=(0.55, 0.4),
    hold_sure=0.75,
    risk_share=1.0,
    jitter=0.02,
    latency=Latency("tokens", (900.0, 28.0)),
)
HASTY: Final = Character(
    "sovereign-7b",
    "hasty and overconfident: reads the score and five candles, acts on little, and then is 0.8 sure or more",
    rules.at_a_glance,
    act_from=0.04,
    sure=(0.8, 0.18),
    hold_sure=0.8,
    risk_share=0.5,
    jitter=0.08,
    latency=Latency("tokens", (200.0, 90.0)),
)
CONTRARIAN: Final = Character(
    "sovereign-contrarian",
    "contrarian: finds what the careful one finds, and does the opposite",
    rules.against_the_crowd,
    act_from=0.15,
    sure=(0.55, 0.4),
    hold_sure=0.6,
    risk_share=1.0,
    jitter=0.02,
    latency=Latency("lognormal", (1500.0, 9000.0)),
)
MOMENTUM: Final = Character(
    "sovereign-momentum",
    "momentum chaser: follows the last twenty candles, blind to phase and volume, sees little risk",
    rules.with_the_move,
    act_from=0.1,
    sure=(0.6, 0.38),
    hold_sure=0.55,
    risk_share=0.3,
    jitter=0.05,
    latency=Latency("uniform", (300.0, 900.0)),
)
MUTE: Final = Character(
    "sovereign-mute",
    "mute: says HOLD to everything, half sure",
    rules.nothing,
    act_from=2.0,
    sure=(0.5, 0.0),
    hold_sure=0.5,
    risk_share=1.0,
    jitter=0.0,
    latency=Latency("fixed", (50.0,)),
)
CHARACTERS: Final[Mapping[str, Character]] = {each.name: each for each in (CAREFUL, HASTY, CONTRARIAN, MOMENTUM, MUTE)}
DEFAULT: Final = CAREFUL
"""What a model of another name is like, unless it was said."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a character reads in a prompt's figures: how far they push, from -1 (SELL) to +1 (BUY), and why."""

    figures: rules.Figures
    stance: str
    conviction: float
    why: str


def vote(system: str, user: str, seed: int, character: Character = DEFAULT) -> dict[str, Any]:
    """Returns the vote on a prompt, by the fields of the answer's schema: same arguments, same vote."""
    read = reading(system, user, seed, character)
    if read is None:
        return _ballot(0.0, 0.5, "I find no figures in the prompt, so there is nothing to act on.", character)
    reasoning = f"Taking the {read.stance} view: {read.why}. Conviction {read.conviction:+.2f}."
    return _ballot(read.conviction, rules.risk_of(read.figures, read.conviction), reasoning, character)


def reading(system: str, user: str, seed: int, character: Character) -> Reading | None:
    """Returns what the character makes of a prompt's figures; None where there are none."""
    said = read_figures(user)
    if said is None:
        return None
    figures, stance = rules.figures_of(said), _stance(system, user)
    evidence = list(character.find(figures, stance))
    pushed = sum(item.push for item in evidence) + _jitter(system, user, seed, character.jitter)
    why = "; ".join(f"{item.why} ({item.push:+.2f})" for item in evidence) or "nothing speaks either way"
    return Reading(figures, stance, max(-1.0, min(1.0, pushed)), why)


def _stance(system: str, user: str) -> str:
    found = _STANCE.search(system) or _STANCE.search(user.rpartition(DATA_CLOSE)[2])
    return found.group(1) if found and found.group(1) in STANCES else "trend"


def _ballot(conviction: float, risk_score: float, reasoning: str, character: Character) -> dict[str, Any]:
    acts = abs(conviction) >= character.act_from
    signal = ("BUY" if conviction > 0 else "SELL") if acts else "HOLD"
    least, more = character.sure
    confidence = least + more * abs(conviction) if acts else character.hold_sure - min(abs(conviction), 0.5)
    return {
        "reasoning": reasoning,
        "signal": signal,
        "confidence": round(confidence, 4),
        "risk_score": round(risk_score * character.risk_share, 4),
    }


def _jitter(system: str, user: str, seed: int, spread: float) -> float:
    digest = hashlib.sha256(f"{seed}\n{system}\n{user}".encode("utf-8", "replace")).digest()
    return spread * (int.from_bytes(digest[:4], "big") / 2**31 - 1)
