"""Two liberties the command line takes: `--state DIR` anywhere, and several files after one `--replay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STATE_OPTION = "--state"
REPLAY_OPTION = "--replay"
# Of these commands `--state` with one of these words is their rows' state: for a directory of that name write ./failed.
STATES = {
    "runs": frozenset({"pending", "running", "completed", "failed", "skipped"}),
    "orders": frozenset(
        "intent working unknown filled canceled rejected expired withdrawn quarantined".split()  # noqa: SIM905
    ),
}
# What follows it belongs to another program.
VERBATIM = frozenset({"sovereign-sim"})


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line without `--state DIR`, and that directory."""

    rest: tuple[str, ...]
    state: str | None = None


def split_state(words: Sequence[str]) -> Arguments:
    """Returns the arguments with the state directory taken out, wherever it stood; the last one named counts."""
    rest: list[str] = []
    state: str | None = None
    command: str | None = None
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--" or command in VERBATIM:
            return Arguments((*rest, word, *waiting), state)
        name, has_value, value = word.partition("=")
        if name != STATE_OPTION or (not has_value and not waiting):
            command = command or (None if word.startswith("-") else word)
            rest.append(word)
            continue
        value = value if has_value else waiting.pop(0)
        if value in STATES.get(command or "", ()):
            rest += [STATE_OPTION, value]
        else:
            state = value
    return Arguments(tuple(rest), state)


def spread_replay(words: Sequence[str]) -> list[str]:
    """Returns the arguments with `--replay A B` written as `--replay A --replay B`, as the parser wants it."""
    spread: list[str] = []
    playing = False
    for word in words:
        if playing and not word.startswith("-") and spread[-1] != REPLAY_OPTION:
            spread.append(REPLAY_OPTION)
        playing = word == REPLAY_OPTION or (playing and not word.startswith("-"))
        spread.append(word)
    return spread
