"""The words and facts of the look-up task: people, and relations that lead from one to another."""

from __future__ import annotations

import bisect
from functools import cache

import numpy as np

# fmt: off
FIRST_NAMES = [
    "ada", "bela", "cleo", "dora", "emil", "fritz", "gina", "hugo", "ines", "jonas", "karl",
    "lena", "mila", "nils", "olga", "pia",
]
LAST_NAMES = [
    "adler", "baum", "curie", "decker", "euler", "fuchs", "gauss", "hertz", "igel", "jung",
    "kant", "linne", "maurer", "noether", "otto", "planck",
]
RELATIONS = ["mother", "teacher", "partner", "rival", "neighbour", "doctor"]
THOUGHTS = [
    "so", "now", "then", "first", "next", "well", "maybe", "thus", "here", "there", "we", "i",
    "they", "it", "this", "that", "need", "want", "know", "find", "see", "ask", "check", "look",
    "try", "should", "could", "must", "will", "can", "who", "what", "which", "where",
    "when", "about", "of", "for", "again", "once",
]
TAGS = [
    "<q>", "</q>", "<none>", "<think>", "</think>", "<search>", "</search>", "<info>",
    "</info>", "<err>", "<answer>", "</answer>",
]
# fmt: on
NOISE = [f"noise{index}" for index in range(60)]

Name = tuple[str, str]


@cache
def names(entities: int) -> tuple[Name, ...]:
    """The people's names: the same in every world."""
    chosen = np.random.default_rng(0).permutation(len(FIRST_NAMES) * len(LAST_NAMES))[:entities]
    return tuple(
        (FIRST_NAMES[index // len(LAST_NAMES)], LAST_NAMES[index % len(LAST_NAMES)])
        for index in chosen
    )


class World:
    """Facts entity × relation → entity, and what a search for one of them brings up.

    Each relation leads once around all entities in a random order: nobody is related to
    themselves, and two people never share an answer, so that a document about somebody else
    never holds the right answer by chance.

    Args:
        seed: of the facts.
        entities: number of people.
    """

    def __init__(self, seed: int, entities: int) -> None:
        rng = np.random.default_rng(seed)
        self.names = names(entities)
        self._index = {name: index for index, name in enumerate(self.names)}
        order = rng.permuted(np.tile(np.arange(entities), (len(RELATIONS), 1)), axis=1)
        following = np.concatenate([order[:, 1:], order[:, :1]], 1)
        self._target = np.empty_like(order)
        np.put_along_axis(self._target, order, following, 1)
        self._distractor = rng.integers(1, entities, size=(len(RELATIONS), entities))
        self._gold_first = rng.integers(2, size=(len(RELATIONS), entities)).astype(bool)

    def answer(self, name: Name, relation: str) -> Name:
        """Whom the relation leads to."""
        return self.names[self._target[RELATIONS.index(relation), self._index[name]]]

    def document(self, name: Name, relation: str) -> list[str]:
        """The fact in five words."""
        return [*name, relation, *self.answer(name, relation)]

    def distractor(self, name: Name, relation: str) -> Name:
        """Whose document comes up beside the one searched for."""
        index = self._index[name]
        offset = self._distractor[RELATIONS.index(relation), index]
        return self.names[(index + offset) % len(self.names)]

    def search(self, query: list[str]) -> list[str]:
        """The observation: two documents in a fixed order, or an error for no query at all."""
        if len(query) != 3 or (query[0], query[1]) not in self._index or query[2] not in RELATIONS:
            return ["<info>", "<err>", "</info>"]
        name, relation = (query[0], query[1]), query[2]
        found = [
            self.document(name, relation),
            self.document(self.distractor(name, relation), relation),
        ]
        if not self._gold_first[RELATIONS.index(relation), self._index[name]]:
            found.reverse()
        return ["<info>", *found[0], *found[1], "</info>"]


# Forty words with five successors each. The entropy of Dirichlet(1, …, 1) weights is
# 1/2 + 1/3 + 1/4 + 1/5 ≈ 1.3 nats on average.
_CHAIN = np.random.default_rng(1)
_SUCCESSORS = [_CHAIN.permutation(len(THOUGHTS))[:5].tolist() for _ in THOUGHTS]
_CUMULATIVE = _CHAIN.dirichlet(np.ones(5), size=len(THOUGHTS)).cumsum(1).tolist()


def think(rng: np.random.Generator) -> list[str]:
    """Three to six words of a Markov chain between their tags.

    What is thought does not bear on the answer; it gives the likelihood of a correct transcript
    room to move both ways.
    """
    state = int(rng.integers(len(THOUGHTS)))
    words = [THOUGHTS[state]]
    for number in rng.random(int(rng.integers(2, 6))):
        choice = min(bisect.bisect(_CUMULATIVE[state], number), 4)
        state = _SUCCESSORS[state][choice]
        words.append(THOUGHTS[state])
    return ["<think>", *words, "</think>"]
