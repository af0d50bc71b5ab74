"""How large the numbers of word problems are: of benchmarks, and of what is generated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from common.tasks.gsm8k import load_gsm8k, numbers_in, read_jsonl, without_annotations
from common.tasks.templates_from_solutions import Reason, templates_from_items
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import Template, WordProblem, generate

if TYPE_CHECKING:
    import pandas as pd

OWN_ITEMS = Path(__file__).with_name("own_items.jsonl")

PUBLISHED = {
    0: (20, 53),
    1: (40, 117),
    2: (734.5, 3_572),
    3: (7_471, 35_610),
    4: (73_918, 356_057),
    5: (743_375, 3_600_000),
    6: (7_369_160, 35_700_000),
}
"""Level: medians of the largest number of a question and of the answer's size in the published
problems of arXiv 2502.08680 (second-hand)."""

BELOW = [10**power for power in range(1, 9)]

Items = Sequence[Mapping[str, Any]]


def sources(gsm8k: Iterable[str]) -> dict[str, Items]:
    """Items in the form of GSM8K by the name of their file; without splits, our bundled ones.

    Args:
        gsm8k: of "train" and "test".
    """
    found: dict[str, Items] = {f"GSM8K {split}": load_gsm8k(split) for split in gsm8k}
    return found or {"own items": read_jsonl(OWN_ITEMS)}


def hub_items(name: str) -> Items:
    """The items of another benchmark, downloaded by `datasets`; fields question and answer.

    Args:
        name: "SVAMP" or "MATH".

    Raises:
        ValueError: another name.
    """
    from datasets import concatenate_datasets, get_dataset_config_names, load_dataset

    if name == "SVAMP":
        parts = load_dataset("ChilleD/SVAMP")
        rows = concatenate_datasets([parts["train"], parts["test"]])
        return [
            {"question": f"{row['Body']} {row['Question']}", "answer": str(row["Answer"])}
            for row in rows
        ]
    if name == "MATH":
        hub = "EleutherAI/hendrycks_math"
        parts = [load_dataset(hub, config) for config in get_dataset_config_names(hub)]
        rows = concatenate_datasets([part[split] for part in parts for split in ("train", "test")])
        return [{"question": row["problem"], "answer": row["solution"]} for row in rows]
    raise ValueError(f"name: SVAMP or MATH, got {name!r}")


def derived(files: Mapping[str, Items]) -> tuple[dict[str, dict[str, Template]], pd.DataFrame]:
    """Templates by file and name, and the table of yields: file, outcome, items, percent."""
    import pandas as pd

    templates, rows = {}, []
    for name, items in files.items():
        templates[name], rejected = templates_from_items(items, name.replace(" ", "-"))
        counts = {"becomes a template": len(templates[name])} | {
            reason.value: sum(item.reason is reason for item in rejected) for reason in Reason
        }
        rows += [
            {"file": name, "outcome": outcome, "items": n, "percent": 100 * n / len(items)}
            for outcome, n in counts.items()
        ]
    return templates, pd.DataFrame(rows)


def draws(
    templates: Mapping[str, Template], levels: Iterable[int], sets: int, seed: int
) -> dict[int, list[WordProblem]]:
    """Problems by level; level 0 has one set."""
    return {level: generate(templates, level, sets if level else 1, seed) for level in levels}


def own_draws(levels: Iterable[int], sets: int, seed: int) -> dict[int, list[WordProblem]]:
    """Problems by level from the templates of this project."""
    return draws(TEMPLATES, levels, sets, seed)


def level_facts(source: str, problems: Mapping[int, Sequence[WordProblem]]) -> pd.DataFrame:
    """One row per level: sizes of numbers, and how many questions differ."""
    import pandas as pd

    rows = []
    for level, drawn in problems.items():
        answers = [problem.answer for problem in drawn]
        largest = [max(numbers_in(problem.question)) for problem in drawn]
        rows.append(
            {
                "source": source,
                "level": level,
                "problems": len(drawn),
                "median_largest": float(median(largest)),
                "published_largest": PUBLISHED[level][0],
                "median_answer": float(median(answers)),
                "published_answer": PUBLISHED[level][1],
                "digits_of_largest_answer": len(str(max(answers))),
                "percent_distinct": 100 * len({p.question for p in drawn}) / len(drawn),
            }
        )
    return pd.DataFrame(rows)


def texts(items: Items, counted: str = "question and solution") -> list[str]:
    """What is counted of each item, without calculator annotations.

    Args:
        items: with questions and annotated solutions.
        counted: "question", "question and solution", "question and final answer", or
            "everything" (annotations included).

    Raises:
        ValueError: `counted` is another word.
    """
    parts = {
        "question": lambda item: item["question"],
        "question and solution": lambda item: (
            f"{item['question']}\n{without_annotations(item['answer'])}"
        ),
        "question and final answer": lambda item: (
            f"{item['question']}\n{re.split('####', item['answer'])[-1]}"
        ),
        "everything": lambda item: f"{item['question']}\n{item['answer']}",
    }
    if counted not in parts:
        raise ValueError(f"counted: one of {', '.join(parts)}, got {counted!r}")
    return [parts[counted](item) for item in items]


COUNTED = ("question and solution", "question", "question and final answer", "everything")


def sizes(written: Iterable[str]) -> list[Decimal]:
    """All numbers of some texts."""
    return [number for text in written for number in numbers_in(text)]


def problem_texts(problems: Iterable[WordProblem]) -> list[str]:
    """Questions with their solutions, without annotations."""
    return [f"{one.question}\n{without_annotations(one.solution)}" for one in problems]


def percent_below(numbers: Sequence[Decimal], bound: int) -> float:
    """The percentage of numbers below a bound.

    Raises:
        ValueError: there are no numbers.
    """
    if not numbers:
        raise ValueError("numbers: there are none")
    return 100 * sum(number < bound for number in numbers) / len(numbers)
