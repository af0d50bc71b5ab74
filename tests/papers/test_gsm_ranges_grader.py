from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from common.plots import panels
from common.tasks.gsm8k import find_gsm8k
from common.tasks.step_grading import grade
from papers.gsm_ranges import agreement, injected, matrices

QUESTION = "A farm has 7345 hens and 2318 geese. It sells 1204 birds, each for 13 euros."
SOLUTION = (
    "There are 7345+2318=<<7345+2318=9663>>9663 birds.\n"
    "Of these 9663-1204=<<9663-1204=8459>>8459 remain.\n"
    "They bring 8459*13=<<8459*13=109967>>109967 euros.\n#### 109967"
)


@pytest.fixture
def farm():
    found = injected.worked("farm", QUESTION, SOLUTION)
    assert found is not None
    return found


def test_a_solution_is_read_with_its_links(farm):
    assert farm.answer == 109967
    assert farm.steps == (("7345", "+", "2318"), (0, "-", "1204"), (1, "*", "13"))
    assert "So 9663-1204 = <<9663-1204=8459>>8459 of them." in injected.respond(farm, "annotated")
    assert injected.respond(farm, "plain").endswith("The answer is 109967.")
    wrong = injected.respond(farm, "plain", (0, "9664"))
    assert "9664-1204 = 8460" in wrong and wrong.endswith(f"The answer is {8460 * 13}.")


@pytest.mark.parametrize(
    "solution",
    [
        "no step\n#### 5",
        "<<5=5>>5\n#### 5",
        "<<2+3=6>>6\n#### 6",
        "<<2+3=5>>5\n#### 6",
        "<<2+3=5>>5 <<1/0=5>>5\n#### 5",
        "<<2+x=5>>5\n#### 5",
        "<<6-3=3>>3 <<3+3=6>>6\n#### 6",  # 3 is asked for, too
        "<<2+3=5>>5 <<9-4=5>>5 <<5*2=10>>10\n#### 10",  # which 5?
    ],
)
def test_solutions_of_unclear_truth_are_left_out(solution):
    assert injected.worked("item", "6 and 3", solution) is None


@pytest.mark.parametrize("style", ["annotated", "plain"])
@pytest.mark.parametrize("error", list(injected.ERRORS))
def test_an_injected_error_is_of_its_kind(farm, error, style):
    for seed in range(20):
        response = injected.inject(farm, error, style, np.random.default_rng(seed))
        assert response == injected.inject(farm, error, style, np.random.default_rng(seed))
        assert response is not None
        found = grade(response, QUESTION, farm.answer)
        assert found.final_answer != farm.answer
        assert found.label == injected.ERRORS[error]
        assert found.wrong_steps == ("arithmetic" in error)
        assert (found.label_without_repair == found.label) == (error != "copy")


def test_no_error_fits():
    short = injected.worked("short", "2 and 3 hens", "<<2+3=5>>5\n#### 5")
    assert short is not None
    assert injected.inject(short, "copy", "plain", np.random.default_rng(0)) is None
    frame = injected.graded_errors([short], "own", 0)
    assert set(frame.error) == set(injected.ERRORS) - {"copy"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (Fraction(5, 2), "2.5"), (Fraction(1, 3), "0.3333"), (Fraction(-7, 2), "-3.5")],
)
def test_decimals(value, text):
    assert injected.decimal(Fraction(value)) == text


def test_own_responses_agree_with_their_flags():
    solutions = agreement.template_solutions([1, 3], 1, 0)
    assert len({one.item for one in solutions}) == len(solutions) == 52
    frame = agreement.graded(agreement.own_responses(solutions, 0))
    assert frame.agrees.all() and not frame.duplicated(["item", "model"]).any()
    assert set(frame.model) == {"careful", "careless"}
    pd.testing.assert_frame_equal(frame, agreement.graded(agreement.own_responses(solutions, 0)))
    shares = agreement.shares(frame).set_index("model")
    assert shares.wrong.to_dict() == {"careful": 0.0, "careless": 1.0}
    assert shares.loc["careful"].non_logical_of_wrong == 0  # there are none


def test_a_disagreement_is_counted(farm):
    text = injected.respond(farm, "plain")
    flags = [True, False]
    responses = [
        agreement.Response("farm", str(flag), QUESTION, farm.answer, text, flag) for flag in flags
    ]
    assert agreement.graded(responses).agrees.to_list() == [1, 0]


def test_published_responses(monkeypatch):
    row = {
        "question": QUESTION,
        "ground_truth": SOLUTION.replace("####", "A:"),
        "6b": {"is_correct": False, "solution": "<<7345+2318=9663>>9663\nA: 9663"},
        "175b": {"is_correct": True, "solution": SOLUTION},
    }
    monkeypatch.setattr(agreement, "load_gsm8k", lambda split: [row, row])
    frame = agreement.graded(agreement.published_responses(1))
    assert set(frame.item) == {"test-0001"}
    assert frame.set_index("model").label.to_dict() == {"6b": "logical", "175b": "correct"}
    assert frame.agrees.all()
    assert [one.item for one in agreement.published_solutions(1)] == ["test-0001"]
    reference = agreement.graded(agreement.reference_responses(1))
    assert reference[["item", "recomputed", "agrees"]].to_numpy().tolist() == [["test-0001", 1, 1]]


def test_the_first_published_responses_agree():
    """On the items that the grader was written with."""
    try:
        find_gsm8k("example_model_solutions.jsonl")
    except FileNotFoundError:
        pytest.skip("GSM8K's model solutions are not on this machine")
    seen = {f"test-{number:04}" for number in range(100)}
    frame = agreement.graded(one for one in agreement.published_responses(0) if one.item in seen)
    assert len(frame) == 400 and frame.agrees.all()
    assert (frame.label == "non_logical").mean() < 0.02  # they had a calculator


def test_confusion_matrices():
    frame = pd.DataFrame(
        {"model": ["a", "a", "b"], "flag": [True, False, True], "label": "logical"}
    )
    counts = matrices.counted(frame, ["model", "flag"])
    assert counts.columns.to_list() == list(matrices.LABELS)
    assert counts.loc["a, False"].to_list() == [0, 0, 1]
    _, (panel,) = panels(1)
    matrices.confusion(panel, counts, "title")
    assert [text.get_text() for text in panel.texts] == ["0", "0", "1"] * 3
