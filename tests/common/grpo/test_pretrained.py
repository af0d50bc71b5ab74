"""SmolLM2-135M-Instruct through RecipeTrainer: a killed run ends as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from common.workflow.base.project import ROOT

TRAIN = """
import sys
from pathlib import Path

from common.grpo.training.run import train
from common.grpo.training.settings import Settings
from common.grpo.training.recipe import Recipe
from common.lm.load import load
from common.tasks.arithmetic import Arithmetic

folder = Path(sys.argv[1])
model, tokenizer = load("smollm2-135m-instruct")
table = train(
    model,
    tokenizer,
    Arithmetic(digits=1, tokenizer=tokenizer),
    Recipe.parse("grpo", {"advantage": "grpo"}),
    Settings(max_new_tokens=10, learning_rate=2e-6, groups=2, group_size=4, minibatches=2),
    steps=3,
    seed=0,
    folder=folder,
    save_every=1,
)
table.to_parquet(folder / "table.parquet")
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(folder)], cwd=ROOT, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_of_a_real_model_goes_on(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(600) == 0
    expected = pd.read_parquet(whole / "table.parquet")
    assert expected["reward"].between(0, 1).all()
    assert (expected["reward_std"] > 0).any()

    first = start(killed)
    while not (killed / "journal.parquet").exists():
        assert first.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (killed / "table.parquet").exists()
    assert start(killed).wait(600) == 0
    resumed = pd.read_parquet(killed / "table.parquet")
    pd.testing.assert_frame_equal(resumed, expected, check_exact=True)
