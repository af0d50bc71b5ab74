"""Reading the look-up task's transcripts: actions, observations, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.tasks.lookup_world import World
from common.tasks.problem import Problem

Kind = Literal["search", "answer", "other"]


@dataclass(frozen=True)
class Action:
    """What a policy wrote between two observations.

    Attributes:
        kind: "search" or "answer" by the closing tag, "other" for what was cut off or has none.
        start: index of the first word in the completion; with one token per word also of its
            token.
        stop: one past the last.
        words: what was written.
        observation: what came back; empty unless it is a search that was answered.
    """

    kind: Kind
    start: int
    stop: int
    words: tuple[str, ...]
    observation: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether it is a search that brought up documents."""
        return bool(self.observation) and "<err>" not in self.observation


@dataclass(frozen=True)
class Transcript:
    """A completion of the look-up task.

    Attributes:
        actions: in order.
        answer: the words of the last answer, if there is one.
        correct: whether the text ends with the right answer.
        first_query_right: whether the first observation holds the document that the question's
            first hop needs.
        hops_found: how many of the question's hops have their document among the observations.
    """

    actions: tuple[Action, ...]
    answer: tuple[str, ...] | None
    correct: bool
    first_query_right: bool
    hops_found: int

    @property
    def valid_searches(self) -> int:
        """Number of searches that brought up documents."""
        return sum(action.valid for action in self.actions)


def read(problem: Problem, completion: str) -> Transcript:
    """Take a completion apart; any text whatever can be read.

    Args:
        problem: of `common.tasks.lookup_qa.LookupQA`.
        completion: the words after the prompt, observations included.
    """
    words = completion.split()
    actions = split_actions(words)
    answer = last_answer(words)
    gold = gold_documents(problem)
    seen = [action.observation for action in actions if action.valid]
    first = seen and actions[0].valid and _holds(seen[0], gold[0])
    return Transcript(
        actions=actions,
        answer=answer,
        correct=words[-1:] == ["</answer>"] and answer == tuple(problem.data["answer"]),
        first_query_right=bool(first),
        hops_found=sum(any(_holds(found, document) for found in seen) for document in gold),
    )


def split_actions(words: Sequence[str]) -> tuple[Action, ...]:
    """Actions with their observations.

    An observation is what stands from `<info>` to `</info>` directly behind `</search>`; the same
    tags anywhere else were written by the policy.
    """
    actions = []
    start = 0
    while start < len(words):
        stop = start
        while stop < len(words) and words[stop] not in ("</search>", "</answer>"):
            stop += 1
        stop = min(stop + 1, len(words))
        ending = words[stop - 1]
        kind: Kind = "other"
        observation: tuple[str, ...] = ()
        if ending == "</answer>":
            kind = "answer"
        elif ending == "</search>":
            kind = "search"
            observation = _observation(words, stop)
        actions.append(Action(kind, start, stop, tuple(words[start:stop]), observation))
        start = stop + len(observation)
    return tuple(actions)


def _observation(words: Sequence[str], start: int) -> tuple[str, ...]:
    if start == len(words) or words[start] != "<info>":
        return ()
    for stop in range(start, len(words)):
        if words[stop] == "</info>":
            return tuple(words[start : stop + 1])
    return tuple(words[start:])


def last_answer(words: Sequence[str]) -> tuple[str, ...] | None:
    """What stands between the last `</answer>` and the `<answer>` before it."""
    text = list(words)
    if "</answer>" not in text:
        return None
    stop = len(text) - 1 - text[::-1].index("</answer>")
    if "<answer>" not in text[:stop]:
        return None
    start = stop - text[:stop][::-1].index("<answer>")
    return tuple(text[start:stop])


def gold_documents(problem: Problem) -> list[tuple[str, ...]]:
    """The documents that answer the question's hops, in order."""
    world = World(problem.data["world"], problem.data["entities"])
    name = (problem.data["entity"][0], problem.data["entity"][1])
    documents = []
    for relation in problem.data["relations"]:
        documents.append(tuple(world.document(name, relation)))
        name = world.answer(name, relation)
    return documents


def _holds(observation: Sequence[str], document: tuple[str, ...]) -> bool:
    width = len(document)
    windows = range(len(observation) - width + 1)
    return any(tuple(observation[start : start + width]) == document for start in windows)
