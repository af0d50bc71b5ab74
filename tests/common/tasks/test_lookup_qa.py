import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import word_tokenizer
from common.tasks.demonstrations import encode
from common.tasks.lookup_qa import LookupQA
from common.tasks.lookup_world import NOISE, RELATIONS, THOUGHTS, World, names, think
from common.tasks.problem import Problem

TASK = LookupQA(two_hop=0.5)
TOKENIZER = word_tokenizer(TASK.vocabulary())


def ids(text):
    return TOKENIZER(text).input_ids


def problem_with(hops):
    return next(p for p in TASK.generate(3, 50) if p.difficulty == hops)


@pytest.mark.parametrize("hops", [1, 2])
def test_questions_have_six_words_and_solutions_are_right(hops):
    problem = problem_with(hops)
    words = problem.prompt.split()
    assert len(words) == 6
    assert (words[0], words[-1]) == ("<q>", "</q>")
    assert (words[4] == "<none>") == (hops == 1)
    assert TASK.verify(problem, problem.solution) == 1
    transcript = TASK.transcript(problem, problem.solution)
    assert [action.kind for action in transcript.actions] == ["search"] * hops + ["answer"]
    assert transcript.valid_searches == transcript.hops_found == hops
    assert transcript.first_query_right


def test_problems_are_their_seed_and_survive_json():
    assert TASK.generate(1, 4) == TASK.generate(1, 4) != TASK.generate(2, 4)
    for problem in TASK.generate(1, 4):
        stored = Problem(
            problem.prompt,
            problem.solution,
            problem.difficulty,
            json.loads(json.dumps(problem.data)),
        )
        assert stored == problem
        assert TASK.verify(stored, problem.solution) == 1


def test_the_same_question_has_another_answer_in_another_world():
    one, other = World(1, 48), World(2, 48)
    differ = sum(
        one.answer(name, relation) != other.answer(name, relation)
        for name in one.names
        for relation in RELATIONS
    )
    assert differ > 0.9 * 48 * len(RELATIONS)


@pytest.mark.parametrize("entities", [4, 48, 256])
def test_relations_lead_once_around_everybody(entities):
    world = World(0, entities)
    assert len(set(world.names)) == entities
    for relation in RELATIONS:
        name, met = world.names[0], []
        for _ in range(entities):
            met.append(name)
            name = world.answer(name, relation)
        assert sorted(met) == sorted(world.names)
        assert name == world.names[0]


def test_a_search_brings_up_the_document_and_a_wrong_one_in_a_fixed_order():
    world = World(0, 48)
    first = 0
    for name in world.names:
        for relation in RELATIONS:
            found = world.search([*name, relation])
            assert found == world.search([*name, relation])
            assert (found[0], found[-1], len(found)) == ("<info>", "</info>", 12)
            documents = [found[1:6], found[6:11]]
            gold = world.document(name, relation)
            assert gold in documents
            first += documents[0] == gold
            other = documents[documents[0] == gold]
            assert other == world.document((other[0], other[1]), relation)
            assert other[3:] != gold[3:]
    assert 0.4 < first / (48 * len(RELATIONS)) < 0.6


@pytest.mark.parametrize(
    "query", [[], ["ada"], ["ada", "noise1", "rival"], [*names(48)[0], "so"], ["a"] * 4]
)
def test_what_is_no_query_gets_an_error(query):
    assert World(0, 48).search(query) == ["<info>", "<err>", "</info>"]


def test_thoughts_are_three_to_six_words_of_about_1_3_nats():
    import collections
    import math

    import numpy as np

    rng = np.random.default_rng(0)
    pairs = collections.Counter()
    lengths = set()
    for _ in range(5000):
        words = think(rng)
        assert (words[0], words[-1]) == ("<think>", "</think>")
        lengths.add(len(words) - 2)
        pairs.update(itertools.pairwise(words[1:-1]))
    assert lengths == {3, 4, 5, 6}
    starts = collections.Counter()
    for (word, _), count in pairs.items():
        starts[word] += count
    assert set(starts) <= set(THOUGHTS)
    total = sum(pairs.values())
    entropy = -sum(n / total * math.log(n / starts[word]) for (word, _), n in pairs.items())
    assert 1.1 < entropy < 1.5


def test_the_environment_answers_the_last_search():
    problem = problem_with(1)
    environment = TASK.environment([problem_with(2), problem], TOKENIZER)
    assert environment.triggers == {TOKENIZER.convert_tokens_to_ids("</search>")}
    words = problem.solution.split()
    start = words.index("<info>")
    written, observation = " ".join(words[:start]), " ".join(words[start : start + 12])
    assert TOKENIZER.decode(environment.respond(1, ids(written))) == observation
    assert TOKENIZER.decode(environment.respond(0, ids(written))) != observation
    for wrong in ("</search>", "<search> </search>", "ada </search>", written + " so </search>"):
        assert TOKENIZER.decode(environment.respond(1, ids(wrong))) == "<info> <err> </info>"


def test_a_search_too_many_ends_the_row():
    problem = problem_with(1)
    environment = LookupQA(max_turns=2).environment([problem], TOKENIZER)
    assert environment.respond(0, ids("</search> </search>")) is not None
    assert environment.respond(0, ids("</search> so </search> so </search>")) is None


def test_the_environment_and_the_demonstrations_agree():
    problems = TASK.generate(8, 20)
    environment = TASK.environment(problems, TOKENIZER)
    for index, problem in enumerate(problems):
        for action in TASK.transcript(problem, problem.solution).actions[:-1]:
            written = " ".join(problem.solution.split()[: action.stop])
            found = TOKENIZER.decode(environment.respond(index, ids(written)))
            assert found.split() == list(action.observation)


def test_clean_demonstrations_are_right_and_corrupted_ones_wrong():
    for corruption, reward in ((0.0, 1), (1.0, 0)):
        for demonstration in TASK.demonstrations(4, 60, corruption):
            assert TASK.verify(demonstration.problem, demonstration.completion) == reward


def test_corrupted_demonstrations_fail_in_all_the_ways():
    faults = set()
    for demonstration in TASK.demonstrations(4, 80, 1.0):
        problem = demonstration.problem
        transcript = TASK.transcript(problem, demonstration.completion)
        right = tuple(problem.data["answer"])
        if transcript.hops_found < problem.difficulty:
            early = len(transcript.actions) - 1 < problem.difficulty
            faults.add("early" if early else "relation")
        elif transcript.answer[0] == right[0] and transcript.answer[1] != right[1]:
            faults.add("last_name")
        else:
            faults.add("distractor")
            last = transcript.actions[-2].observation
            assert " ".join(transcript.answer) in " ".join(last)
    assert faults == {"early", "relation", "last_name", "distractor"}


def test_the_share_of_wrong_demonstrations():
    demonstrations = TASK.demonstrations(0, 400)
    wrong = sum(TASK.verify(d.problem, d.completion) == 0 for d in demonstrations)
    assert 0.22 < wrong / 400 < 0.38
    assert demonstrations[:5] == TASK.demonstrations(0, 5)


def test_observations_are_read_but_not_learned():
    (demonstration,) = TASK.demonstrations(1, 1, 0.0)
    (example,) = encode([demonstration], TOKENIZER)
    assert TOKENIZER.decode(example.prompt_ids) == demonstration.problem.prompt
    assert TOKENIZER.decode(example.completion_ids) == demonstration.completion + " <eos>"
    learned = [t for t, kept in zip(example.completion_ids, example.mask, strict=True) if kept]
    text = TOKENIZER.decode(learned)
    assert "<info>" not in text
    assert text.startswith("<think>")
    assert text.endswith("</answer> <eos>")
    hidden = [t for t, kept in zip(example.completion_ids, example.mask, strict=True) if not kept]
    assert TOKENIZER.decode(hidden).startswith("<info>")


def test_a_tokenizer_that_misses_words():
    with pytest.raises(ValueError, match="tokenizer"):
        encode(TASK.demonstrations(1, 1), word_tokenizer(["<q>"]))


def test_sixty_words_are_never_used():
    used = {w for d in TASK.demonstrations(2, 300) for w in d.completion.split()}
    assert len(NOISE) == 60
    assert not used & set(NOISE)
    assert used <= set(TASK.vocabulary())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " so",
        lambda text: text[: -len(" </answer>")],
        lambda text: text + " </answer>",
        lambda text: text.replace("<answer> ", "<answer> <answer> so "),
        lambda text: "",
        lambda text: text.rsplit(" ", 2)[0] + " </answer>",
    ],
)
def test_what_is_not_exactly_the_answer_gets_nothing(change):
    for problem in TASK.generate(5, 5):
        assert TASK.verify(problem, change(problem.solution)) == 0


def test_only_the_last_answer_counts():
    problem = problem_with(1)
    first, last = problem.data["answer"]
    right, wrong = f"<answer> {first} {last} </answer>", "<answer> so so </answer>"
    assert TASK.verify(problem, f"{wrong} {right}") == 1
    assert TASK.verify(problem, f"{right} {wrong}") == 0
    assert TASK.verify(problem, right) == 1


@given(st.lists(st.sampled_from([*TASK.vocabulary()[:14], "ada", "noise3", "٣"]), max_size=40))
@settings(deadline=None, max_examples=200)
def test_any_words_can_be_read(words):
    problem = PROBLEMS[len(words) % len(PROBLEMS)]
    assert TASK.verify(problem, " ".join(words)) in (0.0, 1.0)
    actions = TASK.transcript(problem, " ".join(words)).actions
    rebuilt = [word for action in actions for word in (*action.words, *action.observation)]
    assert rebuilt == words
    for action in actions:
        assert tuple(words[action.start : action.stop]) == action.words


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=100)
def test_any_text_can_be_verified(text):
    assert TASK.verify(PROBLEMS[0], text) == 0


PROBLEMS = TASK.generate(6, 4)


def test_observations_that_a_policy_makes_up_do_not_count():
    problem = problem_with(1)
    solution = TASK.transcript(problem, problem.solution)
    gold = " ".join(solution.actions[0].observation)
    made_up = TASK.transcript(problem, f"<think> so </think> {gold}")
    assert made_up.valid_searches == made_up.hops_found == 0
    assert not made_up.first_query_right
    assert [action.kind for action in made_up.actions] == ["other"]


def test_the_first_query_is_the_first_one_even_if_it_failed():
    problem = problem_with(1)
    searched = " ".join(problem.solution.split()[: problem.solution.split().index("</info>") + 1])
    failed = "<search> so </search> <info> <err> </info>"
    transcript = TASK.transcript(problem, f"{failed} {searched}")
    assert not transcript.first_query_right
    assert (transcript.valid_searches, transcript.hops_found) == (1, 1)
    assert TASK.transcript(problem, f"{searched} {failed}").first_query_right


@pytest.mark.parametrize(
    "options",
    [{"two_hop": 1.5}, {"two_hop": -0.1}, {"entities": 3}, {"entities": 257}, {"max_turns": -1}],
)
def test_what_the_task_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LookupQA(**options)
