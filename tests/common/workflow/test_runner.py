"""Running one notebook: what comes out, and what happens when it cannot."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.conftest import Tree

NOTEBOOK = "papers/toy/01_measure.ipynb"
RESULTS = "papers/toy/results/smoke/01_measure"
RUN = ("claimbook", "run", NOTEBOOK, "--profile", "smoke")


def test_equal_runs_write_equal_bytes(toy: Tree) -> None:
    printed = toy.ok(*RUN)
    first = toy.contents(RESULTS)
    assert set(first) == {"01_measure.ipynb", "errors.csv", "errors.png", "inputs.json"}
    assert "cell 7/" in printed  # progress
    toy.ok(*RUN)
    assert toy.contents(RESULTS) == first


def test_results_name_no_path_and_no_time(toy: Tree) -> None:
    toy.edit_cell(NOTEBOOK, "look", "")
    toy.edit_cell(
        NOTEBOOK,
        "figure",
        "import sys, os\nprint(os.getcwd())\nprint('a', 'warning', file=sys.stderr)",
    )
    toy.ok(*RUN)
    executed = json.loads(toy.contents(RESULTS)["01_measure.ipynb"])
    text = json.dumps(executed)
    assert str(toy.root) not in text
    assert "papers/toy" in text
    assert "a warning" not in text
    assert "papermill" not in text


def test_a_raising_cell_is_shown_and_earlier_results_stay(toy: Tree) -> None:
    toy.ok(*RUN)
    before = toy.contents(RESULTS)
    toy.edit_cell(NOTEBOOK, "run", "total = 1\ntotal / 0")
    printed = toy.fails(*RUN)
    assert "cell 7 raised ZeroDivisionError: division by zero" in printed
    assert "total / 0" in printed
    assert toy.contents(RESULTS) == before
    partial = toy.root / "papers/toy/results/_failed/smoke/01_measure.ipynb"
    assert "ZeroDivisionError" in partial.read_text()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import time\ntime.sleep(60)", "the time limit of 4 s passed in cell 7"),
        ("import os\nos._exit(1)", "the kernel died in cell 7"),
        (
            "import urllib.request\nurllib.request.urlopen('http://example.org')",
            "profile 'smoke' runs without a network; example.org",
        ),
    ],
    ids=["hangs", "dies", "network"],
)
def test_a_cell_that_cannot_go_on(toy: Tree, cell: str, message: str) -> None:
    toy.edit_cell(NOTEBOOK, "run", cell)
    started = time.monotonic()
    assert message in toy.fails(*RUN, "--time-limit", "4")
    assert time.monotonic() - started < 250
    assert toy.contents(RESULTS) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("repetitions: 200", "repetitons: 200", "did you mean 'repetitions'"),
        ("repetitions: 200", "repetitions: many", "`repetitions` should be int, got 'many'"),
        ("repetitions: 200", "repetitions: 2.5", "`repetitions` should be int, got 2.5"),
        ("[16, 64, 256]", "[16, x, 256]", "`sample_sizes[1]` should be list[int], got 'x'"),
        ("  01_measure:\n    seeds: [0, 1, 2, 3, 4]\n", "  01_mesure:\n", "the key `01_measure`"),
    ],
    ids=["unknown", "ill-typed", "float for int", "in a list", "block"],
)
def test_bad_parameters_stop_before_a_kernel(toy: Tree, old: str, new: str, message: str) -> None:
    toy.edit("papers/toy/params.yaml", old, new)
    printed = toy.fails(*RUN)
    assert message in printed
    assert "papers/toy/params.yaml:" in printed
    assert "cell" not in printed.replace("parameters cell", "")


def test_a_missing_parameter_is_named(toy: Tree) -> None:
    toy.edit("papers/toy/params.yaml", "    repetitions: 200\n", "")
    assert "the parameter `repetitions: int` of 01_measure.ipynb is missing" in toy.fails(*RUN)


def test_no_accelerator_for_the_gpu_profile(toy: Tree) -> None:
    no_gpu = {"CUDA_VISIBLE_DEVICES": ""}
    printed = toy.fails(*RUN[:-1], "gpu", environment=no_gpu)
    assert "torch finds no accelerator" in printed
    assert not (toy.root / "papers/toy/results").exists()


def test_a_notebook_of_another_checkout_is_refused(toy: Tree, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["cp", "-r", f"{toy.root}/.", str(other)], check=True)
    printed = toy.fails("claimbook", "run", str(other / NOTEBOOK), "--profile", "smoke")
    assert f"belongs to the checkout {other}" in printed


def test_an_unknown_notebook_names_near_ones(toy: Tree) -> None:
    printed = toy.fails("claimbook", "run", "papers/toy/01_mesure.ipynb", "--profile", "smoke")
    assert f"did you mean '{NOTEBOOK}'" in printed


def test_a_missing_data_file_is_named(toy: Tree) -> None:
    toy.edit(
        "papers/toy/dvc.yaml",
        "    params:\n      - papers/toy/closure.json:\n          - 01_measure\n",
        "    deps:\n      - data/images.csv\n"
        "    params:\n      - papers/toy/closure.json:\n          - 01_measure\n",
    )
    printed = toy.fails(*RUN)
    assert "data/images.csv, which papers/toy/01_measure.ipynb reads, does not exist" in printed


def _start(tree: Tree) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        ["./claimbook", *RUN[1:]],
        cwd=tree.root,
        env=tree.environment,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores interrupts, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:  # until the cell that sleeps
        if "cell 7/" in line:
            return process
    raise AssertionError("the notebook ended before its sleeping cell")


def test_a_twin_is_refused_and_an_interrupt_leaves_nothing(toy: Tree) -> None:
    toy.edit_cell(NOTEBOOK, "run", "import time\ntime.sleep(100)")
    process = _start(toy)
    assert f"(process {process.pid}) is writing {RESULTS}" in toy.fails(*RUN)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.wait(timeout=20) == 130
    assert toy.contents(RESULTS) == {}
    assert not list((toy.root / "papers/toy/results/_partial").glob("smoke-*"))


def test_a_killed_run_leaves_no_lock(toy: Tree) -> None:
    source = json.loads((toy.root / NOTEBOOK).read_text())
    (good,) = ["".join(cell["source"]) for cell in source["cells"] if cell["id"] == "run"]
    toy.edit_cell(NOTEBOOK, "run", "import time\ntime.sleep(100)")
    process = _start(toy)
    process.kill()
    process.wait()
    assert toy.contents(RESULTS) == {}
    toy.edit_cell(NOTEBOOK, "run", good)
    toy.ok(*RUN)
    assert "errors.csv" in toy.contents(RESULTS)


SLOW = """\
import time
from pathlib import Path
from common.checkpoints import resumable

def piece(seed):
    Path(f"measured-{seed}-{time.time_ns()}").touch()
    time.sleep(2)
    return pd.DataFrame({"seed": [seed], "sample_size": [1], "error": [seed / 3]})

errors = pd.concat(resumable(f"seed-{seed}", piece, seed) for seed in seeds)
save_table(errors, "errors", keys=["seed"])
"""


def test_an_interrupted_run_goes_on_where_it_was(toy: Tree) -> None:
    toy.edit_cell(NOTEBOOK, "run", SLOW)
    process = _start(toy)
    paper = toy.root / "papers/toy"
    while len(list(paper.glob("measured-*"))) < 3:
        time.sleep(0.1)
    process.kill()
    process.wait()
    toy.ok(*RUN)
    resumed = toy.contents(RESULTS)
    counts = [len(list(paper.glob(f"measured-{seed}-*"))) for seed in range(5)]
    assert counts[:2] == [1, 1] and counts[3:] == [1, 1], counts
    assert not list((toy.root / "checkpoints").iterdir())
    toy.ok(*RUN)
    assert toy.contents(RESULTS) == resumed


def test_an_arm_of_a_matrix_has_its_own_folder(toy: Tree) -> None:
    toy.ok(*RUN, "--arm", "repetitions=50")
    folder = f"{RESULTS}@50"
    inputs = json.loads(toy.contents(folder)["inputs.json"])
    assert inputs["arm"] == {"repetitions": "50"}
    assert inputs["parameters"]["repetitions"] == 50
    assert "did you mean 'repetitions'" in toy.fails(*RUN, "--arm", "repetition=50")


def test_a_full_disk_gets_a_message_and_leaves_no_result(toy: Tree) -> None:
    toy.edit_cell(NOTEBOOK, "run", "open('/dev/full', 'w').write('x' * 100_000)")
    assert "No space left on device" in toy.fails(*RUN)
    assert toy.contents(RESULTS) == {}


def test_a_place_that_cannot_be_written_gets_a_message(toy: Tree) -> None:
    (toy.root / "papers/toy/results").write_text("a file where a folder should be")
    printed = toy.fails(*RUN)
    assert printed.startswith("error: ") and "papers/toy/results" in printed


@pytest.mark.parametrize("leave", ["import sys\nsys.exit(0)", "exit()", "raise SystemExit"])
def test_a_cell_that_leaves_early_is_no_success(toy: Tree, leave: str) -> None:
    toy.ok(*RUN)
    before = toy.contents(RESULTS)
    toy.edit_cell(
        NOTEBOOK, "run", f"save_table(pd.DataFrame({{'i': [1]}}), 'errors', ['i'])\n{leave}"
    )
    printed = toy.fails(*RUN)
    assert "cell 7 ended the notebook" in printed or "the kernel died in cell" in printed
    assert toy.contents(RESULTS) == before


@pytest.mark.parametrize("name", ["x" * 120, "a,b 'c' {d} \"e\"", "{}", "ü$HOME"])
def test_any_folder_for_temporary_files_will_do(toy: Tree, tmp_path_factory, name: str) -> None:
    place = tmp_path_factory.mktemp("place") / name
    place.mkdir()
    toy.ok(*RUN, environment={"TMPDIR": str(place)})


@pytest.mark.parametrize("name", ["a,b 'c' {d}", '"{}"'])
def test_a_checkout_may_lie_in_any_folder(toy: Tree, tmp_path_factory, name: str) -> None:
    place = tmp_path_factory.mktemp("place") / name
    subprocess.run(["cp", "-r", f"{toy.root}/.", str(place)], check=True)
    tree = Tree(place)
    tree.ok(*RUN)
    assert "not run" in tree.command("claimbook", "status", "toy", "--profile", "smoke").stdout
    other = {"PYTHONPATH": "/nowhere"}
    tree.ok(*RUN, environment=other)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "[1.0, .inf]", "{a: .nan}"])
def test_a_parameter_that_json_cannot_hold_is_refused(toy: Tree, value: str) -> None:
    toy.edit("papers/toy/params.yaml", "repetitions: 200", f"repetitions: {value}")
    kind = {"[": "list[float]", "{": "dict[str, float]"}.get(value[0], "float")
    toy.edit(NOTEBOOK, "repetitions: int = 200", f"repetitions: {kind} = None")
    printed = toy.fails(*RUN)
    assert "cannot be written down: use a finite number" in printed
    assert "papers/toy/params.yaml:" in printed


@pytest.mark.parametrize("kind", ["tuple[int, int]", "dict[int, str]", "Path", "set[str]"])
def test_a_type_that_no_yaml_value_has_is_refused(toy: Tree, kind: str) -> None:
    toy.edit(NOTEBOOK, "repetitions: int = 200", f"repetitions: {kind} = 200")
    assert f"`repetitions: {kind}` in the parameters cell is no type" in toy.fails(*RUN)


def test_files_that_no_stage_declares_are_noted(toy: Tree) -> None:
    (toy.root / "papers/toy/extra.csv").write_text("a\n1\n")
    toy.edit_cell(NOTEBOOK, "look", "")
    toy.edit_cell(NOTEBOOK, "figure", "print(open('extra.csv').read())")
    assert "read, but not declared under `deps` in dvc.yaml: papers/toy/extra.csv" in toy.ok(*RUN)
    file = toy.root / "papers/toy/results/smoke/provenance/01_measure.json"
    assert list(json.loads(file.read_text())["undeclared"]) == ["papers/toy/extra.csv"]


def test_time_in_which_a_notebook_could_not_run_does_not_count() -> None:
    from common.workflow.running import patience

    seconds = iter([(0.1 * i, 0.9 * i) for i in range(99)])
    given_up: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "_times", lambda pid: next(seconds))
        watch = patience.Watch(1, 0.4, lambda: given_up.append(True))
        watch.start()
        time.sleep(1.3)  # a tenth of which counts
        assert not given_up
        watch.stop()
        watch.join()
        patch.setattr(patience, "_times", lambda pid: (0.0, 0.0))  # it sleeps
        watch = patience.Watch(1, 0.4, lambda: given_up.append(True))
        watch.start()
        watch.join(5)
    assert given_up == [True] and watch.expired
