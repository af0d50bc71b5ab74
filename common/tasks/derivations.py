"""Arithmetic with many right derivations per problem, small enough for a decoder of two layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.tasks.demonstrations import Demonstration
from common.tasks.problem import Problem

OPERATIONS = ("+", "-", "*")
LARGEST_DIFFICULTY = 4  # enumerating all derivations of five steps takes minutes

Step = tuple[int, str, int, int]


class Derivations:
    """Reach the target from the given numbers modulo a small prime, using each exactly once.

    As in the game Countdown, but modular, so that every number is one word:

    | what | words |
    |---|---|
    | prompt | `<numbers> 3 7 5 <target> 6 :` |
    | completion | `3 + 7 = 10 ; 10 * 5 = 6`, then the end of the sequence |

    A step takes two numbers that are still there, given ones or results, in either order, and
    puts its result in their place; the last result has to be the target. The verifier checks every
    step. Two derivations are the same if they differ only in the order of operands of + and *, or
    in the order of steps that do not depend on one another.

    A start for reinforcement learning: `Derivations(steps=(2,), modulus=5)`, 28,800 demonstrations
    with `corruption=0.2`, and a decoder of 2 layers × 64 fine-tuned on them once (600 steps of 48,
    learning rate 3e-3, half a minute on one core). It solved 25 % of 64 new problems per sample,
    99 % within 32 samples, in 6 distinct ways, with 9 distinct solutions on average (one run).
    With modulus 7 the arithmetic is learned less well: 13 % and 96 %, at `corruption=0.3`.

    Args:
        steps: the difficulties that occur, equally often; d steps combine d + 1 numbers.
        modulus: results are taken modulo this number.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "derivations"

    def __init__(self, *, steps: Sequence[int] = (2, 3), modulus: int = 11) -> None:
        if not steps or not all(1 <= count <= LARGEST_DIFFICULTY for count in steps):
            raise ValueError(f"steps: each from 1 to {LARGEST_DIFFICULTY}, got {list(steps)}")
        if modulus < 2:
            raise ValueError(f"modulus: at least 2, got {modulus}")
        self.steps = tuple(steps)
        self.modulus = modulus
        self._numbers = {str(number): number for number in range(modulus)}

    def vocabulary(self) -> list[str]:
        """All words of prompts and completions."""
        return [*self._numbers, *OPERATIONS, "=", ";", ":", "<numbers>", "<target>"]

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems, each with at least one solution; equal seeds give equal problems."""
        rng = np.random.default_rng(seed)
        return [self._problem(rng)[0] for _ in range(count)]

    def _problem(self, rng: np.random.Generator) -> tuple[Problem, list[Step]]:
        difficulty = self.steps[int(rng.integers(len(self.steps)))]
        numbers = rng.integers(self.modulus, size=difficulty + 1).tolist()
        steps = self._random_steps(numbers, rng)
        target = steps[-1][3]
        problem = Problem(
            prompt=" ".join(["<numbers>", *map(str, numbers), "<target>", str(target), ":"]),
            solution=_write(steps),
            difficulty=difficulty,
            data={"numbers": numbers, "target": target, "modulus": self.modulus},
        )
        return problem, steps

    def _random_steps(self, numbers: Sequence[int], rng: np.random.Generator) -> list[Step]:
        """A derivation that ends anywhere."""
        left = list(numbers)
        steps = []
        while len(left) > 1:
            first, second = (left.pop(int(rng.integers(len(left)))) for _ in range(2))
            operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
            result = _apply(first, operation, second, self.modulus)
            steps.append((first, operation, second, result))
            left.append(result)
        return steps

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if every step is right and the last one ends at the target."""
        return float(self.signature(problem, completion) is not None)

    def signature(self, problem: Problem, completion: str) -> str | None:
        """The derivation as a formula with sorted operands; None unless it is correct.

        Where two numbers that are still there are equal, the newest one is meant.

        Args:
            problem: of this task.
            completion: any text.
        """
        steps = self._parse(completion)
        modulus = problem.data["modulus"]
        left = [(number, str(number)) for number in problem.data["numbers"]]
        if steps is None or len(steps) != len(left) - 1:
            return None
        for first, operation, second, result in steps:
            operands = []
            for value in (first, second):
                found = next((item for item in reversed(left) if item[0] == value), None)
                if found is None:
                    return None
                left.remove(found)
                operands.append(found[1])
            if result != _apply(first, operation, second, modulus):
                return None
            left.append((result, _formula(operands[0], operation, operands[1])))
        return left[0][1] if left[0][0] == problem.data["target"] else None

    def _parse(self, completion: str) -> list[Step] | None:
        steps = []
        for part in " ".join(completion.split()).split(" ; "):
            words = part.split()
            if len(words) != 5 or words[1] not in OPERATIONS or words[3] != "=":
                return None
            if not all(words[index] in self._numbers for index in (0, 2, 4)):
                return None
            first, second, result = (self._numbers[words[index]] for index in (0, 2, 4))
            steps.append((first, words[1], second, result))
        return steps

    def distinct_solutions(self, problem: Problem) -> list[str]:
        """The signatures of all correct derivations, sorted."""
        found: set[str] = set()
        seen: set[tuple[tuple[int, str], ...]] = set()
        waiting = [tuple(sorted((number, str(number)) for number in problem.data["numbers"]))]
        while waiting:
            state = waiting.pop()
            if len(state) == 1 and state[0][0] == problem.data["target"]:
                found.add(state[0][1])
            for following in _combinations(state, problem.data["modulus"]):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return sorted(found)

    def demonstrations(self, seed: int, count: int, corruption: float = 0.3) -> list[Demonstration]:
        """Derivations to imitate, a share of them wrong.

        A wrong one has a false result in one of its steps, ends beside the target, or takes a
        number that is not there.

        Args:
            seed: of the problems and of what is wrong.
            count: number of derivations.
            corruption: share of wrong ones.
        """
        rng = np.random.default_rng([seed, 1])
        return [self._demonstration(corruption, rng) for _ in range(count)]

    def _demonstration(self, corruption: float, rng: np.random.Generator) -> Demonstration:
        problem, steps = self._problem(rng)
        if rng.random() < corruption:
            fault = int(rng.integers(3))
            if fault == 0:
                steps = self._random_steps(problem.data["numbers"], rng)
            else:
                index = int(rng.integers(len(steps)))
                first, operation, second, result = steps[index]
                wrong = (result + int(rng.integers(1, self.modulus))) % self.modulus
                if fault == 1:
                    steps[index] = (first, operation, second, wrong)
                else:
                    steps[index] = (wrong, operation, second, result)
        return Demonstration(problem, _write(steps))


def _apply(first: int, operation: str, second: int, modulus: int) -> int:
    if operation == "+":
        return (first + second) % modulus
    if operation == "-":
        return (first - second) % modulus
    return first * second % modulus


def _write(steps: Sequence[Step]) -> str:
    return " ; ".join(f"{a} {operation} {b} = {c}" for a, operation, b, c in steps)


def _formula(first: str, operation: str, second: str) -> str:
    if operation != "-":
        first, second = sorted((first, second))
    return f"({first}{operation}{second})"


def _combinations(
    state: tuple[tuple[int, str], ...], modulus: int
) -> list[tuple[tuple[int, str], ...]]:
    """All states one step further: (value, formula) pairs, sorted."""
    following = []
    for i, (first, left) in enumerate(state):
        for j, (second, right) in enumerate(state):
            if i == j:
                continue
            rest = [item for k, item in enumerate(state) if k not in (i, j)]
            for operation in OPERATIONS:
                value = _apply(first, operation, second, modulus)
                formula = _formula(left, operation, right)
                following.append(tuple(sorted([*rest, (value, formula)])))
    return following
