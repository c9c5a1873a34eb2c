"""Where settings come from, YAML files and AAOS_* variables; what in them cannot be meant is refused.

A slip is told with the nearest name that is known. Without pydantic, since the supervisor reads its section, too.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from yaml.constructor import ConstructorError

from aaos.errors import ConfigError

PREFIX = "AAOS_"
DELIMITER = "__"
# Read by something else than `Settings`: by who looks for the files and the stack, and by tests.
OTHER_VARIABLES = ("AAOS_CONFIG_DIR", "AAOS_STATE_DIR", "AAOS_TEST_DATA", "AAOS_CHAOS_SEED")
TEST_PREFIX = "AAOS_TEST_"
# difflib's ratio (0 … 1) from which an entry's name counts as another one misspelt. Above difflib's own 0.6, since it
# may as well be new: one wrong, missing or doubled letter in a word of five makes 0.8 or more.
MISSPELT_RATIO = 0.8
# Stands for every name, where a section is a table whose entries an operator names.
ANY_NAME = "*"

KeyTree = Mapping[str, "KeyTree"]
"""Key → what may stand below it; empty below a value."""

# The parser in C reads config/*.yaml in 2 ms instead of 17; a PyYAML built without it has none.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _EachKeyOnce(_Loader):  # type: ignore[misc]
    """Refuses a mapping that has a key twice: YAML forbids it, PyYAML lets the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping; raises ConstructorError naming the key and its second place."""
        places: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            first = places.setdefault((key.tag, key.value), key.start_mark.index)
            if first != key.start_mark.index:
                raise ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path) -> Any:
    """Returns what the file holds; an empty mapping for an empty file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is not readable as YAML, or has a key twice; names the file and the line.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _EachKeyOnce)  # noqa: S506 (made from the safe one)
    except FileNotFoundError:
        raise
    except ConstructorError as error:
        line = "" if error.problem_mark is None else f" line {error.problem_mark.line + 1}"
        raise ConfigError(f"{path}{line}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    return {} if content is None else content


def key_tree(schema: Any) -> KeyTree:
    """Returns the keys of a section's schema (a dataclass, or a table of them); empty for that of a value."""
    if dataclasses.is_dataclass(schema):
        hints = get_type_hints(schema)
        return {field.name: key_tree(hints[field.name]) for field in dataclasses.fields(schema)}
    if get_origin(schema) is dict:
        return {ANY_NAME: key_tree(get_args(schema)[1])}
    return {}


def keys_below(known: KeyTree, path: Sequence[str]) -> KeyTree:
    """Returns what may stand at the end of that path of keys."""
    for key in path:
        known = known.get(key, known.get(ANY_NAME, {}))
    return known


def check_variables(names: Collection[str], known: KeyTree, files: Mapping[str, Any]) -> None:
    """Refuses AAOS_* variables that set nothing: pydantic-settings passes over what it does not know.

    Args:
        names: of variables; all but ours are passed over. Case does not matter, as with pydantic.
        known: section → keys.
        files: section → what its file holds. The environment may add entries to a table, but one whose name is
            nearly that of an entry of the file is a slip.

    Raises:
        ConfigError: naming each such variable and the nearest known one; no values, which may be secrets.
    """
    slips = [name for name in sorted(names) if not _is_known(name.upper(), known, files)]
    if not slips:
        return
    choice = [*OTHER_VARIABLES, *(PREFIX + DELIMITER.join(path).upper() for path in _paths(known, files))]
    raise ConfigError("; ".join(f"{name}: no such setting{nearest(name.upper(), choice)}" for name in slips))


def nearest(name: str, known: Collection[str]) -> str:
    """Returns a hint at the known name that is most like this one; empty where none is like it."""
    found = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {found[0]}?" if found else ""


def _is_known(variable: str, known: KeyTree, files: Mapping[str, Any]) -> bool:
    if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX) or variable in OTHER_VARIABLES:
        return True
    tree, content = known, files
    for key in variable.removeprefix(PREFIX).lower().split(DELIMITER):
        if key not in tree and (ANY_NAME not in tree or _is_misspelt(key, content)):
            return False
        tree, content = keys_below(tree, [key]), _below(content, key)
    return True


def _is_misspelt(name: str, table: Mapping[str, Any]) -> bool:
    return name not in table and bool(difflib.get_close_matches(name, table, n=1, cutoff=MISSPELT_RATIO))


def _paths(known: KeyTree, files: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields the keys that lead to each value, in tables those of the entries that the files have."""
    for key, tree in known.items():
        for name in files if key == ANY_NAME else (key,):
            below = _paths(tree, _below(files, name)) if tree else [()]
            yield from ((name, *path) for path in below)


def _below(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    below = content.get(key) if isinstance(content, Mapping) else None
    return below if isinstance(below, Mapping) else {}
