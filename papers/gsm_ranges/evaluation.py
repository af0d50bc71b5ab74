"""What one seed measures: graded responses, operations asked alone, repeated sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import pandas as pd

from common.tasks.answers import last_number
from common.tasks.step_grading import Grade, grade
from common.tasks.word_problems import LEVELS, WordProblem
from papers.gsm_ranges.responses import Respondent, Response
from papers.gsm_ranges.stand_in import Recipe, held_out_problems

ALONE_ROOM = 24
"""New tokens for an operation that is asked alone; the largest results have eleven digits."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        templates: names.
        sets: greedy responses per template and level.
        room: new tokens of a response.
        alone_levels: levels whose operations are asked again alone.
        alone_most: operations asked again, per level and outcome in context.
        recall_levels: levels of repeated sampling.
        recall_sets: questions per template there.
        samples: responses per question there.
        temperature: of that sampling.
        zeros: whether numbers with trailing zeros are asked, too.
    """

    templates: tuple[str, ...]
    sets: int
    room: int
    alone_levels: tuple[int, ...] = ()
    alone_most: int = 200
    recall_levels: tuple[int, ...] = ()
    recall_sets: int = 0
    samples: int = 1
    temperature: float = 0.7
    zeros: bool = False


def measure(source: Recipe | str, plan: Plan, seed: int) -> pd.DataFrame:
    """Everything that one seed measures, one row per response, told apart by `part`.

    The parts are greedy, zeros (greedy, numbers with trailing zeros), alone, sampled and loss.

    Args:
        source: how the stand-in is trained, or the name of a pretrained model.
        plan: how much is measured.
        seed: of the training, of the problems and of the sampling.
    """
    respondent = Respondent(source, seed)
    parts = []
    for level, zeros in product(LEVELS, (False, True) if plan.zeros else (False,)):
        if zeros and level < 2:
            continue
        problems = held_out_problems(plan.templates, level, plan.sets, seed, zeros=zeros)
        rows, grades = _answered(respondent, problems, plan)
        parts.append(rows.assign(part="zeros" if zeros else "greedy"))
        if level in plan.alone_levels and not zeros:
            alone = _asked_alone(respondent, grades, plan.alone_most)
            parts.append(alone.assign(part="alone", level=level))
    for level in plan.recall_levels:
        problems = held_out_problems(plan.templates, level, plan.recall_sets, seed)
        rows, _ = _answered(respondent, problems, plan, samples=plan.samples, seed=seed)
        parts.append(rows.drop(columns=["question", "response"]).assign(part="sampled"))
    if isinstance(source, Recipe):
        parts.append(respondent.losses.assign(part="loss", level=0))
    return pd.concat(parts, ignore_index=True).assign(seed=seed)


def _answered(
    respondent: Respondent,
    problems: Sequence[WordProblem],
    plan: Plan,
    *,
    samples: int = 1,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[Grade]]:
    prompts = [respondent.to_problem(problem) for problem in problems]
    responses = respondent.respond(
        prompts,
        room=plan.room,
        samples=samples,
        temperature=plan.temperature if samples > 1 else 0.0,
        seed=seed,
    )
    asked = [problem for problem in problems for _ in range(samples)]
    grades = [
        grade(response.text, problem.question, problem.answer)
        for response, problem in zip(responses, asked, strict=True)
    ]
    rows = [
        _row(place, problem, response, one)
        for place, (problem, response, one) in enumerate(zip(asked, responses, grades, strict=True))
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(item=frame.place // samples, sample=frame.place % samples), grades


def _row(
    place: int, problem: WordProblem, response: Response, one: Grade
) -> dict[str, int | float | str]:
    return {
        "place": place,
        "level": problem.level,
        "template": problem.template,
        "label": one.label,
        "label_without_repair": one.label_without_repair,
        "lucky": float(one.lucky),
        "repairs": one.repairs,
        "finished": float(response.finished),
        "tokens": response.tokens,
        "question": problem.question,
        "response": response.text,
    }


def _asked_alone(respondent: Respondent, grades: Sequence[Grade], most: int) -> pd.DataFrame:
    """Distinct operations that were wrong in context, and as many that were right, asked alone."""
    found: dict[str, dict[str, Fraction]] = {"wrong": {}, "right": {}}
    for one in grades:
        for step in one.steps:
            if step.written_value is not None:
                found["wrong" if step.wrong else "right"][step.text] = step.written_value
    rows = [
        {"in_context": context, "operation": text, "value": value}
        for context, operations in found.items()
        for text, value in list(operations.items())[:most]
    ]
    prompts = [respondent.to_operation(str(row["operation"])) for row in rows]
    responses = respondent.respond(prompts, room=ALONE_ROOM)
    failed = [
        float(last_number(response.text.partition("\n")[0]) != row["value"])
        for row, response in zip(rows, responses, strict=True)
    ]
    kept = pd.DataFrame(rows, columns=["in_context", "operation", "value"]).drop(columns="value")
    return kept.assign(failed_alone=failed)
