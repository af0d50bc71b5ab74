"""Responses graded per second of processor time, against checking their final answers alone.

`common.tasks.step_grading.grade` reads the final answer, reads and recomputes every step, and
labels the error. The rival, math_verify's `parse` and `verify`, compares the final answer only.
Both see the same responses: GSM8K's published model solutions where they are on this machine
(1,000 a second are asked for), else solutions of our own word problems. Medians over repeats in
one run.

    python -m benchmarks.step_grading --responses 1000
"""

from __future__ import annotations

import argparse
import importlib
import logging
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import median
from typing import Any, NamedTuple

from common.tasks.exact_arithmetic import parse
from common.tasks.gsm8k import load_gsm8k
from common.tasks.number_reading import final_answer, known_numbers
from common.tasks.step_grading import grade
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import generate


class Response(NamedTuple):
    """What is graded."""

    text: str
    question: str
    answer: Fraction


def published() -> list[Response]:
    """GSM8K's published model solutions."""
    found: list[Response] = []
    for row in load_gsm8k("model_solutions"):
        answer = final_answer(row["ground_truth"]).value
        if answer is not None:
            texts = [one["solution"] for one in row.values() if isinstance(one, dict)]
            found.extend(Response(text, row["question"], answer) for text in texts)
    return found


def generated() -> list[Response]:
    """Right solutions of our own word problems at all levels."""
    return [
        Response(problem.solution, problem.question, Fraction(problem.answer))
        for level in range(1, 7)
        for problem in generate(TEMPLATES, level, 5, seed=0)
    ]


def steps_and_answer(responses: Sequence[Response]) -> int:
    """Ours; returns how many are correct."""
    known_numbers.cache_clear()
    parse.cache_clear()
    return sum(grade(*response).label == "correct" for response in responses)


def answer_alone(responses: Sequence[Response]) -> int:
    """The rival."""
    library: Any = importlib.import_module("math_verify")
    return sum(
        bool(library.verify(library.parse(str(response.answer)), library.parse(response.text)))
        for response in responses
    )


def rate(work: Callable[[Sequence[Response]], int], responses: Sequence[Response]) -> float:
    """Responses per second of one core, whatever else the machine does."""
    start = time.process_time()
    work(responses)
    return len(responses) / (time.process_time() - start)


def main() -> None:
    """Parse the command line and print one row per side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=1000, help="at most")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    try:
        source, responses = "GSM8K's model solutions", published()
    except FileNotFoundError:
        source, responses = "generated solutions", generated()
    responses = responses[: options.responses]
    length = sum(len(response.text) for response in responses) / len(responses)
    print(f"{len(responses)} responses, {source}, {length:.0f} characters each on average")
    answer_alone(responses[:1])
    sides = {"steps and answer": steps_and_answer, "math_verify, answer": answer_alone}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, work in sides.items():
            rates[name].append(rate(work, responses))
    for name, work in sides.items():
        per_second = f"{median(rates[name]):>8.0f} per second"
        print(f"{name:<22} {per_second}, {work(responses)} called correct")
    ratio = median(a / b for a, b in zip(*rates.values(), strict=True))
    print(f"ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
