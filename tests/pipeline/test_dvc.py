"""The life of a result, on a paper fresh from the skeleton."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import Tree

NOTEBOOK = "papers/toy/01_measure.ipynb"
PIPELINE = "papers/toy/dvc.yaml"
RESULTS = "papers/toy/results"


@pytest.fixture
def ran(toy: Tree) -> Tree:
    """The toy after its first smoke run."""
    toy.edit("params.yaml", "profile: cpu", "profile: smoke")
    toy.ok("dvc", "repro", PIPELINE)
    return toy


def stages_run(printed: str) -> list[str]:
    lines = [line for line in printed.splitlines() if line.startswith("Running stage")]
    return [line.partition(":")[2].rstrip("':") for line in lines][:]


def test_only_what_changed_runs_again(ran: Tree) -> None:
    assert stages_run(ran.ok("dvc", "repro", PIPELINE)) == ["closure"]
    ran.edit_cell(NOTEBOOK, "see", "Other prose.")
    assert stages_run(ran.ok("dvc", "repro", PIPELINE)) == ["closure"]
    ran.edit("papers/toy/claims.yaml", "[-0.55, -0.45]", "[-0.6, -0.4]")
    assert stages_run(ran.ok("dvc", "repro", PIPELINE)) == ["closure", "judge"]
    ran.edit("papers/toy/params.yaml", "repetitions: 200", "repetitions: 100")
    assert (
        "stale  (parameters changed (repetitions: 200 -> 100))"
        in ran.command("claimbook", "status", "toy", "--profile", "smoke").stdout
    )
    assert stages_run(ran.ok("dvc", "repro", PIPELINE)) == ["closure", "01_measure", "judge"]


def test_the_profile_there_and_back_is_restored_and_not_run(ran: Tree) -> None:
    before = ran.contents(f"{RESULTS}/smoke/01_measure")
    ran.edit("params.yaml", "profile: smoke", "profile: cpu")
    assert "01_measure" in stages_run(ran.ok("dvc", "repro", PIPELINE))
    ran.edit("params.yaml", "profile: cpu", "profile: smoke")
    subprocess.run(["rm", "-rf", str(ran.root / RESULTS / "smoke")], check=True)
    printed = ran.ok("dvc", "repro", PIPELINE)
    assert "01_measure' is cached - skipping run" in printed
    assert stages_run(printed) == ["closure", "judge"]
    assert ran.contents(f"{RESULTS}/smoke/01_measure") == before


def test_claims_are_judged_and_mistakes_in_them_told(ran: Tree) -> None:
    metrics = ran.ok("dvc", "metrics", "show")
    assert "not decidable here" in metrics
    assert "mean exponent" in ran.ok("claimbook", "explain", "toy/C1", "--profile", "smoke")
    ran.edit("papers/toy/claims.yaml", "metric: error", "metric: eror")
    printed = ran.fails("dvc", "repro", PIPELINE)
    assert "papers/toy/claims.yaml:" in printed
    assert "did you mean 'error'" in printed
    ran.edit("papers/toy/claims.yaml", "kind: exponent", "kind: exponnt")
    assert "did you mean" in ran.fails("claimbook", "judge", "toy", "--profile", "smoke")


def test_a_flipped_byte_is_found(ran: Tree) -> None:
    ran.ok("claimbook", "verify", "toy")
    table = ran.root / RESULTS / "smoke/01_measure/errors.csv"
    data = bytearray(table.read_bytes())
    data[-2] ^= 1
    table.write_bytes(bytes(data))
    assert "01_measure/errors.csv changed" in ran.fails("claimbook", "verify", "toy")
    assert "damaged" in ran.fails("claimbook", "status", "toy")


def test_killing_dvc_alone_stops_its_notebook(ran: Tree) -> None:
    ran.edit_cell(NOTEBOOK, "run", "import time\ntime.sleep(120)")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", PIPELINE],
        cwd=ran.root,
        env=ran.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "cell 7/" in line:
            break
    holder = ran.root / RESULTS / "_partial/locks/smoke-01_measure.pid"
    runner = int(holder.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(runner, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("the notebook's runner outlived dvc")
    assert ran.contents(f"{RESULTS}/smoke/01_measure") == {}


def test_a_new_paper_passes_as_it_comes(ran: Tree) -> None:
    printed = ran.ok(sys.executable, "-m", "ruff", "check", "papers")
    assert "All checks passed" in printed
    ran.ok("claimbook", "normalise", "--check")
    ran.ok("claimbook", "scoreboard", "--check")
    assert "exists already" in ran.fails("claimbook", "new-paper", "toy")
    assert "no snake_case name" in ran.fails("claimbook", "new-paper", "My-Paper")
    assert "did you mean 'toy'" in ran.fails("claimbook", "status", "toys")


def test_reproduce_compares_with_what_is_committed(toy: Tree) -> None:
    toy.edit(
        "papers/toy/params.yaml",
        "sample_sizes: [16, 64, 256, 1024, 4096]",
        "sample_sizes: [16, 64]",
    )
    toy.ok("dvc", "repro", PIPELINE)
    toy.ok("claimbook", "scoreboard")
    toy.commit()
    printed = toy.ok("claimbook", "reproduce", "toy", "--profile", "cpu")
    assert "identical: every measurement and verdict, to the bit" in printed
    assert "C1" in printed
    toy.edit("papers/toy/claims.yaml", "[-0.55, -0.45]", "[-0.9, -0.1]")
    printed = toy.fails("claimbook", "judge", "toy", "--profile", "cpu")
    assert "the test or measure of C1 changed after results existed" in printed
    toy.edit("papers/toy/claims.yaml", "[-0.9, -0.1]", "[-0.55, -0.45]")
    toy.edit(f"{RESULTS}/cpu/verdicts.json", '"verdict": "supported"', '"verdict": "undecided"')
    toy.commit()
    assert "DIFFERENT" in toy.fails("claimbook", "reproduce", "toy", "--profile", "cpu")


def with_arms(toy: Tree, *names: str) -> None:
    """Make a matrix of the toy's notebook: `model` is a text and nothing else."""
    toy.edit("params.yaml", "profile: cpu", "profile: smoke")
    matrix = f"    matrix:\n      model: [{', '.join(names)}]\n"
    toy.edit(PIPELINE, "  01_measure:\n", f"  01_measure:\n{matrix}")
    run = "papers/toy/01_measure.ipynb --profile ${profile}"
    toy.edit(PIPELINE, run, f"{run} --arm model=${{item.model}}")
    folder = "papers/toy/results/${profile}/01_measure"
    toy.edit(PIPELINE, f"- {folder}:", f"- {folder}@${{item.model}}:")
    deps = "".join(f"      - {folder}@{name}\n" for name in names)
    toy.edit(PIPELINE, f"      - {folder}\n", deps)
    toy.edit(PIPELINE, "01_measure/errors.csv", f"01_measure@{names[0]}/errors.csv")
    declared = "seeds: list[int] = [0]\nsample_sizes: list[int] = [16]\nrepetitions: int = 200\n"
    toy.edit_cell(NOTEBOOK, "parameters", f"{declared}model: str = 'a'")
    toy.edit(NOTEBOOK, r"\"sample_size\": n", r"\"sample_size\": n, \"model\": model")
    toy.edit(NOTEBOOK, r"\"seed\", \"sample_size\"]", r"\"seed\", \"sample_size\", \"model\"]")
    toy.edit("papers/toy/claims.yaml", "per: seed", "per: seed\n      for_each: model")


def test_arms_may_be_called_like_models_of_a_hub(toy: Tree) -> None:
    with_arms(toy, "org%2Fsmall", "org%2Flarge", "plain")
    toy.warm("dvc", "repro", PIPELINE)
    printed = toy.ok("claimbook", "explain", "toy/C1", "--profile", "smoke")
    assert "Rows: 45 of table `errors`" in printed
    assert "model = org/small: " in printed
    assert toy.ok("claimbook", "status", "toy").count("up to date") == 4


def test_an_arm_that_would_be_a_path_is_refused_before_anything_runs(toy: Tree) -> None:
    with_arms(toy, "org/small", "org/large", "plain")
    printed = toy.fails("dvc", "repro", PIPELINE)
    assert "write it as `org%2Fsmall` in dvc.yaml; the notebook gets 'org/small'" in printed
    printed = toy.fails("claimbook", "status", "toy", "--profile", "smoke")
    assert "write the value as `org%2Fsmall` in its matrix" in printed
    run = ("claimbook", "run", NOTEBOOK, "--profile", "smoke", "--arm")
    for value in ("model=../../x", "model=a,b", "model=a@b", "model=", "model"):
        toy.fails(*run, value)
    assert not (toy.root / RESULTS).exists()


def test_fewer_or_more_arms_than_the_pipeline_lists_are_an_error(toy: Tree) -> None:
    with_arms(toy, "a", "b", "c")
    toy.warm("dvc", "repro", PIPELINE)
    judge = ("claimbook", "judge", "toy", "--profile", "smoke")
    gone = toy.root / RESULTS / "smoke/01_measure@b"
    kept = gone.rename(toy.root / "kept")
    assert "01_measure@b is missing" in toy.fails(*judge)
    assert "01_measure@b is missing" in toy.fails("claimbook", "verify", "toy")
    assert "not run" in toy.fails("claimbook", "status", "toy")
    kept.rename(gone)
    toy.ok(*judge)
    toy.edit(PIPELINE, "model: [a, b, c]", "model: [a, c]")
    assert "01_measure@b is left from an arm that is gone" in toy.fails(*judge)
    assert "01_measure@b is left from an arm" in toy.fails("claimbook", "verify", "toy")
    assert "orphan" in toy.fails("claimbook", "status", "toy")


def test_a_note_that_a_merge_spoiled_counts_as_none(ran: Tree) -> None:
    note = ran.root / RESULTS / "smoke/provenance/01_measure.json"
    note.write_text("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n")
    printed = ran.ok("claimbook", "status", "toy", "--profile", "smoke")
    assert "no provenance: papers/toy/results/smoke/provenance/01_measure.json cannot" in printed
    assert "0 damaged" in ran.ok("claimbook", "verify", "toy")
    ran.ok("claimbook", "scoreboard")
    note.write_text('{"results": "0"}')
    assert "is that of other results" in ran.ok("claimbook", "status", "toy", "--profile", "smoke")


def test_the_arms_of_a_matrix_write_parts_of_one_table(toy: Tree) -> None:
    toy.edit("params.yaml", "profile: cpu", "profile: smoke")
    toy.edit(
        PIPELINE, "  01_measure:\n", "  01_measure:\n    matrix:\n      repetitions: [50, 100]\n"
    )
    run = "papers/toy/01_measure.ipynb --profile ${profile}"
    toy.edit(PIPELINE, run, f"{run} --arm repetitions=${{item.repetitions}}")
    folder = "papers/toy/results/${profile}/01_measure"
    toy.edit(PIPELINE, f"- {folder}:", f"- {folder}@${{item.repetitions}}:")
    toy.edit(PIPELINE, f"- {folder}\n", f"- {folder}@50\n      - {folder}@100\n")
    toy.edit(PIPELINE, "01_measure/errors.csv", "01_measure@50/errors.csv")
    toy.edit(NOTEBOOK, r"\"sample_size\": n", r"\"sample_size\": n, \"repetitions\": repetitions")
    toy.edit(
        NOTEBOOK, r"\"seed\", \"sample_size\"]", r"\"seed\", \"sample_size\", \"repetitions\"]"
    )
    toy.edit("papers/toy/claims.yaml", "per: seed", "per: seed\n      for_each: repetitions")
    toy.ok("dvc", "repro", PIPELINE)
    printed = toy.ok("claimbook", "explain", "toy/C1", "--profile", "smoke")
    assert "30 of table `errors` (01_measure@100, 01_measure@50)" in printed
    assert "repetitions = 50: " in printed and "repetitions = 100: " in printed
    lines = toy.ok("claimbook", "status", "toy", "--profile", "smoke")
    assert lines.count("up to date") == 3
    assert stages_run(toy.ok("dvc", "repro", PIPELINE)) == ["closure"]
