"""What a person asks for: rows of what, how many, of which symbol or source; errors name what there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aaos.errors import InputError, UnknownSymbol

if TYPE_CHECKING:
    from aaos.bootstrap import Container

LIMIT_MAX = 100_000
SOURCE = re.compile(r"(?:(?P<kind>decision|trade):)?(?P<number>[0-9]{1,18})")


def source_of(said: str | int) -> str:
    """Returns a source as it is stored; a bare number is a decision's run.

    Raises:
        InputError: it is none; says how they look.
    """
    found = SOURCE.fullmatch(str(said).strip())
    if found is None:
        raise InputError(f"{said!r} is no source: say decision:17 (or 17) for a decision's run, trade:4 for a trade")
    return f"{found['kind'] or 'decision'}:{int(found['number'])}"


def check_limit(limit: int) -> None:
    """Raises InputError for a limit that is none."""
    if not 0 < limit <= LIMIT_MAX:
        raise InputError(f"limit is {limit}: ask for 1 to {LIMIT_MAX} rows")


def refuse_unknown(symbol: str | None, container: Container) -> None:
    """Old symbols keep their results; one without any is probably a slip."""
    if symbol is None:
        return
    known = container.market.symbols()
    if symbol not in known:
        from aaos.domain.market import unlisted

        raise UnknownSymbol(f"{unlisted(symbol, known)}; nothing is stored of it either")
