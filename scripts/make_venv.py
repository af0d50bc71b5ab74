"""Make or update the project's environment: .venv, from the lock files (`make setup`).

    python3.11 scripts/make_venv.py        # VENV=folder puts it elsewhere

Standard library only, since it runs before anything is installed. What it promises:

* Nothing happens, at once, while the lock files are those that the environment was made from.
* A stamp is written last. While it works, a mark stands in the folder: an environment that a
  killed set-up left behind is thrown away and made anew, for pip would take its halves for whole.
* Two set-ups never write at once; the second waits, then finds the work done.
* Packages that no lock names are left alone, and mentioned.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN_LOCK = "requirements.lock"
CUDA_LOCK = "requirements-cuda.lock"
MODELS_LOCK = "requirements-models.lock"
LOCKS = (MAIN_LOCK, CUDA_LOCK, MODELS_LOCK)
STAMP = "claimbook-stamp"
UNFINISHED = "claimbook-unfinished"
LOG = "claimbook-setup.log"
SCRATCH = "claimbook-tmp"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
PROGRESS_EVERY = 50

Command = Callable[[list[str]], None]


class SetupError(Exception):
    """Something the user can mend; the message says how."""


# --------------------------------------------------------------------------- is there work to do?


def fingerprint(root: Path, venv: Path) -> str:
    """Hash of the locks and of the environment's own Python; empty without an environment.

    Which Python calls this script does not count: two shells with two Pythons 3.11 would
    otherwise rebuild each other's environment in turn.
    """
    try:
        parts = [(root / name).read_bytes() for name in LOCKS]
        parts.append((venv / "pyvenv.cfg").read_bytes())
    except FileNotFoundError:
        return ""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_current(root: Path, venv: Path) -> bool:
    """Whether the environment was finished, from exactly these locks, and its Python exists."""
    if (venv / UNFINISHED).exists() or not python_of(venv).exists():
        return False
    try:
        stamp = (venv / STAMP).read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return stamp != "" and stamp == fingerprint(root, venv)


def python_of(venv: Path) -> Path:
    """The environment's Python (a dangling link does not exist)."""
    return venv / "bin" / "python"


# ------------------------------------------------------------------------------------ the set-up


def set_up(root: Path, venv: Path, command: Command, say: Callable[[str], None] = print) -> bool:
    """Bring the environment in line with the locks; False if there was nothing to do.

    `command` runs a command line and raises SetupError; tests pass one that installs nothing.
    """
    if is_current(root, venv):
        return False
    _prepare(venv, command, say)
    (venv / STAMP).unlink(missing_ok=True)
    _install(root, venv, command, say)
    _mention_others(root, venv, say)
    _finish(root, venv)
    return True


def _prepare(venv: Path, command: Command, say: Callable[[str], None]) -> None:
    """Leave a working, marked environment: the one that is there, or a new one."""
    trash = venv.with_name(venv.name + ".trash")
    shutil.rmtree(trash, ignore_errors=True)
    if _reusable(venv, command, say):
        (venv / UNFINISHED).touch()
        return
    if venv.exists():
        # Renamed first: a deletion that is cut short must not leave a folder that looks usable.
        venv.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
    venv.mkdir(parents=True)
    (venv / UNFINISHED).touch()
    say(f"Making {venv.name} with Python {sys.version.split()[0]}")
    command([sys.executable, "-m", "venv", str(venv)])


def _reusable(venv: Path, command: Command, say: Callable[[str], None]) -> bool:
    """Whether to install into what is there. Refuses to touch a folder that is no environment."""
    if not venv.exists() or not any(venv.iterdir()):
        return False
    if (venv / UNFINISHED).exists():
        say(f"{venv.name} is left over from an interrupted set-up: starting over")
        return False
    if not (venv / "pyvenv.cfg").exists():
        raise SetupError(f"{venv} exists and is no Python environment: move it, or set VENV")
    check = "import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        command([str(python_of(venv)), "-c", check])
    except (SetupError, OSError):
        say(f"{venv.name} has no working Python 3.11 with pip: starting over")
        return False
    return True


def _install(root: Path, venv: Path, command: Command, say: Callable[[str], None]) -> None:
    """Install the locks: first the installer itself, then everything, then CUDA if torch asks.

    The locked pip comes first, so that everybody installs with the same one. setuptools comes
    with it: one package is published as source only, and is built with this setuptools instead
    of one fetched without a hash.
    """
    pip = [str(python_of(venv)), "-m", "pip", "install", "--no-input", "--no-deps"]
    # Without --no-compile half of the time goes into bytecode of modules that nobody imports.
    hashed = [*pip, "--require-hashes", "--no-build-isolation", "--no-compile"]
    hashed += ["--progress-bar", "off", "-r"]
    main, cuda = root / MAIN_LOCK, root / CUDA_LOCK
    lock = main.read_text("utf-8")
    with _temporary(venv, "first.lock", _blocks(lock, {"pip", "setuptools"})) as first:
        command([*hashed, str(first)])
    say(f"Installing {len(names_in(main))} packages from {MAIN_LOCK} (minutes; log: {LOG})")
    chosen = _choose_torch(venv, [*pip, *_blocks(lock, {"torch"}).split()[:1]], command)
    with _temporary(venv, MAIN_LOCK, with_one_torch(lock, chosen)) as narrowed:
        command([*hashed, str(narrowed)])
    say(f"Installing the weights of {', '.join(sorted(names_in(root / MODELS_LOCK)))} (93 MB)")
    command([*hashed, str(root / MODELS_LOCK)])
    if needs_cuda(root, venv):
        say(f"This torch wants CUDA: {len(names_in(cuda))} packages from {CUDA_LOCK} (gigabytes)")
        command([*hashed, str(cuda)])


def _choose_torch(venv: Path, pip: list[str], command: Command) -> str:
    """The hash of the torch that pip prefers when it is free to choose; empty if it has none.

    With hashes to match, pip takes a build whose hash an index announces before one from a
    plain folder (`find-links`), whatever their versions: a CPU build kept in a folder would lose
    against gigabytes of CUDA.
    """
    with _temporary(venv, "torch.json", "{}") as report:
        command([*pip, "--dry-run", "--ignore-installed", "--report", str(report)])
        found = json.loads(report.read_text("utf-8")).get("install", [])
    if len(found) != 1:
        return ""
    hashes = found[0]["download_info"].get("archive_info", {}).get("hashes", {})
    return str(hashes.get("sha256", ""))


def with_one_torch(lock: str, chosen: str) -> str:
    """The lock with this one hash for torch; unchanged if it is none of torch's."""
    torch = _blocks(lock, {"torch"})
    if not chosen or (option := f"--hash=sha256:{chosen}") not in torch:
        return lock
    others = set(PIN.findall(lock)) - {"torch"}
    return f"{torch.split()[0]} {option}\n" + _blocks(lock, others)


@contextmanager
def _temporary(venv: Path, name: str, text: str) -> Iterator[Path]:
    path = venv / f"claimbook-{name}"
    path.write_text(text, "utf-8")
    yield path
    path.unlink()


def _finish(root: Path, venv: Path) -> None:
    """Write the stamp at once, then take the mark away."""
    shutil.rmtree(venv / SCRATCH, ignore_errors=True)
    temporary = venv / (STAMP + ".tmp")
    temporary.write_text(fingerprint(root, venv) + "\n", "ascii")
    temporary.replace(venv / STAMP)
    (venv / UNFINISHED).unlink()


def _blocks(lock: str, names: set[str]) -> str:
    """The lines of a lock file that belong to these packages."""
    keep, lines = False, []
    for line in lock.splitlines():
        if found := PIN.match(line):
            keep = found[1] in names
        if keep and not line.lstrip().startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


def names_in(lock: Path) -> set[str]:
    """Names of the packages in a lock file, in normal form."""
    return {_normal(name) for name in PIN.findall(lock.read_text("utf-8"))}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(venv: Path) -> dict[str, list[str]]:
    """What the environment holds: normal name -> requirements."""
    from importlib.metadata import distributions

    (site,) = venv.glob("lib/python3*/site-packages")
    found = distributions(path=[str(site)])
    return {_normal(d.metadata["Name"]): d.requires or [] for d in found if d.metadata["Name"]}


def needs_cuda(root: Path, venv: Path) -> bool:
    """Whether the installed torch asks for something that only the CUDA lock has.

    A CPU build does not; macOS builds name the same packages, for Linux only.
    """
    if sys.platform != "linux":
        return False
    wanted = _installed(venv).get("torch", [])
    names = {_normal(re.split(r"[^\w.-]", w)[0]) for w in wanted if "extra ==" not in w}
    return bool(names & names_in(root / CUDA_LOCK))


def _mention_others(root: Path, venv: Path, say: Callable[[str], None]) -> None:
    locked = set().union(*(names_in(root / name) for name in LOCKS))
    if others := sorted(set(_installed(venv)) - locked):
        say(f"Left alone, in no lock: {', '.join(others)}")


# ------------------------------------------------------------------------------------ the machine


def require_python() -> None:
    """Stop early, and say what to do, on a Python that cannot make the environment."""
    from importlib.util import find_spec

    if sys.version_info[:2] != (3, 11):
        raise SetupError(
            f"Claimbook wants Python 3.11, this is {sys.version.split()[0]}. Install python3.11 "
            "and run: make setup PYTHON=/path/to/python3.11 (or use conda: environment.yml)"
        )
    if missing := [name for name in ("venv", "ensurepip") if find_spec(name) is None]:
        raise SetupError(
            f"This Python has no {' and no '.join(missing)}. On Debian or Ubuntu: "
            "sudo apt install python3.11-venv"
        )


@contextmanager
def alone(venv: Path, say: Callable[[str], None] = print) -> Iterator[int]:
    """Hold the set-up's lock; yields its descriptor, which commands inherit.

    So the lock outlives a killed set-up for as long as its pip still writes.
    """
    import fcntl

    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(venv.with_name(venv.name + ".lock"), "w", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up, or the rest of a killed one, is at work here: waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def logged(venv: Path, lock: int) -> Command:
    """A runner of commands that writes all they say to a log, and explains their failures."""
    unwanted = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONHOME", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    # A killed pip leaves its unpacked wheels behind, up to gigabytes: here they go with the rest.
    environment["TMPDIR"] = str(venv / SCRATCH)

    def run(command: list[str]) -> None:
        (venv / SCRATCH).mkdir(exist_ok=True)
        with open(venv / LOG, "a+", buffering=1, encoding="utf-8") as log:
            start = log.tell()
            log.write(f"$ {' '.join(command)}\n")
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
                text=True,
                errors="replace",
            )
            try:
                _follow(process, log.write)
            except BaseException:
                process.terminate()
                process.wait()
                raise
            if process.returncode:
                log.seek(start)
                raise SetupError(explain(log.read(), venv))

    return run


def _follow(process: subprocess.Popen[str], write: Callable[[str], object]) -> None:
    """Copy the output until the process ends; a sign of life every so many packages."""
    assert process.stdout is not None
    collected = 0
    for line in process.stdout:
        write(line)
        if line.startswith(("Collecting ", "Processing ")):  # from an index, from a folder
            collected += 1
            if collected % PROGRESS_EVERY == 0:
                print(f"  {collected} fetched", flush=True)
        elif line.startswith("Installing collected packages"):
            print(f"  {collected} fetched, unpacking", flush=True)
    process.wait()


def explain(log: str, venv: Path) -> str:
    """The end of a failed command's log, and what it means."""
    causes = {
        "No space left on device": _disk_full(venv),
        "DO NOT MATCH THE HASHES": "A file differs from the lock, so it was not installed: a "
        "damaged download (pip cache purge), or a mirror that serves something else.",
        "ConnectionError|NewConnection|Max retries|name resolution|ProxyError|timed out": "The "
        "package index cannot be reached. Check the connection and the proxy settings.",
        "No matching distribution|Could not find a version": "The package index that pip uses does "
        "not offer this version, or cannot be reached. Check the connection and `pip config list`.",
        "No module named (venv|ensurepip)|ensurepip is not available": "This Python cannot make "
        "environments. On Debian or Ubuntu: sudo apt install python3.11-venv",
    }
    meant = [text for pattern, text in causes.items() if re.search(pattern, log)]
    tail = "\n".join(f"  | {line[:200]}" for line in log.strip().splitlines()[-15:])
    return "\n".join([tail, *(meant[:1] or ["The command failed."]), f"Whole log: {venv / LOG}"])


def _disk_full(venv: Path) -> str:
    return (
        f"The disk is full. The environment takes about 2 GB in {venv}, some 7 GB with CUDA, and "
        "pip as much again for a moment, there and in its cache."
    )


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the set-up; the exit status says whether the environment is usable."""
    venv = ROOT / os.environ.get("VENV", ".venv")
    if is_current(ROOT, venv):
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    try:
        require_python()
        with alone(venv) as lock:
            if set_up(ROOT, venv, logged(venv, lock)):
                print(f"{venv.name} is ready")
        return 0
    except SetupError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        print(_disk_full(venv) if full else error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted. The next `make setup` starts over.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
