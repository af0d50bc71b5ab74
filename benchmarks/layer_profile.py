"""Ablating every layer in turn: re-used prefixes and packed items, against the naive loop.

The rival runs every layer for every ablation. Re-using the prefix skips the layers before the
ablated one; it changes no bit of the scores, which is checked. The second comparison is one scoring
pass over all items behind one shared prompt, against one pass per item: in the naive loop each
ablation pays for it. The arms take turns in one process; the numbers are medians, in seconds on the
clock and of processor time (the clock alone misleads on a shared machine). Target on 30 layers: 1.8
for the prefix. The output layer runs for every ablation in both arms and keeps the gain below 2:
SmolLM2-135M reached 1.75 of processor time on one thread, with 8 and with 24 items. What packing
gains depends on the prompt's length.

    python -m benchmarks.layer_profile                                   # 12 layers × 128
    python -m benchmarks.layer_profile --model smollm2-135m-instruct --repeats 3 --threads 1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from common.lm.layer_profile import layer_profile
from common.lm.load import load
from common.lm.small import small_decoder, word_tokenizer
from common.lm.teacher_forced import pack, score

SHOTS = [(2, 3), (4, 1), (7, 2), (5, 4)]


def questions(items: int, shots: int) -> tuple[str, list[tuple[str, str]]]:
    """Worked additions, and additions to solve."""
    worked = "".join(f"{a} + {b} = {a + b}\n" for a, b in SHOTS[:shots])
    return worked, [(f"{i % 9 + 1} + {i % 4} =", f" {i % 9 + 1 + i % 4}\n") for i in range(items)]


def model_and_tokenizer(name: str) -> tuple[Any, Any]:
    """A bundled model, one of the hub, or "tiny": random weights, whose time is the same."""
    if name != "tiny":
        return load(name)
    tokenizer = word_tokenizer(["+", "=", *map(str, range(20))])
    return small_decoder(tokenizer, layers=12, width=128, max_length=512, seed=0), tokenizer


def measured(arms: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each arm, on the clock and of processor time."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for repeat in tqdm(range(repeats), desc=" / ".join(arms)):
        # Every other round backwards: whoever comes after a slow arm must not pay for it.
        for name in list(arms) if repeat % 2 else list(reversed(arms)):
            started = time.perf_counter(), time.process_time()
            arms[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return {
        name: (median(wall for wall, _ in pairs), median(cpu for _, cpu in pairs))
        for name, pairs in times.items()
    }


def report(title: str, arms: dict[str, Callable[[], Any]], repeats: int) -> None:
    """Print what each arm takes; the first is the rival."""
    print(title)
    found = measured(arms, repeats)
    rival = next(iter(found.values()))
    for name, (wall, cpu) in found.items():
        ratios = f"{rival[0] / wall:5.2f} ({rival[1] / cpu:.2f}) times as fast"
        print(f"  {name:16} {wall:8.3f} s   {cpu:8.3f} s processor   {ratios}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help='"tiny", a bundled model or a hub id')
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--shots", type=int, default=4, choices=range(len(SHOTS) + 1))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = model_and_tokenizer(arguments.model)
    if torch.cuda.is_available():
        model.to("cuda")
    prompt, items = questions(arguments.items, arguments.shots)
    packed = pack(tokenizer, prompt, items)
    alone = [pack(tokenizer, prompt, [item]) for item in items]
    profiles: dict[str, Any] = {}

    def profile(reuse: bool) -> None:
        profiles[str(reuse)] = layer_profile(model, packed, reuse_prefix=reuse)

    score(model, packed)  # warms up
    print(f"{arguments.model}, {arguments.threads} threads, {arguments.repeats} repeats")
    both = {"naive loop": lambda: profile(False), "re-used prefix": lambda: profile(True)}
    report(f"all layers in turn, {packed.input_ids.numel()} tokens", both, arguments.repeats)
    assert profiles["True"].equals(profiles["False"])
    passes: dict[str, Callable[[], Any]] = {
        "one pass an item": lambda: [score(model, each) for each in alone],
        "one packed pass": lambda: score(model, packed),
    }
    tokens = sum(each.input_ids.numel() for each in alone)
    report(f"one scoring pass, {tokens} tokens unpacked", passes, 2 * arguments.repeats)


if __name__ == "__main__":
    main()
