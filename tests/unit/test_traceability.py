"""Which test shows which requirement is read from the tests themselves."""

from __future__ import annotations

from tests.traceability import KNOWN, Mark, marks_in, problems, required_ids, table

SOURCE = """
pytestmark = pytest.mark.requirement("F01")

@pytest.mark.requirement("Q1")
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.requirement("Q2"))])
def test_one(x): ...

class TestGroup:
    @mark.requirement("P1")
    async def test_two(self): ...

def helper(): ...
"""


def test_marks_of_functions_parameters_classes_and_modules_are_found() -> None:
    found = list(marks_in(SOURCE, "unit/test_x.py"))
    one, two = "unit/test_x.py::test_one", "unit/test_x.py::TestGroup::test_two"
    assert found == [Mark("F01", one), Mark("Q1", one), Mark("Q2", one), Mark("F01", two), Mark("P1", two)]


def test_a_required_id_without_a_test_and_an_unknown_id_are_named() -> None:
    marks = [Mark("Q1", "a::b"), Mark("FM-TAW-3", "a::c")]
    assert problems(marks, ["Q1", "Q8"]) == [
        "no test shows Q8",
        "a::c names 'FM-TAW-3', which is no id of the specification",
    ]
    assert problems([Mark("Q1", "a::b")], ["Q1"]) == []


def test_an_id_that_is_computed_is_refused_as_unknown() -> None:
    (mark,) = marks_in("@pytest.mark.requirement(WHICH)\ndef test_a(): ...", "t.py")
    assert not KNOWN.fullmatch(mark.requirement)


def test_ids_of_the_specification_are_known_and_others_are_not() -> None:
    for known in (
        "FM-001",
        "FM-TAW-012",
        "FM-RF-004",
        "F16",
        "ENG-7",
        "ENG-TARGET",
        "HARD-1.1",
        "Q8",
        "P5",
        "D7",
        "S1",
    ):
        assert KNOWN.fullmatch(known), known
    for unknown in ("FM-1", "Q9", "F1", "q1", "Q1 "):
        assert not KNOWN.fullmatch(unknown), unknown


def test_required_ids_come_first_and_comments_are_passed_over() -> None:
    assert required_ids("# why\nQ8\n\nF01  # double\n") == ["Q8", "F01"]
    assert list(table([Mark("A1", "t"), Mark("F01", "u")], ["Q8", "F01"])) == ["Q8", "F01", "A1"]
