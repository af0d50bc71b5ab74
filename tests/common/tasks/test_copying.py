import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.copying import WORDS, Copying


def test_words_are_distinct_single_words():
    assert len(set(WORDS)) == len(WORDS) > 60
    assert all(word.isalpha() and word.islower() for word in WORDS)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), length=st.integers(1, 5), shots=st.integers(0, 4))
def test_every_line_repeats_its_words(seed, length, shots):
    task = Copying(length=length, shots=shots)
    (problem,) = task.generate(seed, 1)
    *shown, asked = problem.prompt.split("\n")
    assert len(shown) == shots
    for line in shown:
        words, copy = line.removeprefix("copy ").split(" = ")
        assert words == copy and len(set(words.split())) == length
    assert problem.solution.split() == asked.removeprefix("copy ").removesuffix(" =").split()
    assert task.verify(problem, problem.solution + "\nmore") == 1
    assert task.verify(problem, problem.solution + " more") == 0
    assert task.generate(seed, 1) == [problem]


def test_order_counts():
    task = Copying(length=2, shots=0, words=["a", "b"])
    (problem,) = task.generate(0, 1)
    backwards = " ".join(reversed(problem.solution.split()))
    assert task.verify(problem, backwards) == 0
    assert task.verify(problem, "") == 0


def test_questions_end_with_the_terminator():
    questions = Copying(length=1, words=["a"], terminator=" ;").questions(0, 2)
    assert questions == [("copy a =", " a ;")] * 2
    assert Copying().questions(3, 5) == Copying().questions(3, 5) != Copying().questions(4, 5)
    assert Copying().questions(0, 0) == []


def test_arguments_are_checked():
    assert Copying(length=2).name == "copying_2"
    for length in (0, 3):
        with pytest.raises(ValueError, match="length"):
            Copying(length=length, words=["a", "b"])
    with pytest.raises(ValueError, match="shots"):
        Copying(shots=-1)
