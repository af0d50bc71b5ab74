"""GSM-Ranges: the stand-in's training data, tables from graded responses, printed numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.tasks.exact_arithmetic import evaluate
from common.tasks.step_grading import grade
from papers.gsm_ranges import printed, tables
from papers.gsm_ranges.stand_in import (
    Recipe,
    draw,
    examples,
    held_out_problems,
    is_held_out,
    new_tokenizer,
    operation,
    prompt,
    sheet,
    solution,
    training_problems,
)

RECIPE = Recipe(("stamps", "mill"), 1, 16, 10, 8, 0.003, 0.2, 0.1, 0.25)


def responses(labels: dict[int, str]) -> pd.DataFrame:
    """One response per letter: c(orrect), n(on-logical), l(ogical)."""
    names = {"c": "correct", "n": "non_logical", "l": "logical"}
    rows = [
        {"level": level, "item": item, "label": names[letter]}
        for level, letters in labels.items()
        for item, letter in enumerate(letters)
    ]
    frame = pd.DataFrame(rows).assign(seed=0, sample=0)
    return frame.assign(label_without_repair=frame.label)


def test_training_never_sees_a_held_out_problem_and_tests_see_nothing_else() -> None:
    rng = np.random.default_rng(0)
    assert not any(map(is_held_out, training_problems(RECIPE, 200, rng)))
    for level in range(1, 7):
        assert all(map(is_held_out, held_out_problems(RECIPE.templates, level, 5, 0)))
    assert len(held_out_problems(RECIPE.templates, 0, 5, 0)) == 2


def test_training_numbers_are_mostly_small() -> None:
    problems = training_problems(RECIPE, 2000, np.random.default_rng(0))
    levels = pd.Series([one.level for one in problems])
    assert (levels == 1).mean() == pytest.approx(0.7, abs=0.04)
    assert (levels == 2).mean() == pytest.approx(0.2, abs=0.04)
    assert (levels > 2).mean() == pytest.approx(0.1, abs=0.03)


def test_the_solution_that_is_learned_is_graded_correct_at_every_level() -> None:
    for level in range(7):
        for problem in held_out_problems(RECIPE.templates, level, 3, 1):
            found = grade(solution(problem), problem.question, problem.answer)
            assert found.label == "correct" and found.program_correct and not found.wrong_steps


def test_a_slip_and_a_wrong_operation_are_told_apart() -> None:
    problem = draw("stamps", 1, np.random.default_rng(3), held_out=True)
    lena, paul = problem.values["lena"], problem.values["paul"]
    slip = lena - paul + 1
    text = f"{lena}-{paul}={slip}\n{lena}+{slip}={lena + slip}\n#### {lena + slip}"
    assert grade(text, problem.question, problem.answer).label == "non_logical"
    text = f"{lena}+{paul}={lena + paul}\n#### {lena + paul}"
    assert grade(text, problem.question, problem.answer).label == "logical"


def test_operations_are_right_and_sheets_mask_their_results() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        text, value = operation(rng)
        assert evaluate(text) == int(value)
    text, mask = sheet(60, ["16-3=13"], rng)
    learned = "".join(one for one, kept in zip(text, mask, strict=True) if kept)
    assert len(text) == len(mask) >= 60
    assert "16-3=13" in text.splitlines()
    assert learned == "".join(line.split("=")[1] for line in text.splitlines(keepends=True))


def test_examples_hold_the_texts_and_fill_every_batch() -> None:
    tokenizer = new_tokenizer(RECIPE)
    made = examples(RECIPE, tokenizer, 0)
    assert len(made) == 80
    assert made == examples(RECIPE, tokenizer, 0)
    assert made != examples(RECIPE, tokenizer, 1)
    for one in made:
        assert tokenizer.unk_token_id not in one.prompt_ids + one.completion_ids
    assert sum(one.mask is not None for one in made) == 20
    first = tokenizer.decode(made[0].prompt_ids[1:])
    assert first.endswith("?\n") and made[0].prompt_ids[0] == tokenizer.bos_token_id


@pytest.mark.parametrize("name", RECIPE.templates)
def test_the_tokenizer_knows_every_level_of_the_templates(name: str) -> None:
    tokenizer = new_tokenizer(RECIPE)
    for level in range(7):
        problem = draw(name, level, np.random.default_rng(level), held_out=True)
        text = prompt(problem) + solution(problem)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_bad_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="templates: unknown"):
        Recipe(("none",), 1, 16, 1, 1, 0.1, 0.1, 0.1, 0.1)
    with pytest.raises(ValueError, match="more than 1"):
        Recipe(("mill",), 1, 16, 1, 1, 0.1, 0.6, 0.6, 0.1)
    with pytest.raises(ValueError, match="alone_share"):
        Recipe(("mill",), 1, 16, 1, 1, 0.1, 0.1, 0.1, 1.0)


def test_error_rates_by_hand() -> None:
    rows = responses({1: "ccnl", 6: "nnll"})
    rows.loc[2, "label_without_repair"] = "logical"
    rates = tables.error_rates(rows).set_index(["level", "copy_repair", "label"]).rate.sort_index()
    assert rates[1, True].to_dict() == {"correct": 50, "non_logical": 25, "logical": 25}
    assert rates[1, False].to_dict() == {"correct": 50, "non_logical": 0, "logical": 50}
    rise = tables.rises(tables.error_rates(rows)).set_index(["copy_repair", "label"]).rise
    assert rise[True].to_dict() == {"correct": -50, "non_logical": 25, "logical": 25}
    assert rise[False, "logical"] == 0


def test_recall_by_hand() -> None:
    # Two questions a level with two samples each; right logic is any label but logical.
    rows = pd.concat(
        [
            responses({1: "cl", 6: "ll"}),
            responses({1: "ln", 6: "nl"}).assign(sample=1),
        ]
    )
    table = tables.recall(rows, [1, 2]).set_index(["estimator", "level", "n"])
    recalls = table.recall.sort_index()
    assert recalls["any", 1].to_dict() == {1: 50, 2: 100}
    assert recalls["any", 6].to_dict() == {1: 0, 2: 50}
    assert recalls["unbiased", 6].to_dict() == pytest.approx({1: 25, 2: 50})
    gaps = tables.recall_gaps(tables.recall(rows, [1, 2])).set_index(["estimator", "draws"]).gap
    assert gaps["any"].to_dict() == {"one": 50, "all": 50}


def test_operations_asked_alone_by_hand() -> None:
    rows = pd.DataFrame(
        {"seed": 0, "in_context": ["wrong", "wrong", "right"], "failed_alone": [1.0, 0.0, 0.0]}
    )
    asked = tables.asked_alone(rows, [0, 1]).set_index(["source", "seed", "in_context"])
    measured = asked.failed_alone["measured"]
    assert measured[0].to_dict() == {"wrong": 0.5, "right": 0}
    assert measured[1].isna().all() and (asked.operations["measured"][1] == 0).all()
    assert (asked.failed_alone["half"] == 0.5).all()


def test_templates_are_resampled_as_wholes() -> None:
    rows = pd.concat(
        [
            responses({1: "cccc", 6: "llll"}).assign(template="a"),
            responses({1: "cccc", 6: "cccc"}).assign(template="b"),
        ]
    )
    found = tables.over_templates(rows).set_index("label").loc["logical"]
    assert (found.rise, found.low, found.high) == (50, 0, 100)


def test_printed_headlines() -> None:
    rises = printed.printed_rises().set_index("model")
    assert rises.rise.idxmax() == "Gemma 2 2B" and rises.rise.max() == 14.2
    assert rises.beyond_uncertainty.sum() == 8 and rises.above_original.sum() == 7
    gaps = printed.printed_gaps().set_index("model").non_logical_minus_logical
    assert gaps["Gemma 2 2B"] == 19.4 and (gaps > 0).all()
    alone = printed.printed_alone().set_index(["model", "level"]).failed_alone
    assert alone["Gemma 2 2B", 1] == pytest.approx(0.112, abs=5e-4)
    assert (alone > 0.5).sum() == 1 and alone["GPT-3.5 Turbo", 1] > 0.5
    rates = printed.printed_rates()
    assert len(rates) == 2 * 10 * 7


def test_a_pretrained_model_is_asked_in_its_chat_template(tmp_path: Path) -> None:
    from common.lm.small import small_decoder
    from papers.gsm_ranges.evaluation import Plan, measure

    tokenizer = new_tokenizer(RECIPE)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    small_decoder(tokenizer, layers=1, width=16, max_length=512, seed=0).save_pretrained(tmp_path)
    plan = Plan(("mill",), 2, 5, (1,), 5, recall_levels=(1,), recall_sets=1, samples=3)
    rows = measure(str(tmp_path), plan, 7)
    assert rows.part.value_counts().to_dict() == {"greedy": 13, "sampled": 3}
    assert (rows.seed == 7).all() and (rows.tokens <= 5).all()
