"""The grader on responses that are known to be right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from common.tasks.gsm8k import load_gsm8k
from common.tasks.number_reading import final_answer
from common.tasks.step_grading import grade
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import generate
from papers.gsm_ranges.injected import ERRORS, Worked, inject, respond, worked


@dataclass(frozen=True)
class Response:
    """A response and whether its source calls it right."""

    item: str
    model: str
    question: str
    answer: Fraction
    text: str
    published: bool


def published_responses(first: int) -> list[Response]:
    """GSM8K's published model solutions (arXiv 2110.14168), without the first test items.

    Four models, `6b` and `175b`, fine-tuned alone and with a verifier that chooses among 100
    samples; all of them used a calculator for what stands in annotations.

    Args:
        first: number of the first test item.
    """
    responses = []
    for number, row in enumerate(load_gsm8k("model_solutions")):
        right = final_answer(row["ground_truth"]).value
        if number < first or right is None:
            continue
        for model, found in row.items():
            if isinstance(found, dict):
                text, flag = found["solution"], bool(found["is_correct"])
                item = f"test-{number:04}"
                responses.append(Response(item, model, row["question"], right, text, flag))
    return responses


def reference_responses(first: int) -> list[Response]:
    """GSM8K's own solutions of the test items from `first` on, as responses."""
    return [
        Response(
            f"test-{number:04}", "reference", row["question"], right, row["ground_truth"], True
        )
        for number, row in enumerate(load_gsm8k("model_solutions"))
        if number >= first and (right := final_answer(row["ground_truth"]).value) is not None
    ]


def published_solutions(first: int) -> list[Worked]:
    """The right solutions of GSM8K's test items from `first` on whose steps are clear."""
    rows = enumerate(load_gsm8k("model_solutions"))
    found = [
        worked(f"test-{number:04}", row["question"], row["ground_truth"])
        for number, row in rows
        if number >= first
    ]
    return [solution for solution in found if solution is not None]


def template_solutions(levels: Sequence[int], sets: int, seed: int) -> list[Worked]:
    """Solutions of our own templates, `sets` per level and template."""
    found = []
    for level in levels:
        for number, problem in enumerate(generate(TEMPLATES, level, sets, seed)):
            item = f"L{level}-{number // len(TEMPLATES)}-{problem.template}"
            found.append(worked(item, problem.question, problem.solution))
    return [solution for solution in found if solution is not None]


def own_responses(solutions: Iterable[Worked], seed: int) -> Iterator[Response]:
    """A right response to each item, and one with an error, in the place of published ones."""
    for number, solution in enumerate(solutions):
        rng = np.random.default_rng([seed, number])
        error = str(rng.choice(list(ERRORS)))
        texts = {
            "careful": respond(solution, "annotated"),
            "careless": inject(solution, error, "plain", rng),
        }
        for model, text in texts.items():
            if text is not None:
                right = model == "careful"
                about = (solution.item, model, solution.question, solution.answer)
                yield Response(*about, text, right)


def graded(responses: Iterable[Response]) -> pd.DataFrame:
    """One row per response: its grade, the `published` flag, and three columns of 0 and 1.

    `agrees` says whether both agree, `moved` whether repairing copies changed the label, and
    `recomputed` whether the recomputed steps give the right answer.
    """
    rows: list[dict[str, Any]] = []
    for response in responses:
        found = grade(response.text, response.question, response.answer)
        agrees = (found.label == "correct") == response.published
        about = {"item": response.item, "model": response.model, "published": response.published}
        moved = found.label != found.label_without_repair
        numbers = {"agrees": agrees, "moved": moved, "recomputed": found.program_correct}
        rows.append(about | found.row() | {name: int(true) for name, true in numbers.items()})
    return pd.DataFrame(rows).drop(columns=["unread"])


def shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Per model: what its responses are, as shares of all, of the right or of the wrong ones."""
    rows = []
    for model, part in frame.groupby("model"):
        wrong, right = part[part.label != "correct"], part[part.label == "correct"]
        rows.append(
            {
                "model": model,
                "responses": len(part),
                "agreement": part.agrees.mean(),
                "wrong": len(wrong) / len(part),
                "non_logical_of_wrong": _share(wrong.label == "non_logical"),
                "non_logical_of_wrong_without_repair": _share(
                    wrong.label_without_repair == "non_logical"
                ),
                "wrong_step_in_wrong": _share(wrong.wrong_steps > 0),
                "repaired_of_wrong": _share(wrong.repairs > 0),
                "no_step_in_wrong": _share(wrong.steps == 0),
                "lucky_of_right": _share(right.lucky),
                "truncated": _share(part.truncated),
            }
        )
    return pd.DataFrame(rows)


def _share(condition: pd.Series) -> float:
    """0 where there is nothing to count."""
    return float(condition.mean()) if len(condition) else 0.0
