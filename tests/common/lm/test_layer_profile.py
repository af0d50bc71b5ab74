import pandas as pd
import pytest
import torch

from common.lm import layer_profile as module
from common.lm.ablation import ablate, component_means, decoder_layers
from common.lm.layer_profile import layer_profile
from common.lm.small import word_tokenizer
from common.lm.teacher_forced import pack, score
from tests.common.lm.architectures import ARCHITECTURES, LAYERS, tiny

TOKENIZER = word_tokenizer([f"w{i}" for i in range(36)])
PACKED = pack(TOKENIZER, "w1 w2 w3 w4 w5 ", [("w7 w8", " w9"), ("w10", " w11 w12"), ("w3", " w9")])


def naive(model, packed, component="block", means=None):
    """The oracle: every layer runs for every ablation."""
    rows = []
    for layer in range(-1, LAYERS):
        with ablate(model, [layer] if layer >= 0 else [], component, means):
            correct, logp = score(model, packed)
        for item, (hit, value) in enumerate(zip(correct.tolist(), logp.tolist(), strict=True)):
            rows.append({"layer": layer, "item": item, "correct": hit, "logp": value})
    return pd.DataFrame(rows)


def same(first, second):
    pd.testing.assert_frame_equal(first, second, check_dtype=False, rtol=0, atol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "mistral", "mixtral"])
def test_reused_prefixes_change_no_bit(name, attention):
    model = tiny(name, attention)
    expected = naive(model, PACKED)
    same(layer_profile(model, PACKED), expected)
    assert expected.groupby("item").logp.nunique().eq(LAYERS + 1).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("component", ["attention", "mlp"])
def test_components(name, component):
    model = tiny(name)
    same(layer_profile(model, PACKED, component=component), naive(model, PACKED, component))


@pytest.mark.parametrize("component", ["block", "attention"])
def test_mean_ablation(component):
    model = tiny("gemma3")
    means = component_means(model, PACKED.input_ids, torch.ones_like(PACKED.input_ids))
    ours = layer_profile(model, PACKED, component=component, means=means)
    same(ours, naive(model, PACKED, component, means))
    assert not ours.logp.equals(layer_profile(model, PACKED, component=component).logp)


def test_without_reuse():
    model = tiny("llama")
    same(layer_profile(model, PACKED, reuse_prefix=False), naive(model, PACKED))


@pytest.mark.parametrize(
    ("component", "reuse", "expected"),
    # After the intact pass the layers behind the ablated one run; a zeroed block is skipped too.
    [("block", True, 3 + 2 + 1 + 0), ("mlp", True, 3 + 3 + 2 + 1), ("block", False, 4 * 3)],
)
def test_skipped_layers_do_not_run(component, reuse, expected):
    model = tiny("llama")
    runs = []
    for layer in decoder_layers(model):
        layer.input_layernorm.register_forward_hook(lambda *_: runs.append(1))
    layer_profile(model, PACKED, component=component, reuse_prefix=reuse)
    assert len(runs) == expected


def test_chosen_layers_in_the_order_given():
    model = tiny("llama")
    every = layer_profile(model, PACKED).set_index("layer")
    some = layer_profile(model, PACKED, layers=[2, 0])
    assert list(some.columns) == ["layer", "item", "correct", "logp"]
    assert some.layer.unique().tolist() == [-1, 2, 0]
    assert some.item.tolist() == [0, 1, 2] * 3
    same(some.set_index("layer"), every.loc[[-1, 2, 0]])
    assert layer_profile(model, PACKED, layers=[]).layer.tolist() == [-1] * 3


def test_everything_is_restored_after_an_exception(monkeypatch):
    model = tiny("llama")
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            assert "forward" in vars(decoder_layers(model)[0])
            raise RuntimeError("out of memory")
        return score(*arguments)

    monkeypatch.setattr(module, "score", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        layer_profile(model, PACKED)
    for part in model.modules():
        assert "forward" not in vars(part)
        assert not part._forward_hooks
    monkeypatch.undo()
    same(layer_profile(model, PACKED), naive(model, PACKED))


def test_a_layer_whose_forward_was_replaced_before_keeps_it():
    model = tiny("llama")
    layer = decoder_layers(model)[0]
    calls = []
    original = layer.forward

    def replaced(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    layer.forward = replaced
    layer_profile(model, PACKED)
    assert layer.forward is replaced
    assert len(calls) == 1


@pytest.mark.parametrize("layers", [[LAYERS], [-1]])
def test_layers_out_of_range(layers):
    with pytest.raises(ValueError, match="layers"):
        layer_profile(tiny("llama"), PACKED, layers=layers)


def test_an_unknown_component():
    with pytest.raises(ValueError, match="component"):
        layer_profile(tiny("llama"), PACKED, component="norm")


@pytest.mark.slow
def test_a_real_model():
    from common.lm.load import load

    model, tokenizer = load("smollm2-135m-instruct")
    shots = "".join(f"{a} + {b} = {a + b}\n" for a, b in [(2, 3), (4, 1), (5, 4)])
    packed = pack(tokenizer, shots, [(f"{a} + 3 =", f" {a + 3}\n") for a in range(1, 9)])
    layers = [0, 11, 29]
    ours = layer_profile(model, packed, layers=layers)
    same(ours, layer_profile(model, packed, layers=layers, reuse_prefix=False))
    means = ours.groupby("layer").logp.mean()
    assert means[0] < means[29] - 5
    assert means[11] < means[29] - 5
