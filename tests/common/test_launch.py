"""Training in several processes, on processors: the same result, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from common import launch
from tests.common import linear_training
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


LAUNCH = """
import fcntl, socket, struct, sys
try:
    up = struct.pack("16sh", b"lo", 0x41)  # IFF_UP and IFF_RUNNING, by SIOCSIFFLAGS
    fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, up)
except OSError:
    sys.exit(77)
from common.launch import accelerate_launch
from tests.common import linear_training
what, folder, processes = sys.argv[1:]
if what != "try":
    accelerate_launch(linear_training, [what, folder], int(processes))
"""
"""PyTorch's processes meet at a port of every interface: in a namespace whose only one is lo."""


def command(options: str, what: str, folder: Path | str = ".", processes: int = 2) -> list[str]:
    program = [sys.executable, "-c", LAUNCH, what, str(folder), str(processes)]
    return ["unshare", options, *program]


@pytest.fixture(scope="module")
def launching() -> Callable[..., list[str]]:
    """The command that launches `linear_training` where only loopback exists."""
    for options in ("-n", "-rn"):
        with suppress(OSError):  # no `unshare`
            if subprocess.run(command(options, "try"), cwd=ROOT).returncode == 0:
                return partial(command, options)
    pytest.skip("no network namespace may be made here")


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_two_processes_train_as_one(launching: Callable[..., list[str]], tmp_path: Path) -> None:
    results = []
    for processes in (1, 2):
        done = run(launching("train", tmp_path, processes))
        assert done.stdout.count("written by the main process") == 1, done.stderr
        results.append(json.loads((tmp_path / "result.json").read_text()))
    one, two = results
    assert (one["processes"], two["processes"]) == (1, 2)
    assert (one["sum"], two["sum"]) == (1, 1 + 2)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_failure_brings_its_last_lines_along(
    launching: Callable[..., list[str]], tmp_path: Path
) -> None:
    done = run(launching("fail", tmp_path))
    assert done.returncode != 0
    _, _, error = done.stderr.partition("RuntimeError: ")
    assert "linear_training failed in 2 processes" in error
    assert "broken here" in error


def test_the_processes_end_with_the_one_that_launched_them(
    launching: Callable[..., list[str]], tmp_path: Path
) -> None:
    launcher = subprocess.Popen(launching("hang", tmp_path), cwd=ROOT)
    wait_for(lambda: len(list(tmp_path.glob("hanging*"))) == 2, 120)
    children = psutil.Process(launcher.pid).children(recursive=True)
    assert len(children) >= 4
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not any(child.is_running() for child in children), 20)


def wait_for(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_gpus", lambda: 1)
    with pytest.raises(ValueError, match="2 processes for 1 GPUs"):
        launch.accelerate_launch(linear_training, processes=2)
