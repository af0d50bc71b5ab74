import copy

import pytest
import torch

from common.lm.ablation import (
    ComponentMeans,
    ablate,
    component_means,
    decoder_layers,
    evaluating,
    recorded,
    submodule,
)
from tests.common.lm.architectures import ARCHITECTURES, LAYERS, tiny

IDS = torch.tensor([[5, 9, 13, 7, 30, 21], [4, 4, 8, 39, 11, 6]])


def zeroed(model, layers, parts=("attention", "mlp")):
    """The official way: a copy whose projections have weights and biases of zero."""
    model = copy.deepcopy(model)
    for layer in layers:
        for part in parts:
            module = submodule(decoder_layers(model)[layer], part)
            for name, parameter in module.named_parameters():
                if "norm" not in name:
                    parameter.data.zero_()
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", [*ARCHITECTURES, "mixtral"])
@pytest.mark.parametrize("component", ["block", "attention", "mlp"])
def test_zero_ablation_is_zeroing_all_weights_and_biases(name, component):
    model = tiny(name).eval()
    intact = logits(model)
    parts = ("attention", "mlp") if component == "block" else (component,)
    for layer in range(LAYERS):
        with ablate(model, [layer], component):
            ours = logits(model)
        torch.testing.assert_close(
            ours, logits(zeroed(model, [layer], parts)), rtol=1e-6, atol=1e-6
        )
        assert (ours - intact).abs().max() > 1e-3
    assert torch.equal(logits(model), intact)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_ablated_block_hands_on_what_it_got(name):
    model = tiny(name).eval()
    with ablate(model, [1]), recorded(decoder_layers(model)) as passed:
        logits(model)
    assert torch.equal(*passed[1])
    assert not torch.equal(*passed[2])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_generation_with_a_cache(name):
    model = tiny(name).eval()
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    prompt = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with ablate(model, [0, 2]):
        ours = model.generate(**prompt, **options)
    assert torch.equal(ours, zeroed(model, [0, 2]).generate(**prompt, **options))
    assert not torch.equal(ours, model.generate(**prompt, **options))


def test_hooks_are_gone_after_an_exception():
    model = tiny("llama")
    with pytest.raises(RuntimeError, match="within"), ablate(model, range(LAYERS)):
        assert hooks(model) == 2 * LAYERS
        raise RuntimeError("within")
    assert hooks(model) == 0


def test_no_hook_stays_when_entering_fails():
    model = tiny("llama")
    del decoder_layers(model)[1].mlp
    with pytest.raises(ValueError, match="mlp"), ablate(model, [0, 1]):
        pass
    assert hooks(model) == 0


def test_contexts_nest():
    model = tiny("llama").eval()
    both = logits(zeroed(model, [0, 1]))
    with ablate(model, [0]):
        with ablate(model, [1]):
            assert torch.equal(logits(model), both)
        assert torch.equal(logits(model), logits(zeroed(model, [0])))


def test_the_inner_context_holds():
    model = tiny("llama").eval()
    ones = ComponentMeans(torch.ones(LAYERS, 32), torch.ones(LAYERS, 32))
    outer, inner = ablate(model, [1], means=ones), ablate(model, [1], "mlp")
    with outer, inner, recorded(decoder_layers(model)) as passed:
        logits(model)
    entered, left = passed[1]
    torch.testing.assert_close(left, entered + 1)  # attention writes 1, the MLP nothing


def test_no_layers_change_nothing():
    model = tiny("llama").eval()
    with ablate(model, []):
        assert hooks(model) == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_means_over_counted_tokens(name):
    model = tiny(name)  # in training mode: dropout of GPT-2 must not matter
    lengths = [6, 4]
    mask = (torch.arange(6) < torch.tensor(lengths)[:, None]).long()
    counted = torch.ones_like(mask)
    counted[0, :2] = 0
    means = component_means(model, IDS, mask, counted, rows=1)
    for part in ("attention", "mlp"):
        for index in range(LAYERS):
            module = submodule(decoder_layers(model)[index], part)
            with evaluating(model), recorded([module]) as seen, torch.no_grad():
                for row, length in enumerate(lengths):
                    model(input_ids=IDS[row : row + 1, :length])
            outputs = [out[0] if isinstance(out, tuple) else out for _, out in seen]
            expected = torch.cat([outputs[0][0, 2:], outputs[1][0]]).mean(0)
            torch.testing.assert_close(getattr(means, part)[index], expected, rtol=1e-4, atol=1e-5)
    assert model.training


def test_batches_do_not_matter_and_all_real_tokens_count_by_default():
    model = tiny("llama")
    ids, mask = IDS.repeat(3, 1), torch.ones(6, 6)
    first = component_means(model, ids, mask, rows=2)
    again = component_means(model, ids, mask, mask, rows=5)
    torch.testing.assert_close(first.attention, again.attention)
    torch.testing.assert_close(first.mlp, again.mlp)
    assert first.mlp.shape == (LAYERS, 32)
    assert first.mlp.dtype == torch.float32


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_mean_ablation_writes_the_means(name):
    model = tiny(name).eval()
    means = component_means(model, IDS, torch.ones_like(IDS))
    with ablate(model, [1], means=means), recorded(decoder_layers(model)) as passed:
        logits(model)
    entered, left = passed[1]
    torch.testing.assert_close(left - entered, (means.attention + means.mlp)[1].expand_as(left))


def test_means_of_zero_are_zero_ablation():
    model = tiny("gemma3").eval()
    zeros = ComponentMeans(torch.zeros(LAYERS, 32), torch.zeros(LAYERS, 32))
    with ablate(model, [1], means=zeros):
        ours = logits(model)
    assert torch.equal(ours, logits(zeroed(model, [1])))


def test_not_a_number_is_replaced_too():
    model = tiny("llama").eval()
    decoder_layers(model)[1].mlp.down_proj.weight.data.fill_(torch.nan)
    with ablate(model, [1]):
        assert logits(model).isfinite().all()


@pytest.mark.parametrize("layers", [[LAYERS], [0, -1]])
def test_layers_out_of_range(layers):
    with pytest.raises(ValueError, match="layers"), ablate(tiny("llama"), layers):
        pass


def test_bad_arguments():
    model = tiny("llama")
    with pytest.raises(ValueError, match="component"), ablate(model, [0], "attn"):
        pass
    short = ComponentMeans(torch.zeros(2, 32), torch.zeros(2, 32))
    with pytest.raises(ValueError, match="means"), ablate(model, [0], means=short):
        pass
    with pytest.raises(ValueError, match="counted"):
        component_means(model, IDS, torch.ones_like(IDS), torch.zeros_like(IDS))


def test_unknown_architectures_are_refused():
    import transformers as hf

    bloom = hf.BloomForCausalLM(hf.BloomConfig(vocab_size=40, hidden_size=32, n_layer=1, n_head=4))
    message = "BloomBlock has no attention submodule named self_attn, .*self_attention"
    with pytest.raises(ValueError, match=message), ablate(bloom, [0]):
        pass
    fnet = torch.nn.Module()
    fnet.get_decoder = lambda: fnet
    with pytest.raises(ValueError, match="no list of layers named layers or h"):
        decoder_layers(fnet)
