"""TA-Lib, imported by itself: `from aaos.domain.signals.ta_lib import talib`, inside the functions that need it.

Its Python package imports pandas and polars wherever they happen to be installed, to accept their series: 146 MB
and half a second for each process, and slower calls, for something we never hand it. Both are therefore out of sight
while it is imported for the first time, unless the process has them already.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__all__ = ["talib"]

_UNWANTED = ("pandas", "polars")


def _alone() -> Any:
    hidden: dict[str, Any] = {name: None for name in _UNWANTED if name not in sys.modules}
    sys.modules.update(hidden)  # None: an import of it fails as if it were not installed
    try:
        import talib as library
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
    return library


if TYPE_CHECKING:
    import talib
else:
    talib = _alone()
