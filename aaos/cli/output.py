"""What commands print: tables for people, one JSON document for programs; all else goes to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from aaos.shell.tables import UNLIMITED_WIDTH

if TYPE_CHECKING:
    from rich.console import Console

ID_MAX = 2**63 - 1
LIMIT_MAX = 100_000

# Options that several commands share.
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, and nothing else there")]
Kind = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="only this kind; `aaos queues` lists them")]
Symbol = Annotated[str | None, typer.Option("--symbol", metavar="SYM", help="only this symbol, as in BTC/USDT")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=LIMIT_MAX, metavar="N", help="how many, newest first")]


class Rows(Protocol):
    """A list of the shell's: it knows its JSON form, and what to say when it is empty."""

    def __len__(self) -> int: ...

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        ...


def print_json(value: Any) -> None:
    """Prints the value as the only document on stdout."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def show(shown: object) -> None:
    """Prints a table, or whatever rich can print, on stdout: coloured on a terminal, never cut off in a pipe."""
    if sys.stdout.isatty():
        console().print(shown, crop=False)
        return
    from aaos.shell.tables import as_text

    print(as_text(shown, UNLIMITED_WIDTH))


def show_rows(found: Rows, *, as_json: bool) -> None:
    """Prints rows as a table or as JSON; where there are none, what they say instead."""
    if as_json:
        print_json(found.to_dicts())
    elif found:
        show(found)
    else:
        say(repr(found))


def say(text: str) -> None:
    """Prints a line on stdout, as it is."""
    print(text)


def note(text: str) -> None:
    """Prints a line for the person on stderr."""
    print(text, file=sys.stderr)


def console(*, stderr: bool = False) -> Console:
    """Returns rich's console on stdout or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False)
