"""Questions that a small decoder answers by searching: a stand-in for agents with a search tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.tasks.demonstrations import Demonstration
from common.tasks.lookup_transcripts import Transcript, read
from common.tasks.lookup_world import (
    FIRST_NAMES,
    LAST_NAMES,
    NOISE,
    RELATIONS,
    TAGS,
    THOUGHTS,
    Name,
    World,
    think,
)
from common.tasks.problem import Problem


class LookupQA:
    """Who is a person's teacher, or their rival's neighbour? Searching tells, memory does not.

    The grammar, one token per word:

    | what | words |
    |---|---|
    | question (prompt) | `<q> first last relation (relation or <none>) </q>` |
    | search | `<think> three to six words </think> <search> first last relation </search>` |
    | observation | `<info> document document </info>`, or `<info> <err> </info>` |
    | document | `first last relation first last` |
    | answer | `<think> … </think> <answer> first last </answer>`, then the end of the sequence |

    One of the two documents is about somebody else. Facts are drawn anew for every problem, so
    that no answer can be learned by heart: what a model learns is to search, to read and to copy.

    A start for reinforcement learning: `LookupQA(two_hop=0.3)`, 19,200 demonstrations, and a
    decoder of 2 layers × 64 fine-tuned on them once (400 steps of 48, learning rate 4e-3, under a
    minute on one core). It answered 26 % of new one-hop and 9 % of new two-hop questions per
    sample, 44 % and 25 % greedily (64 questions, one run). It searches well and copies from what
    it found, but hardly tells the two documents apart; three layers, width 96 or 800 steps did
    not change that.

    Args:
        two_hop: share of questions with two relations, which take two searches.
        entities: number of people, at most 256; the same names in all worlds.
        max_turns: searches that are answered; a further one ends the row.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "lookup_qa"

    def __init__(self, *, two_hop: float = 0.0, entities: int = 48, max_turns: int = 3) -> None:
        if not 0 <= two_hop <= 1:
            raise ValueError(f"two_hop: a share from 0 to 1, got {two_hop}")
        if not 4 <= entities <= len(FIRST_NAMES) * len(LAST_NAMES):
            raise ValueError(f"entities: from 4 to 256, got {entities}")
        if max_turns < 0:
            raise ValueError(f"max_turns: must not be negative, got {max_turns}")
        self.two_hop = two_hop
        self.entities = entities
        self.max_turns = max_turns

    def vocabulary(self) -> list[str]:
        """All words; sixty of them are never used and leave room for nonsense."""
        return [*TAGS, *FIRST_NAMES, *LAST_NAMES, *RELATIONS, *THOUGHTS, *NOISE]

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems, each in a world of its own; equal seeds give equal problems."""
        rng = np.random.default_rng(seed)
        return [self._problem(rng) for _ in range(count)]

    def _problem(self, rng: np.random.Generator) -> Problem:
        seed = int(rng.integers(2**31))
        world = World(seed, self.entities)
        name = world.names[int(rng.integers(self.entities))]
        hops = 2 if rng.random() < self.two_hop else 1
        relations = [RELATIONS[int(index)] for index in rng.integers(len(RELATIONS), size=hops)]
        words, _ = _transcript(world, name, relations, relations, rng)
        answer = name
        for relation in relations:
            answer = world.answer(answer, relation)
        return Problem(
            prompt=" ".join(["<q>", *name, *relations, *["<none>"] * (2 - hops), "</q>"]),
            solution=" ".join(words),
            difficulty=hops,
            data={
                "world": seed,
                "entities": self.entities,
                "entity": list(name),
                "relations": relations,
                "answer": list(answer),
            },
        )

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the text ends with `</answer>` and the last answer is exactly the right name."""
        return float(self.transcript(problem, completion).correct)

    def transcript(self, problem: Problem, completion: str) -> Transcript:
        """What a completion did, action by action."""
        return read(problem, completion)

    def environment(self, problems: Sequence[Problem], tokenizer: Any) -> LookupEnvironment:
        """Answers the searches of rollouts.

        Args:
            problems: one per prompt.
            tokenizer: of `vocabulary()`.
        """
        return LookupEnvironment(problems, tokenizer, self.max_turns)

    def demonstrations(self, seed: int, count: int, corruption: float = 0.3) -> list[Demonstration]:
        """Transcripts to imitate, a share of them wrong in one of the ways in which models fail.

        A wrong one searches for another relation, copies the answer from the other document, or
        gets the last name wrong; with two hops it may also answer after the first.

        Args:
            seed: of the problems and of the transcripts.
            count: number of transcripts.
            corruption: share of wrong ones.
        """
        rng = np.random.default_rng([seed, 1])
        return [self._demonstration(self._problem(rng), corruption, rng) for _ in range(count)]

    def _demonstration(
        self, problem: Problem, corruption: float, rng: np.random.Generator
    ) -> Demonstration:
        world = World(problem.data["world"], problem.data["entities"])
        name: Name = tuple(problem.data["entity"])
        relations = problem.data["relations"]
        faults = ["relation", "distractor", "last_name", "early"][: 3 + len(relations) - 1]
        fault = faults[int(rng.integers(len(faults)))] if rng.random() < corruption else None
        searched = list(relations)
        if fault == "relation":
            hop = int(rng.integers(len(relations)))
            searched[hop] = _other(RELATIONS, searched[hop], rng)
        if fault == "early":
            searched = searched[:1]
        words, observations = _transcript(world, name, relations, searched, rng, fault)
        return Demonstration(problem, " ".join(words), frozenset(observations))


class LookupEnvironment:
    """The search tool: called when a row has written `</search>`.

    Args:
        problems: one per prompt.
        tokenizer: of the task's vocabulary.
        max_turns: searches that are answered per row.
    """

    def __init__(self, problems: Sequence[Problem], tokenizer: Any, max_turns: int) -> None:
        self._worlds = [World(p.data["world"], p.data["entities"]) for p in problems]
        self._tokenizer = tokenizer
        self._max_turns = max_turns
        self._open, self._close = tokenizer.convert_tokens_to_ids(["<search>", "</search>"])

    @property
    def triggers(self) -> frozenset[int]:
        """The tokens after which a row waits for an observation."""
        return frozenset([self._close])

    def respond(self, prompt_index: int, completion: list[int]) -> list[int] | None:
        """The observation's token ids; None once a row has searched too often.

        Args:
            prompt_index: of the row's problem.
            completion: everything in the row so far, observations included.
        """
        if completion.count(self._close) > self._max_turns:
            return None
        query: list[str] = []
        if self._open in completion:
            start = len(completion) - completion[::-1].index(self._open)
            query = self._tokenizer.convert_ids_to_tokens(completion[start:-1])
        found = self._worlds[prompt_index].search(query)
        return self._tokenizer.convert_tokens_to_ids(found)


def _transcript(
    world: World,
    name: Name,
    relations: Sequence[str],
    searched: Sequence[str],
    rng: np.random.Generator,
    fault: str | None = None,
) -> tuple[list[str], list[int]]:
    """The words of a transcript, and the indices of its observations."""
    words: list[str] = []
    observations: list[int] = []
    for relation in searched:
        query = [*name, relation]
        words += [*think(rng), "<search>", *query, "</search>"]
        found = world.search(query)
        observations += range(len(words), len(words) + len(found))
        words += found
        asked, name = name, world.answer(name, relation)
    first, last = name
    if fault == "distractor":
        first, last = world.answer(world.distractor(asked, relation), relation)
    if fault == "last_name":
        last = _other(LAST_NAMES, last, rng)
    words += [*think(rng), "<answer>", first, last, "</answer>"]
    return words, observations


def _other(choices: Sequence[str], word: str, rng: np.random.Generator) -> str:
    others = [choice for choice in choices if choice != word]
    return others[int(rng.integers(len(others)))]
