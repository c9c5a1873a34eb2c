"""Trees of text, as `explain` shows them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

INDENT = 3
NARROWEST = 40  # columns a text keeps, however deep it stands


@dataclass(frozen=True, slots=True)
class Node:
    """A line and what stands under it."""

    text: str
    children: tuple[Node, ...] = ()


def tree_lines(root: Node, width: int | None = None) -> list[str]:
    """Returns the tree drawn with box characters, folded at `width` columns (None: not at all)."""
    stem = "│  " if root.children else "   "
    first, *folded = _folded(root.text, width)
    lines = [first, *(stem + line for line in folded)]
    for position, child in enumerate(root.children):
        last = position == len(root.children) - 1
        first, *rest = tree_lines(child, None if width is None else width - len(stem))
        lines.append(("└─ " if last else "├─ ") + first)
        lines.extend(("   " if last else "│  ") + line for line in rest)
    return lines


def _folded(text: str, width: int | None) -> list[str]:
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width - INDENT, NARROWEST), drop_whitespace=True) or [text]
