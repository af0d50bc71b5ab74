"""Tokens per second of group sampling, against the generation of stock TRL and the machine.

The rival is the call that `trl.GRPOTrainer` makes without vLLM: `model.generate` on all rows with
the generation settings of its default configuration (its padding, decoding and bookkeeping come on
top in TRL and are left out here). Both sides continue the same prompts of the same model to the
same length, end tokens switched off, taking turns; rates are medians over repeats, and the ratio is
the median of the ratios of neighbouring turns. Where vLLM is installed and the device is a GPU, it
gets a row too.

The machine's limit is the time for reading every weight once per step at the measured memory
bandwidth, or for the floating-point operations at the measured rate of large matrix products in
the same number format, whichever is longer, for the prefill of each distinct prompt and for all
decoding steps; it leaves out attention.

    python -m benchmarks.rollouts --threads 2
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from common.grpo.sampling.decoding import sampling_dtype
from common.grpo.sampling.rollouts import sample_groups

BUNDLED = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Case:
    """What is sampled: P prompts of one length, G completions each."""

    title: str
    model: Any
    prompts: list[list[int]]
    group_size: int
    new_tokens: int
    target: float

    @property
    def tokens(self) -> int:
        return len(self.prompts) * self.group_size * self.new_tokens


def tiny(device: str) -> Case:
    """Two layers of width 64: what a study with many seeds trains from scratch."""
    from common.lm.small import small_decoder, word_tokenizer

    tokenizer = word_tokenizer([f"w{i}" for i in range(60)])
    model = small_decoder(tokenizer, max_length=128, seed=0).to(device)
    return Case("2 layers x 64", model, prompts(8, 16, 64), 8, 48, 8.0)


def smollm2(device: str, name: str) -> Case:
    """A model by name; for the bundled one, random weights of its shape where it is missing."""
    from common.lm.bundled import MissingModelError
    from common.lm.load import load

    try:
        model, title = load(name)[0], name
    except MissingModelError:
        if name != BUNDLED:
            raise
        model, title = random_smollm2(), "SmolLM2-135M's shape, random weights"
    model = model.to(device).eval()
    return Case(title, model, prompts(4, 128, model.config.vocab_size), 8, 64, 3.0)


def random_smollm2() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
            tie_word_embeddings=True,
        )
    )


def prompts(count: int, length: int, vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(4, vocabulary, (count, length), generator=generator).tolist()


def ours(case: Case, dtype: torch.dtype | None) -> Callable[[], None]:
    """`sample_groups`."""

    def work() -> None:
        rollouts = sample_groups(
            case.model,
            case.prompts,
            group_size=case.group_size,
            max_new_tokens=case.new_tokens,
            eos_token_id=[],
            pad_token_id=0,
            generator=torch.Generator().manual_seed(0),
            dtype=dtype,
        )
        assert rollouts.completion_mask.sum() == case.tokens

    return work


def stock(case: Case) -> Callable[[], None]:
    """`model.generate` as `GRPOTrainer._generate_single_turn` calls it."""
    from transformers import GenerationConfig
    from trl import GRPOConfig

    defaults = GRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none")
    case.model.generation_config.eos_token_id = None
    config = GenerationConfig(
        max_new_tokens=case.new_tokens,
        do_sample=True,
        pad_token_id=0,
        temperature=defaults.temperature,
        top_p=defaults.top_p,
        top_k=defaults.top_k,
        min_p=defaults.min_p,
        repetition_penalty=defaults.repetition_penalty,
        cache_implementation=defaults.cache_implementation,
        disable_compile=True,
    )
    ids = torch.tensor(case.prompts, device=case.model.device)
    ids = ids.repeat_interleave(case.group_size, 0)
    mask = torch.ones_like(ids)

    @torch.no_grad()
    def work() -> None:
        out = case.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        assert out[:, ids.shape[1] :].numel() == case.tokens

    return work


def vllm(case: Case) -> Callable[[], None]:
    """vLLM on the same weights."""
    import tempfile

    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    folder = tempfile.mkdtemp()
    case.model.save_pretrained(folder)
    engine = LLM(
        folder, skip_tokenizer_init=True, dtype="bfloat16", gpu_memory_utilization=0.3, seed=0
    )
    parameters = SamplingParams(
        n=case.group_size, max_tokens=case.new_tokens, ignore_eos=True, detokenize=False
    )
    inputs = [{"prompt_token_ids": prompt} for prompt in case.prompts]
    return lambda: engine.generate(inputs, parameters, use_tqdm=False)


def seconds(work: Callable[[], None], device: str) -> float:
    """Wall-clock time of one call."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def bandwidth(device: str) -> float:
    """Bytes per second that a sum over 512 MiB reads."""
    numbers = torch.ones(128 * 2**20, device=device)
    return 4 * len(numbers) / min(seconds(numbers.sum, device) for _ in range(4))


def product_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    n = 8192 if device.startswith("cuda") else 1536
    square = torch.ones(n, n, device=device, dtype=dtype)
    return 2 * n**3 / min(seconds(lambda: square @ square, device) for _ in range(4))


def limit(case: Case, device: str, dtype: torch.dtype) -> float:
    """Seconds below which no sampler of this kind can get."""
    model = case.model
    head = model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in model.model.layers.parameters())
    read = (body + head) * dtype.itemsize / bandwidth(device)
    rate = product_rate(device, dtype)
    prompt_tokens = sum(map(len, case.prompts))
    prefill = max(read, 2 * (body * prompt_tokens + head * len(case.prompts)) / rate)
    rows = len(case.prompts) * case.group_size
    step = max(read, 2 * (body + head) * rows / rate)
    return prefill + (case.new_tokens - 1) * step


def compare(case: Case, device: str, repeats: int, dtype: torch.dtype | None) -> None:
    """Print one block."""
    used = dtype or sampling_dtype(case.model)
    ways = {"sample_groups": ours(case, dtype), "stock TRL": stock(case)}
    if device.startswith("cuda") and importlib.util.find_spec("vllm"):
        ways["vLLM"] = vllm(case)
    for work in ways.values():
        work()
    turns = [{way: seconds(work, device) for way, work in ways.items()} for _ in range(repeats)]
    rows = len(case.prompts) * case.group_size
    print(
        f"\n{case.title}: {rows} rows, prompts of {len(case.prompts[0])}, {case.new_tokens} new, "
        f"{str(used).removeprefix('torch.')} (rival {str(case.model.dtype).removeprefix('torch.')})"
    )
    for way in ways:
        rate = median(case.tokens / turn[way] for turn in turns)
        print(f"  {way:<14} {rate:>10,.0f} tokens/s")
    for rival in list(ways)[1:]:
        ratio = median(turn[rival] / turn["sample_groups"] for turn in turns)
        target = f"; target {case.target:.0f}" if rival == "stock TRL" else ""
        print(f"  {rival} takes {ratio:.1f} times as long{target}")
    share = limit(case, device, used) / median(turn["sample_groups"] for turn in turns)
    print(f"  the machine's limit is {share:.0%} of our time")


def main() -> None:
    """Parse the command line and print one block per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--model", nargs="+", default=["tiny", BUNDLED], help='"tiny", or names for common.lm.load'
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of sample_groups")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    print(f"{options.threads} threads, {options.device}")
    for name in options.model:
        case = tiny(options.device) if name == "tiny" else smollm2(options.device, name)
        compare(case, options.device, options.repeats, dtype)


if __name__ == "__main__":
    main()
