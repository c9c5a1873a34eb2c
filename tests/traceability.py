"""Requirement → the tests that show it: `python -m tests.traceability` reads `@pytest.mark.requirement("ID")`.

Exit status 1, naming them, for ids of tests/requirements.txt without a test, and for markers whose id the
specification cannot have. Tests are read, not imported: it takes no server and half a second.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
REQUIRED = TESTS / "requirements.txt"
# The ids of SPEC 18 (failure modes, F, ENG, HARD, AAOS) and 19 (invariants).
KNOWN = re.compile(
    r"FM-(TAW-|RF-)?\d{3}|F\d{2}|ENG-(\d|TARGET)|HARD-\d\.\d|AAOS-[A-Z0-9.-]+"
    r"|Q[1-8]|P[1-5]|D[1-7]|R[1-8]|E[1-3]|A1|S1"
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Mark:
    """One marker: the id it names, and the test that carries it."""

    requirement: str
    test: str


def marks_in(source: str, path: str) -> Iterator[Mark]:
    """Yields the markers of a test file; those of a class or a module count for every test in it."""
    module = ast.parse(source, path)
    for_all = [each for node in module.body if _is_pytestmark(node) for each in _ids(node)]
    yield from _marks_of(module.body, path, for_all)


def _marks_of(body: Sequence[ast.stmt], place: str, inherited: Sequence[str]) -> Iterator[Mark]:
    for node in body:
        if not isinstance(node, Definition):
            continue
        own = [each for decorator in node.decorator_list for each in _ids(decorator)]
        if isinstance(node, ast.ClassDef):
            of_class = [each for part in node.body if _is_pytestmark(part) for each in _ids(part)]
            yield from _marks_of(node.body, f"{place}::{node.name}", [*inherited, *own, *of_class])
        elif node.name.startswith("test_"):
            yield from (Mark(each, f"{place}::{node.name}") for each in dict.fromkeys([*inherited, *own]))


def _is_pytestmark(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets)


def _ids(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "requirement":
            for argument in call.args:
                # An id that is computed cannot be found here: its source is shown, and refused as unknown.
                value = argument.value if isinstance(argument, ast.Constant) else None
                yield value if isinstance(value, str) else ast.unparse(argument)


def all_marks(directory: Path) -> list[Mark]:
    """Returns the markers of all test files below a directory."""
    files = sorted(directory.rglob("test_*.py"))
    return [
        mark for file in files for mark in marks_in(file.read_text("utf-8"), file.relative_to(directory).as_posix())
    ]


def required_ids(text: str) -> list[str]:
    """Returns the ids listed, one a line; `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def problems(marks: Sequence[Mark], required: Sequence[str]) -> list[str]:
    """Returns what is wrong, one sentence each."""
    shown = {mark.requirement for mark in marks}
    missing = [f"no test shows {each}" for each in required if each not in shown]
    unknown = [
        f"{mark.test} names {mark.requirement!r}, which is no id of the specification"
        for mark in marks
        if not KNOWN.fullmatch(mark.requirement)
    ]
    return missing + unknown


def table(marks: Sequence[Mark], required: Sequence[str]) -> Mapping[str, list[str]]:
    """Returns id → tests: the required ids in their order, then all others that tests name."""
    others = sorted({mark.requirement for mark in marks} - set(required))
    return {each: [mark.test for mark in marks if mark.requirement == each] for each in (*required, *others)}


def main() -> int:
    """Prints the table; returns the exit status."""
    marks, required = all_marks(TESTS), required_ids(REQUIRED.read_text("utf-8"))
    for requirement, tests in table(marks, required).items():
        sys.stdout.write(f"{requirement:<12}{len(tests):>3}  {tests[0] if tests else '-'}\n")
        sys.stdout.writelines(f"{'':<17}{test}\n" for test in tests[1:])
    found = problems(marks, required)
    sys.stderr.writelines(f"traceability: {each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
