import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.capitals import CAPITALS, Capitals


def test_the_table_is_one_to_one_and_plain():
    assert len(CAPITALS) > 100
    assert len(set(CAPITALS.values())) == len(CAPITALS)
    assert CAPITALS["Malaysia"] == "Kuala Lumpur" and CAPITALS["Norway"] == "Oslo"
    for country, capital in CAPITALS.items():
        assert country.isascii() and country.isalpha()
        assert capital.isascii() and capital == capital.strip() != ""


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), shots=st.integers(0, 6))
def test_a_problem_shows_other_countries_and_accepts_its_solution(seed, shots):
    task = Capitals(shots=shots)
    (problem,) = task.generate(seed, 1)
    *shown, asked = problem.prompt.split("\n")
    countries = [line.removeprefix("capital of ").split(" =")[0] for line in [*shown, asked]]
    assert len(shown) == shots and len(set(countries)) == shots + 1
    for country, line in zip(countries, shown, strict=False):
        assert line == f"capital of {country} = {CAPITALS[country]}"
    assert asked == f"capital of {countries[-1]} ="
    assert problem.solution == f" {CAPITALS[countries[-1]]}"
    assert task.verify(problem, problem.solution) == 1
    assert task.generate(seed, 1) == [problem]


def test_only_the_first_line_counts_and_all_of_it():
    task = Capitals(shots=0, capitals={"Peru": "Lima"})
    (problem,) = task.generate(0, 1)
    assert problem.prompt == "capital of Peru ="
    assert task.verify(problem, " Lima\ncapital of Chile = Santiago") == 1
    assert task.verify(problem, " lima") == 1
    assert task.verify(problem, " Quito\n Lima") == 0
    assert task.verify(problem, " Lima Province") == 0
    assert task.verify(problem, "") == 0


def test_another_terminator():
    task = Capitals(shots=1, capitals={"a": "x", "b": "y"}, terminator=" ;")
    assert task.questions() == [("capital of a =", " x ;"), ("capital of b =", " y ;")]
    (problem,) = task.generate(0, 1)
    assert problem.prompt.count(";") == 1
    assert task.verify(problem, problem.solution + " ; and more") == 1


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="shots"):
        Capitals(shots=-1)
    with pytest.raises(ValueError, match="too few"):
        Capitals(shots=1, capitals={"a": "x"})
