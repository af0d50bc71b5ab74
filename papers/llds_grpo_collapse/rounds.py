"""Likelihood of a language model's own actions as tool feedback piles up in its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

PEOPLE = ["Ada", "Bela", "Cleo", "Dora", "Emil", "Fritz", "Gina", "Hugo", "Ines", "Jonas", "Karl"]
TOWNS = ["Arden", "Brook", "Calder", "Dunmore", "Elstow", "Farley", "Glenn", "Harrow", "Kelso"]
TRADES = ["baker", "potter", "weaver", "miller", "printer", "surveyor", "botanist", "engraver"]

PROMPT = (
    "Answer the question. First reason inside <think> and </think>. If you lack knowledge, call a "
    "search engine with <search> query </search>; it returns results between <information> and "
    "</information>. Search as often as you want. Give the answer inside <answer> and </answer>.\n"
    "Question: {question}\n"
)


def paragraphs(seed: int, count: int) -> list[str]:
    """Short encyclopaedia entries about invented people."""
    rng = np.random.default_rng(seed)
    texts = []
    for number in range(count):
        person, town = f"{rng.choice(PEOPLE)} {rng.choice(TOWNS)}son", rng.choice(TOWNS)
        other = f"{rng.choice(PEOPLE)} {rng.choice(TOWNS)}son"
        texts.append(
            f"{person} ({1700 + number}-{1760 + number}) was a {rng.choice(TRADES)} from {town}. "
            f"After an apprenticeship with {other}, {person} moved to {rng.choice(TOWNS)}, "
            f"and kept a workshop there for {rng.integers(5, 40)} years."
        )
    return texts


def questions(texts: list[str], count: int) -> list[str]:
    """One question about each of the first entries."""
    return [f"Who taught {text.split(' (')[0]}, and in which town?" for text in texts[:count]]


def rounds_of(
    name: str,
    seed: int,
    questions_asked: int,
    rounds: int,
    action_tokens: int,
    entries: int,
    part: tuple[int, int],
) -> pd.DataFrame:
    """Mean negative log-likelihood per token of the actions that a model samples, round by round.

    After each action the best entry for the question and its words by BM25 comes back as feedback.

    Args:
        name: of the model, as `common.lm.load.load` takes it, or "small" for an untrained decoder
            that only shows that the code runs.
        seed: of the entries and the sampling.
        questions_asked: questions, of which `part` (number, of how many) is done here.
        rounds: rounds of feedback; round 0 has none.
        action_tokens: sampled per action.
        entries: paragraphs to search in.
        part: which share of the questions.

    Returns:
        Columns question, round, nll (in nats).
    """
    import bm25s  # type: ignore[import-untyped]

    model, tokenizer = _model(name)
    model.eval()
    texts = paragraphs(seed, entries)
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def search(query: str) -> str:
        words = bm25s.tokenize(query, show_progress=False)
        found, _ = index.retrieve(words, k=1, show_progress=False)
        return texts[int(found[0, 0])]

    rows = []
    for number, question in list(enumerate(questions(texts, questions_asked)))[part[0] :: part[1]]:
        generator = torch.Generator().manual_seed(1000 * seed + number)
        losses = _dialogue(model, tokenizer, question, search, rounds, action_tokens, generator)
        rows += [{"question": number, "round": r, "nll": nll} for r, nll in enumerate(losses)]
    return pd.DataFrame(rows)


def _model(name: str) -> tuple[Any, Any]:
    from common.lm.load import load
    from papers.llds_grpo_collapse.base import Base

    if name != "small":
        return load(name)
    base = Base(two_hop=0.0, demonstrations=0, steps=0, width=16, layers=1)
    return base.untrained(), base.tokenizer()


@torch.no_grad()
def _dialogue(
    model: Any,
    tokenizer: Any,
    question: str,
    search: Callable[[str], str],
    rounds: int,
    action_tokens: int,
    generator: torch.Generator,
) -> list[float]:
    """The mean negative log-likelihood of the sampled action of every round, in nats."""
    from transformers import DynamicCache

    cache, losses = DynamicCache(), []
    text = PROMPT.format(question=question) + "<think>"
    for _ in range(rounds + 1):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        written: list[int] = []
        total = 0.0
        for _ in range(action_tokens):
            output = model(input_ids=ids, past_key_values=cache, use_cache=True)
            log_probs = output.logits[0, -1].float().log_softmax(-1)
            token = int(torch.multinomial(log_probs.exp(), 1, generator=generator))
            total -= float(log_probs[token])
            written.append(token)
            ids = torch.tensor([[token]])
        losses.append(total / action_tokens)
        said = tokenizer.decode(written, skip_special_tokens=True)
        found = search(f"{question} {said}")
        text = f"</search>\n<information>{found}</information>\n<think>"
    return losses
