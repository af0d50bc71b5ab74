"""What the notebooks on For-Value compute beside the shared library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from common.lm.gradient_scores import scores, state_scores
from papers.for_value import influence, mislabelled, noise, retrieval, selection
from papers.for_value.costs import Calls, counted
from papers.for_value.identity import measure as identity_of
from papers.for_value.models import Adaptation, answer_loss, score_inputs, scorer, vocabulary_of
from papers.for_value.tasks import CLASSES, OPERATIONS, STORIES, TASKS, draw, permuted
from papers.for_value.texts import Sample, encode

TUNING = Adaptation(steps=2, batch_size=4, learning_rate=1e-3)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Texts


def test_rows_are_padded_on_the_right_and_answers_are_marked():
    samples = [Sample("a b c", " d e"), Sample("a", " b")]
    _, tokenizer = scorer("small", samples, 0)
    batch = encode(tokenizer, samples)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.response_mask.tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.labels("full").tolist() == [[0, 1, 1, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.rows([1]).input_ids.tolist() == [batch.input_ids[1, :2].tolist()]
    assert tokenizer.decode(batch.input_ids[0]) == "a b c d e"
    with pytest.raises(ValueError, match="positions"):
        batch.labels("prompt")
    with pytest.raises(ValueError, match="prompt of sample 1 has no token"):
        encode(tokenizer, [samples[0], Sample("", " a")])
    assert len(encode(tokenizer, [])) == 0


# Tasks


@pytest.mark.parametrize("task", TASKS)
def test_tasks_have_ten_classes_in_order_and_equal_seeds_give_equal_texts(task):
    samples = draw(task, 3, rng(4))
    assert [sample.group for sample in samples] == [g for g in range(CLASSES) for _ in range(3)]
    assert samples == draw(task, 3, rng(4)) != draw(task, 3, rng(5))
    assert all(sample.answer.startswith(" ") for sample in samples)


def test_formulas_in_words_give_the_answers():
    for sample in draw("reasoning", 20, rng()):
        formula, answer = sample.answer.removeprefix(" Reason: ").split(". Answer: ")
        assert eval(formula, {"__builtins__": {}}) == int(answer)
        numbers = [
            int(word)
            for word in formula.replace("(", " ").replace(")", " ").split()
            if word.isdigit()
        ]
        assert all(str(number) in sample.prompt for number in numbers if number != 100)
    assert len(STORIES) == len(OPERATIONS) == CLASSES


def test_operations_on_a_phrase():
    changed = [operation("bold cats eat figs") for operation in OPERATIONS]
    assert changed == [
        "figs eat cats bold",
        "bOlD CaTs eAt fIgS",
        "bold 1 cats 1 eat 1 figs",
        "b*ld c*ts **t f*gs",
        "bbolldd ccattss eatt ffiggss",
        "Bold Cats Eat Figs",
        "bld cts t fgs",
        "boldly catsly eatly figsly",
        "o a ea i",
        "bold bold cats cats eat eat figs figs",
    ]


def test_permuted_answers_keep_prompts_and_answers():
    samples = draw("math", 5, rng())
    mixed = permuted(samples, rng(1))
    assert [s.prompt for s in mixed] == [s.prompt for s in samples]
    assert sorted(s.answer for s in mixed) == sorted(s.answer for s in samples)
    assert [s.answer for s in mixed] != [s.answer for s in samples]


# Noise


@given(st.integers(0, 9), st.floats(0, 1), st.floats(1, 5))
@settings(deadline=None, max_examples=30)
def test_noise_operators_delete_or_insert_and_keep_the_order(seed, probability, mean_span):
    words = [f"w{i}" for i in range(12)]
    left = noise.delete_spans(words, probability, mean_span, rng(seed))
    assert left and [word for word in words if word in left] == left
    more = noise.insert_spans(words, probability, mean_span, rng(seed))
    assert [word for word in more if word not in noise.FILLERS] == words
    if probability == 0:
        assert left == more == words


def test_mean_length_of_inserted_spans():
    words = ["w"] * 20000
    added = len(noise.insert_spans(words, 0.2, 3.0, rng())) - len(words)
    assert added / len(words) == pytest.approx(0.6, rel=0.05)
    assert noise.delete_spans([], 0.2, 3.0, rng()) == []
    assert noise.delete_spans(["a"], 1.0, 3.0, rng()) == ["a"]
    with pytest.raises(ValueError, match="mean_span"):
        noise.insert_spans(words, 0.2, 0.5, rng())
    with pytest.raises(ValueError, match="probability"):
        noise.delete_spans(words, 1.2, 2, rng())


def test_damaged_answers_differ_and_clean_ones_do_not():
    samples = draw("sentence", 5, rng())
    noisy = noise.with_noise(samples, 0.4, rng(1))
    assert sum(not sample.clean for sample in noisy) == 20
    for before, after in zip(samples, noisy, strict=True):
        assert (before.answer == after.answer) == after.clean
    single = noise.with_noise([Sample("a", " b")], 1.0, rng())
    assert single[0].answer.split()[-1] == "b" != single[0].answer.strip()


@pytest.mark.parametrize("kind", noise.KINDS)
def test_labels_are_right_or_wrong(kind):
    for right, wrong in noise.KINDS[kind](50, rng()):
        assert right.prompt == wrong.prompt and right.clean and not wrong.clean
        assert right.answer != wrong.answer and right.group != wrong.group
        if kind == "statements":
            assert eval(right.prompt.rstrip("="), {"__builtins__": {}}) == int(right.answer)


def test_the_share_of_flips_is_exact():
    assert noise.flipped(10, 0.25, rng()).sum() == 2
    assert not noise.flipped(10, 0, rng()).any() and noise.flipped(10, 1, rng()).all()
    with pytest.raises(ValueError, match="ratio"):
        noise.flipped(10, 1.5, rng())


# Retrieval


@given(st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_auc_agrees_with_sklearn_in_any_order_and_with_ties(seed):
    generator = rng(seed)
    training = generator.permutation([0, 0, 1, 1, 1, 2, 2])
    values = generator.integers(0, 4, (3, 7)).astype(float)
    found = retrieval.auc_by_class(values, training, np.array([2, 0, 1]))
    expected = [roc_auc_score(training == g, row) for g, row in zip([2, 0, 1], values, strict=True)]
    assert found == pytest.approx(expected)
    moved = generator.permutation(7)
    again = retrieval.auc_by_class(values[:, moved], training[moved], np.array([2, 0, 1]))
    assert again == pytest.approx(expected)


def test_recall_ranks_and_hubs_of_known_values():
    training = np.array([0, 0, 1, 1])
    values = np.array([[3.0, 1, 2, 0], [0, 1, 2, 3], [1, 1, 1, 1]])
    validation = np.array([0, 1, 1])
    assert retrieval.recall_by_class(values, training, validation).tolist() == [0.5, 1, 0]
    assert retrieval.auc_by_class(values, training, validation).tolist() == [0.75, 1, 0.5]
    ranks = retrieval.mean_ranks(values, training, 2)
    assert ranks.tolist() == [[0.625, 0.375], [0.25, 0.75], [0.5, 0.5]]
    assert retrieval.largest_hub(np.tile([1.0, 5, 2], (4, 1)), 1) == 1
    assert retrieval.largest_hub(np.eye(3), 1) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="all of its samples, or none"):
        retrieval.auc_by_class(values, np.zeros(4), np.zeros(3))


# Scores


def test_one_pass_gives_all_positions_and_embeddings():
    samples = draw("math", 1, rng())
    model, tokenizer = scorer("small", samples, 0)
    found = score_inputs(model, tokenizer, samples, vocabulary_of(tokenizer, samples))
    batch = encode(tokenizer, samples)
    assert len(found.full.logps) == int(batch.labels("full").sum())
    assert len(found.response.logps) == int(batch.labels("response").sum())
    assert len(found.everything.logps) == len(found.full.logps) + len(samples)
    for row in range(3):
        ids = batch.rows([row]).input_ids
        states = model.base_model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(found.last[row], states[-1])
        torch.testing.assert_close(found.mean[row], states.mean(0))


def test_answer_loss_is_the_mean_over_tokens():
    samples = draw("math", 1, rng())
    model, tokenizer = scorer("small", samples, 0)
    batch = encode(tokenizer, samples)
    labels = batch.input_ids.masked_fill(batch.labels("response") == 0, -100)
    with torch.no_grad():
        expected = model(batch.input_ids, batch.attention_mask, labels=labels).loss
    assert answer_loss(model, tokenizer, samples) == pytest.approx(float(expected), rel=1e-5)


def test_the_identity_holds():
    found = identity_of([0], 1).set_index("precision")
    assert found.error["float64"] < 1e-10 and found.error["float32"] < 1e-5
    assert found.error_of_score["float64"] < 1e-6


def test_influence_covers_conditions_and_chance_is_half():
    plan = influence.Plan("small", "cpu", 2, 1, (0.2,), ("math",), ("math",), TUNING)
    rows = influence.measure(plan, "math", 0)
    assert rows.equals(influence.measure(plan, "math", 0))
    table = influence.by_seed(rows)
    assert set(table.condition) == {"as is", "permuted answers", "fine-tuned"}
    assert (table[table.method == "chance"].auc == 0.5).all()
    best = table[table.method == "embedding_best"].set_index("condition").auc
    similar = table[table.method.str.match("embedding_(last|mean)")].groupby("condition").auc.max()
    assert best.sort_index().equals(similar.sort_index())
    assert influence.ablation(table).tasks.isin([0, 1]).all()


def test_wrong_labels_are_ranked_by_the_variant_that_is_in_the_pool():
    plan = mislabelled.Plan("small", "cpu", 16, 8, (0.25, 0.5), ("reviews",), 0.5, TUNING)
    found = mislabelled.measure(plan, "reviews", 0)
    assert not found.auc.isna().any() and found.auc.between(0, 1).all()
    assert set(found[found.start == "fine-tuned"].flip_ratio) == {0.5}
    chance = mislabelled.with_chance(found)
    assert (chance[chance.method == "chance"].auc == 0.5).all()
    assert not chance.duplicated(mislabelled.KEYS).any()


def test_states_alone_cannot_tell_a_right_label_from_a_wrong_one():
    pairs = noise.reviews(6, rng())
    rights, wrongs = ([pair[side] for pair in pairs] for side in (0, 1))
    model, tokenizer = scorer("small", [*rights, *wrongs], 0)
    vocabulary = vocabulary_of(tokenizer, rights, wrongs)
    read = [score_inputs(model, tokenizer, part, vocabulary).response for part in (rights, wrongs)]
    # The state that predicts a label has not seen it.
    torch.testing.assert_close(state_scores(read[0], read[0]), state_scores(read[0], read[1]))
    assert (scores(read[0], read[0]) - scores(read[0], read[1])).abs().min() > 0


def test_selection_starts_every_arm_from_the_same_model():
    plan = selection.Plan("small", "cpu", "sentence", 2, 1, 0.4, 0.2, 5, 0.2, TUNING)
    found = selection.measure(plan, 0)
    assert found.equals(selection.measure(plan, 0))
    chosen = found[found.measured == "selection"].set_index("arm")
    assert chosen.clean["pool"] == pytest.approx(0.6)
    assert set(found[found.measured == "loss"].arm) == {"none", "random", "for_value"}
    # Without a step, nothing is learned, whatever was chosen.
    still = selection.Plan(
        "small", "cpu", "sentence", 2, 1, 0.4, 0.2, 5, 0.2, Adaptation(1, 4, 0.0)
    )
    losses = selection.measure(still, 0)
    assert losses[losses.measured == "loss"].loss.nunique() == 1


def test_operations_and_calls_of_a_product():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert counted(lambda: a @ b) == (2 * 3 * 4 * 5, 1)
    with Calls() as calls:
        (a + 1) * 2
    assert calls.number == 2
