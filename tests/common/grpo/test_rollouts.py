from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from common.grpo.sampling import rollouts as module
from common.grpo.sampling.rollouts import Rollouts, sample_groups
from common.lm.scoring import logps_and_entropies
from tests.common.grpo.tiny_models import EOS, PAD, gemma3, gpt2, llama, qwen2

PROMPTS = [[5, 6, 7, 8, 9], [4], [10, 11, 12], [4]]
MODELS = {"llama": llama, "qwen2": qwen2, "gpt2": gpt2, "gemma3": gemma3}


def sample(model: Any, prompts: Sequence[Sequence[int]] = PROMPTS, **changes: Any) -> Rollouts:
    arguments = dict(
        group_size=3,
        max_new_tokens=12,
        eos_token_id=EOS,
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(1),
    )
    return sample_groups(model, prompts, **(arguments | changes))


def completions(rollouts: Rollouts) -> list[list[int]]:
    tables = zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in tables]


def scored(model: Any, rollouts: Rollouts, temperature: float = 1.0) -> torch.Tensor:
    """Row by row without padding: absolute positions are those of the unpadded sequence."""
    table = torch.zeros_like(rollouts.logps)
    for row, completion in enumerate(completions(rollouts)):
        prompt = rollouts.prompt_ids[row][rollouts.prompt_mask[row].bool()].tolist()
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            logps, _ = logps_and_entropies(
                model, ids, torch.ones_like(ids), len(completion), temperature=temperature
            )
        table[row, : len(completion)] = logps[0]
    return table * rollouts.env_mask


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logps_are_those_of_scoring(name: str, temperature: float) -> None:
    model = MODELS[name]()
    rollouts = sample(model, temperature=temperature)
    expected = scored(model, rollouts, temperature)
    torch.testing.assert_close(rollouts.logps, expected, atol=2e-5, rtol=0)
    assert (rollouts.logps <= 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_that_of_generate(name: str) -> None:
    model = MODELS[name]()
    rollouts = sample(model, greedy=True, generator=None, group_size=1)
    out = model.generate(
        input_ids=rollouts.prompt_ids,
        attention_mask=rollouts.prompt_mask,
        do_sample=False,
        max_new_tokens=12,
    )
    width = rollouts.prompt_ids.shape[1]
    assert out[:, width:].tolist() == rollouts.completion_ids.tolist()


def test_shapes_and_masks() -> None:
    rollouts = sample(llama())
    rows = [prompt for prompt in PROMPTS for _ in range(3)]
    assert [
        ids[mask.bool()].tolist()
        for ids, mask in zip(rollouts.prompt_ids, rollouts.prompt_mask, strict=True)
    ] == rows
    assert rollouts.prompt_mask[:, -1].all()
    lengths = rollouts.completion_mask.sum(1)
    assert rollouts.completion_ids.shape[1] == lengths.max()
    assert (rollouts.completion_mask.diff(dim=1) <= 0).all()  # right-padded
    assert rollouts.completion_ids[rollouts.completion_mask == 0].eq(PAD).all()
    assert rollouts.env_mask.equal(rollouts.completion_mask)
    for completion, finished in zip(completions(rollouts), rollouts.finished, strict=True):
        assert EOS not in completion[:-1]
        assert bool(finished) == (completion[-1] == EOS)
        assert finished or len(completion) == 12
    assert 0 < rollouts.finished.sum() < len(rows)  # both kinds occur


def test_first_tokens_have_the_exact_distribution() -> None:
    model = llama(tie_word_embeddings=True)
    prompt, temperature, count = [5, 6, 7], 1.3, 20_000
    rollouts = sample(model, [prompt], group_size=count, max_new_tokens=1, temperature=temperature)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    probs = (logits / temperature).softmax(-1).double()
    observed = rollouts.completion_ids[:, 0].bincount(minlength=23)
    expected = probs / probs.sum() * count
    assert (expected >= 5).all()
    assert chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3
    assert chisquare(observed.numpy(), expected.flip(0).numpy()).pvalue < 1e-6


def test_second_tokens_are_drawn_independently_of_the_first() -> None:
    model = llama(tie_word_embeddings=True)
    count = 20_000
    rollouts = sample(model, [[5, 6]], group_size=count, max_new_tokens=2, eos_token_id=[])
    first = rollouts.completion_ids[:, 0]
    token = int(first.bincount().argmax())
    following = rollouts.completion_ids[first == token, 1].bincount(minlength=23).double()
    with torch.no_grad():
        probs = model(input_ids=torch.tensor([[5, 6, token]])).logits[0, -1].softmax(-1).double()
    expected = probs * following.sum()
    kept = expected >= 5
    expected = expected * following[kept].sum() / expected[kept].sum()
    assert chisquare(following[kept].numpy(), expected[kept].numpy()).pvalue > 1e-3


def test_equal_seeds_equal_bits_and_the_global_state_is_untouched() -> None:
    model = llama()
    state = torch.random.get_rng_state()
    one, two = sample(model), sample(model)
    assert state.equal(torch.random.get_rng_state())
    for name in vars(one):
        assert getattr(one, name).equal(getattr(two, name))
    other = sample(model, generator=torch.Generator().manual_seed(2))
    assert completions(other) != completions(one)


@pytest.mark.parametrize("name", MODELS)
def test_dropping_rows_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]()
    outcomes = []
    for share in (0.0, 0.75, 1.0):  # never, usually, at once
        monkeypatch.setattr(module, "COMPACT_BELOW", share)
        outcomes.append(sample(model, group_size=8))
    for other in outcomes[1:]:
        assert completions(other) == completions(outcomes[0])
        torch.testing.assert_close(other.logps, outcomes[0].logps, atol=1e-5, rtol=0)


def test_a_row_does_not_depend_on_when_others_end() -> None:
    model = llama()
    free = sample(model, eos_token_id=[])
    stopped = sample(model, eos_token_id=[2, 7, 9, 13])
    assert not stopped.finished.all()
    for long, short in zip(completions(free), completions(stopped), strict=True):
        assert long[: len(short)] == short


def test_the_model_keeps_its_mode_and_has_no_gradients() -> None:
    model = gpt2().train()
    rollouts = sample(model)
    assert model.training and not rollouts.logps.requires_grad
    expected = scored(model.eval(), rollouts)  # dropout is off in sampling
    torch.testing.assert_close(rollouts.logps, expected, atol=2e-5, rtol=0)


def test_each_distinct_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = module.decoder_for

    def spy(model: Any, dtype: torch.dtype) -> Any:
        decoder = plain(model, dtype)
        prefill = decoder.prefill

        def counted(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
            seen.append(len(ids))
            return prefill(ids, *rest)

        decoder.prefill = counted  # type: ignore[method-assign]
        return decoder

    monkeypatch.setattr(module, "decoder_for", spy)
    sample(llama())
    assert seen == [3]


def test_no_prompts() -> None:
    rollouts = sample(llama(), [])
    assert rollouts.prompt_ids.shape == rollouts.completion_ids.shape == (0, 0)
    assert rollouts.logps.shape == (0, 0) and rollouts.finished.shape == (0,)


def test_one_token_is_room_enough() -> None:
    rollouts = sample(llama(), max_new_tokens=1)
    assert rollouts.completion_ids.shape == (12, 1)


def test_all_rows_end_at_their_first_token() -> None:
    rollouts = sample(llama(), eos_token_id=list(range(23)))
    assert rollouts.completion_ids.shape == (12, 1) and rollouts.finished.all()


def test_a_group_of_one() -> None:
    assert sample(llama(), group_size=1).completion_ids.shape[0] == len(PROMPTS)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-44])
def test_the_coldest_sampling_is_greedy(temperature: float) -> None:
    model = llama()
    cold = sample(model, temperature=temperature, group_size=1)
    greedy = sample(model, greedy=True, generator=None, group_size=1)
    assert completions(cold) == completions(greedy)
    assert cold.logps.isfinite().all() and (cold.logps > -1e-2).all()


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((50_000, 23), -torch.inf)
    logits[:, 4:6] = 0.0
    uniform = 1 - torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    uniform[0], uniform[1] = 1.0, 2.0**-24  # the extremes
    tokens, probs = module._choose(logits, uniform, 1.0)
    assert set(tokens.tolist()) == {4, 5} and probs.eq(0.5).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": [[5], []]}, "prompts: number 1 is empty"),
        ({"prompts": [[5] * 60]}, "prompts: number 0 has 60 tokens; with 12 new"),
        ({"prompts": [[5, 23]]}, "prompts: number 0"),
        ({"prompts": [[-1]]}, "prompts: number 0"),
        ({"group_size": 0}, "group_size: 0"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0"),
        ({"temperature": 0.0}, "temperature: 0.0"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"generator": None}, "generator: sampling needs one"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(llama(), **changes)


def test_a_model_of_nan_is_named() -> None:
    model = llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="model: its logits are not finite"):
        sample(model)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_samples_what_the_processor_samples(name: str) -> None:
    ours = sample(MODELS[name]().cuda())
    assert ours.logps.is_cuda
    assert completions(ours) == completions(sample(MODELS[name]()))


@settings(deadline=None, max_examples=8)
@given(
    prompts=st.lists(st.lists(st.integers(3, 22), min_size=1, max_size=6), max_size=4),
    group_size=st.integers(1, 4),
    room=st.integers(1, 8),
    ends=st.lists(st.integers(0, 22), max_size=6),
    seed=st.integers(0, 100),
)
def test_any_shape(
    prompts: list[list[int]], group_size: int, room: int, ends: list[int], seed: int
) -> None:
    rollouts = sample(
        llama(),
        prompts,
        group_size=group_size,
        max_new_tokens=room,
        eos_token_id=ends,
        generator=torch.Generator().manual_seed(seed),
    )
    for completion, finished in zip(completions(rollouts), rollouts.finished, strict=True):
        stops = [index for index, token in enumerate(completion) if token in ends]
        assert stops == ([len(completion) - 1] if finished else [])
        assert finished or len(completion) == room
