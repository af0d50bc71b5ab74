"""Gradients of the output matrix from states and errors, against autograd and against loops."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.gradient_scores import product_of_sums, scores, squared_norms, state_scores
from common.lm.output_gradients import label_mask, lowest_likelihood, output_gradients
from common.lm.small import small_decoder, word_tokenizer

WORDS = [f"w{i}" for i in range(40)]
LENGTHS = (7, 3, 9, 1, 5, 9)


def decoder(dtype=torch.float64, seed=0):
    return small_decoder(word_tokenizer(WORDS), layers=2, width=16, heads=2, seed=seed).to(dtype)


def texts(lengths=LENGTHS, seed=0):
    """Random ids (B, T) padded on the right with 0, and their attention mask."""
    width = max(lengths, default=0)
    ids = torch.randint(4, 44, (len(lengths), width), generator=torch.manual_seed(seed))
    mask = (torch.arange(width) < torch.tensor(lengths).reshape(-1, 1)).long()
    return ids * mask, mask


def by_autograd(model, ids, mask, labels):
    """Minus the gradient of every sample's summed cross-entropy, (B, V, d)."""
    found = []
    for row in range(len(ids)):
        model.zero_grad()
        logits = model(input_ids=ids[row : row + 1], attention_mask=mask[row : row + 1]).logits
        logps = logits[0, :-1].log_softmax(-1).gather(-1, ids[row, 1:, None])[:, 0]
        (logps * labels[row, 1:]).sum().backward()
        found.append(model.get_output_embeddings().weight.grad.clone())
    return torch.stack(found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_scores_are_inner_products_of_autograd_gradients(dtype, tolerance):
    model = decoder(dtype)
    ids, mask = texts()
    labels = label_mask(mask)
    reference = by_autograd(model, ids, mask, labels).flatten(1)
    gradients = output_gradients(model, ids, mask, labels, vocabulary=torch.arange(44))
    sizes = reference.norm(dim=1).clamp(min=1e-12)
    error = (scores(gradients, gradients) - reference @ reference.T).abs()
    assert (error / (sizes[:, None] * sizes)).max() < tolerance
    torch.testing.assert_close(gradients.matrices().flatten(1), reference, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(squared_norms(gradients), reference.square().sum(1))


def test_a_restricted_vocabulary_keeps_its_rows_and_is_not_renormalised():
    model = decoder()
    ids, mask = texts()
    labels = label_mask(mask)
    reference = by_autograd(model, ids, mask, labels)
    gradients = output_gradients(model, ids, mask, labels)
    assert gradients.vocabulary.equal(ids[labels.bool()].unique())
    expected = reference[:, gradients.vocabulary]
    torch.testing.assert_close(gradients.matrices(), expected, atol=1e-12, rtol=1e-9)
    none = output_gradients(model, ids, mask, labels, vocabulary=torch.tensor([], dtype=torch.long))
    assert not scores(none, gradients).any()


def test_common_columns_of_predicted_vocabularies():
    model = decoder()
    ids, mask = texts()
    labels = label_mask(mask)
    sides = [
        output_gradients(model, ids[part], mask[part], labels[part], top_k=2)
        for part in (slice(3), slice(3, None))
    ]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    top = logits.topk(2).indices
    unions = [top[part][labels[part, 1:].bool()].unique() for part in (slice(3), slice(3, None))]
    assert [side.vocabulary.tolist() for side in sides] == [union.tolist() for union in unions]
    shared = unions[0][torch.isin(unions[0], unions[1])]
    reference = by_autograd(model, ids, mask, labels)[:, shared].flatten(1)
    torch.testing.assert_close(scores(*sides), reference[:3] @ reference[3:].T)


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(0, 99),
    st.floats(0.05, 1.0),
)
def test_scores_agree_with_loops_whatever_the_batches(lengths, batch_size, seed, ratio):
    model = decoder()
    ids, mask = texts(lengths, seed)
    labels = label_mask(mask)
    gradients = output_gradients(model, ids, mask, labels, batch_size=batch_size)
    kept = lowest_likelihood(gradients, ratio)
    counts = [-(-(n - 1) * ratio // 1) for n in lengths]  # ceilings; none for a single token
    assert torch.bincount(kept.samples, minlength=len(lengths)).tolist() == counts
    for sample in range(len(lengths)):
        own, left = (x.logps[x.samples == sample] for x in (gradients, kept))
        assert left.sort().values.equal(own.sort().values[: len(left)])
    matrices = [
        g.errors[g.samples == i].T @ g.hidden[g.samples == i]
        for g in (gradients, kept)
        for i in range(len(lengths))
    ]
    flat = torch.stack(matrices).flatten(1)
    expected = flat[: len(lengths)] @ flat[len(lengths) :].T
    torch.testing.assert_close(scores(gradients, kept), expected, atol=1e-9, rtol=1e-9)


def test_both_ways_to_score_agree(monkeypatch):
    from common.lm import gradient_scores

    ids, mask = texts((9, 8, 9, 9, 7))
    gradients = output_gradients(decoder(), ids, mask, label_mask(mask))
    monkeypatch.setattr(gradient_scores, "CHUNK", 700)  # blocks of a few samples or tokens
    pairs = gradient_scores._pairwise(gradients, gradients)
    entries = len(gradients.vocabulary) * 16
    torch.testing.assert_close(gradient_scores._by_matrices(gradients, gradients, entries), pairs)


def test_cosine_of_a_sample_with_itself_is_one_and_of_an_empty_one_zero():
    ids, mask = texts()
    gradients = output_gradients(decoder(), ids, mask, label_mask(mask))
    found = scores(gradients, gradients, cosine=True)
    own = torch.tensor([float(n > 1) for n in LENGTHS], dtype=torch.float64)
    torch.testing.assert_close(found.diag(), own)
    assert not found[3].any() and not found.isnan().any()


def test_masks_of_labels():
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert label_mask(mask).tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 1, 1]]
    official = label_mask(mask, padded_position=True)
    assert official.tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 1]]


def test_the_official_extra_position_predicts_the_padding():
    model = decoder()
    ids, mask = texts((3, 5))
    labels = label_mask(mask, padded_position=True)
    gradients = output_gradients(model, ids, mask, labels, vocabulary=torch.arange(44))
    reference = by_autograd(model, ids, mask, labels)
    torch.testing.assert_close(gradients.matrices(), reference, atol=1e-10, rtol=1e-8)
    assert gradients.vocabulary.tolist() == list(range(44))


def test_filters_and_variants():
    ids, mask = texts()
    gradients = output_gradients(decoder(), ids, mask, label_mask(mask))
    last = mask * (mask.cumsum(1) == mask.sum(1, keepdim=True))
    answers = gradients.where(last)
    assert answers.samples.tolist() == [0, 1, 2, 4, 5]
    chosen = gradients.rows(torch.tensor([4, 0]))
    torch.testing.assert_close(chosen.matrices(), gradients.matrices()[[4, 0]])
    # With one token a sample, the product of sums is the sum of products.
    torch.testing.assert_close(product_of_sums(answers, answers), scores(answers, answers))
    sums = torch.stack([gradients.hidden[gradients.samples == i].sum(0) for i in range(6)])
    torch.testing.assert_close(state_scores(gradients, gradients), sums @ sums.T)


def test_the_ceiling_of_a_ratio_is_taken_exactly():
    ids, mask = texts((31,))
    gradients = output_gradients(decoder(), ids, mask, label_mask(mask))
    assert len(lowest_likelihood(gradients, 0.1).logps) == 3
    with pytest.raises(ValueError, match="keep_ratio"):
        lowest_likelihood(gradients, 0.0)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 1)])
def test_nothing_to_predict(shape):
    ids = torch.ones(shape, dtype=torch.long)
    gradients = output_gradients(decoder(), ids, ids, label_mask(ids))
    found = scores(gradients, gradients, cosine=True)
    assert found.shape == (shape[0], shape[0]) and not found.any()
    assert lowest_likelihood(gradients, 0.5).size == shape[0]
    assert product_of_sums(gradients, gradients).shape == found.shape


def test_bad_input_is_refused():
    model = decoder()
    ids, mask = texts((3, 5))
    with pytest.raises(ValueError, match="labels"):
        output_gradients(model, ids, mask, mask[:, :2])
    with pytest.raises(ValueError, match="padded on the right"):
        output_gradients(model, ids, mask.flip(1), mask)
    with pytest.raises(ValueError, match="batch_size"):
        output_gradients(model, ids, mask, mask, batch_size=0)
    with pytest.raises(ValueError, match="top_k"):
        output_gradients(model, ids, mask, mask, top_k=0)
    with pytest.raises(ValueError, match="vocabulary"):
        output_gradients(model, ids, mask, mask, vocabulary=ids[0], top_k=3)


class SoftCapped:
    """A model whose logits are squashed, as Gemma-2's are."""

    def __init__(self, model):
        self.model, self.base_model = model, model.base_model
        self.get_output_embeddings = model.get_output_embeddings

    def __call__(self, **inputs):
        return SimpleNamespace(logits=self.model(**inputs).logits.tanh())


def test_soft_capped_logits_are_refused():
    ids, mask = texts((3, 5))
    with pytest.raises(ValueError, match="soft-capped"):
        output_gradients(SoftCapped(decoder()), ids, mask, mask)
