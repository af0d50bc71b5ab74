import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.clustering import (
    agreement,
    cluster_labels,
    clustering_agreement,
    piecewise_breakpoint,
    states_by_layer,
    steepest_fall,
)
from tests.common.lm.architectures import ARCHITECTURES, LAYERS, tiny

IDS = torch.tensor([[5, 9, 13, 7, 30], [4, 8, 39, 11, 6]])


def blobs(labels, seed=0):
    """(N, 2): points far apart between labels."""
    noise = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed))
    return 0.01 * noise + 10 * torch.tensor([[label, label % 2] for label in labels])


def nmi(first, second):
    """The formula, by counting."""
    n = len(first)
    joint = {pair: 0 for pair in zip(first, second, strict=True)}
    for pair in zip(first, second, strict=True):
        joint[pair] += 1

    def entropy(counts):
        return -sum(c / n * np.log(c / n) for c in counts)

    one = entropy([list(first).count(value) for value in set(first)])
    two = entropy([list(second).count(value) for value in set(second)])
    return (one + two - entropy(joint.values())) / ((one + two) / 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_states_are_the_residual_stream_without_padding_and_first_tokens(name, side):
    model = tiny(name)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0] if side == "right" else [0, 0, 1, 1, 1]])
    states = states_by_layer(model, IDS, mask, rows=1)
    assert states.shape == (LAYERS + 1, 4 + 2, 32)
    assert model.training
    with torch.no_grad():
        theirs = model.eval()(input_ids=IDS, attention_mask=mask, output_hidden_states=True)
    kept = mask.bool() & (mask.cumsum(1) > 1)
    expected = torch.stack([state[kept] for state in theirs.hidden_states])
    torch.testing.assert_close(states[:-1], expected[:-1], rtol=1e-4, atol=1e-5)
    # transformers gives the last state behind the final norm.
    assert not torch.allclose(states[-1], expected[-1])


def test_only_first_tokens():
    with pytest.raises(ValueError, match="attention_mask"):
        states_by_layer(tiny("llama"), IDS, torch.eye(2, 5))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20))
@settings(deadline=None, max_examples=40)
def test_agreement_is_the_formula(pairs):
    first, second = (list(column) for column in zip(*pairs, strict=True))
    value = agreement({7: np.array([first, second])}).nmi[0]
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert value == 0
    else:
        assert value == pytest.approx(nmi(first, second), abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"components": 1}, {"normalise": True}])
def test_k_means_finds_blobs(options):
    truth = [0, 1, 2] * 4
    labels = cluster_labels(
        blobs(truth)[None] + torch.tensor([1, 20]), k=3, seeds=range(3), **options
    )
    assert list(labels) == [0, 1, 2]
    assert any(nmi(truth, found[0]) == pytest.approx(1) for found in labels.values())


def test_all_components_change_nothing():
    states = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0)) + 4
    full = clustering_agreement(states, k=4, seeds=[0, 1])
    rotated = clustering_agreement(states, k=4, seeds=[0, 1], components=3)
    np.testing.assert_allclose(full.nmi, rotated.nmi, atol=1e-6)


def test_references():
    one, two = [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]
    states = torch.stack([blobs(one), blobs(one, 1), blobs(two, 2), blobs(two, 3)])
    chance = nmi(one, two)
    expected = {
        "embedding": {0: 1, 1: chance, 2: chance},
        "previous": {0: 1, 1: chance, 2: 1},
        "first_block": {1: chance, 2: chance},
    }
    for reference, values in expected.items():
        frame = clustering_agreement(states, k=2, reference=reference, seeds=[3, 4])
        assert list(frame.columns) == ["layer", "seed", "nmi"]
        assert frame.seed.unique().tolist() == [3, 4]
        for _, rows in frame.groupby("seed"):
            assert rows.layer.tolist() == list(values)
            np.testing.assert_allclose(rows.nmi, list(values.values()), atol=1e-9)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_single_cluster_shares_nothing(layer):
    states = torch.stack([blobs([0, 1, 0, 1])] * 2)
    states[layer] = 1.0
    assert clustering_agreement(states, k=2, seeds=[0]).nmi.tolist() == [0.0]
    states[:] = 1.0  # scikit-learn calls two trivial clusterings equal
    assert clustering_agreement(states, k=2, seeds=[0]).nmi.tolist() == [0.0]
    assert clustering_agreement(torch.randn(2, 4, 2), k=1, seeds=[0]).nmi.tolist() == [0.0]


def test_normalised_states_differ_in_direction_only():
    directions = torch.tensor([[1.0, 0], [0, 1.0]]).repeat(4, 1)
    lengths = torch.tensor([1.0, 1, 1, 1, 100, 1, 100, 1])[:, None]
    states = torch.stack([directions, directions * lengths])
    assert clustering_agreement(states, k=2, seeds=[0], normalise=True).nmi[0] == pytest.approx(1)
    assert clustering_agreement(states, k=2, seeds=[0]).nmi[0] < 0.6


def test_equal_seeds_give_equal_bits():
    states = torch.randn(3, 60, 8, generator=torch.Generator().manual_seed(0))
    first = clustering_agreement(states, k=5, seeds=[1, 2])
    torch.manual_seed(5)
    assert first.equals(clustering_agreement(states, k=5, seeds=[1, 2]))
    assert first.nmi[first.seed == 1].tolist() != first.nmi[first.seed == 2].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k: must be in 1 … 6"),
        ({"k": 7}, "k: must be in 1 … 6"),
        ({"reference": "last"}, "reference"),
        ({"seeds": []}, "seeds"),
        ({"components": 0}, "components: must be in 1 … 2"),
        ({"components": 3}, "components: must be in 1 … 2"),
        ({"states": torch.zeros(1, 6, 2)}, "compare with embedding"),
        ({"states": torch.zeros(2, 6, 2), "reference": "first_block"}, "first_block"),
        ({"states": torch.full((2, 6, 2), torch.nan)}, "finite"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"states": torch.zeros(2, 6, 2), "k": 2, "seeds": [0]} | changes
    with pytest.raises(ValueError, match=message):
        clustering_agreement(**arguments)


@given(
    place=st.integers(1, 10),
    before=st.floats(-2, 2),
    bend=st.floats(0.1, 2) | st.floats(-2, -0.1),
    start=st.floats(-5, 5),
)
@settings(deadline=None, max_examples=50)
def test_two_joined_lines_are_found(place, before, bend, start):
    steps = np.arange(12)
    curve = start + before * steps + bend * np.maximum(steps - place, 0)
    found = piecewise_breakpoint(curve)
    assert found.place == place
    assert found.before == pytest.approx(before, abs=1e-8)
    assert found.after == pytest.approx(before + bend, abs=1e-8)


def test_the_best_fit_of_a_noisy_curve():
    rng = np.random.default_rng(0)
    curve = np.r_[np.ones(9), np.linspace(1, 0, 12)] + 0.05 * rng.standard_normal(21)

    def error(place):
        design = np.array([[1, i, max(i - place, 0)] for i in range(21)], float)
        return np.linalg.lstsq(design, curve)[1].item()

    assert piecewise_breakpoint(curve).place == min(range(1, 20), key=error)


@pytest.mark.parametrize("curve", [[0.0] * 5, [2.0] * 4, [1.0, 2, 3, 4, 5], [0.3, 0.2, 0.1, 0.0]])
def test_a_straight_line_has_equal_slopes(curve):
    found = piecewise_breakpoint(curve)
    assert found.before == pytest.approx(curve[1] - curve[0])
    assert found.after == pytest.approx(found.before)
    assert found.place == 1


def test_the_steepest_fall():
    assert steepest_fall([1.0, 0.9, 0.4, 0.5, 0.1]) == 2
    assert steepest_fall([3.0, 2.0, 1.0]) == 1  # the first of several
    with pytest.raises(ValueError, match="never falls"):
        steepest_fall([0.0, 0.0, 1.0])


@pytest.mark.parametrize("curve", [[1.0], [], [1.0, np.nan, 2, 3, 4], [[1.0] * 5]])
def test_bad_curves(curve):
    with pytest.raises(ValueError, match="curve"):
        steepest_fall(curve)
    with pytest.raises(ValueError, match="curve"):
        piecewise_breakpoint(curve)
