"""Whether the bytes of results, of what DVC records of them, and of DVC's cache are right.

DVC trusts size, time and inode of a file that it has hashed once, and the bytes of a cached object
that is read-only: it can hand out damaged bytes without a word. So everything is hashed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import PROFILES, ROOT, Paper, relative, result_folders
from common.workflow.base.yaml_source import load_yaml, plain
from common.workflow.freshness.status import damaged, unlike_the_pipeline


def damage(papers: list[Paper]) -> tuple[int, int, list[str]]:
    """How many results and how many cached objects were hashed, and what is wrong with them."""
    folders = [
        folder
        for paper in papers
        for profile in PROFILES
        for folder in result_folders(paper, profile)
    ]
    problems = [problem for folder in folders for problem in damaged(folder)]
    problems += [problem for paper in papers for problem in _missing_arms(paper)]
    problems += [problem for paper in papers for problem in _unlike_the_lock(paper)]
    objects = cached_objects()
    return len(folders), len(objects), [*problems, *_damaged_objects(objects)]


def _missing_arms(paper: Paper) -> Iterator[str]:
    """Arms of a matrix that are not there beside the others, or are left over."""
    for profile in PROFILES:
        folder = paper.results(profile)
        stems = {one.name.partition("@")[0] for one in result_folders(paper, profile)}
        missing, extra = unlike_the_pipeline(paper, profile) if stems else ([], [])
        for name in missing:
            if name.partition("@")[0] in stems:
                yield f"{relative(folder / name)} is missing, an arm that dvc.yaml lists"
        for name in extra:
            yield f"{relative(folder / name)} is left from an arm that dvc.yaml does not list"


def _unlike_the_lock(paper: Paper) -> Iterator[str]:
    """Results that are not those of the run that `dvc.lock` records."""
    lock = paper.folder / "dvc.lock"
    if not lock.is_file():
        return
    try:
        recorded = _recorded(plain(load_yaml(lock).data))
    except (ClaimbookError, KeyError, TypeError, AttributeError):
        yield f"{relative(lock)} is damaged (a killed `dvc` can leave it half-written)"
        return
    for name, md5 in recorded.items():
        path = ROOT / name
        if not path.is_relative_to(paper.folder / "results") or not path.exists():
            continue
        if _md5(path) != md5 and not (path.is_dir() and damaged(path)):
            yield f"{name} is not what {relative(lock)} records"


def _recorded(lock: Any) -> dict[str, str]:
    outputs = [one for stage in lock["stages"].values() for one in stage.get("outs", [])]
    return {one["path"]: one["md5"] for one in outputs}


def _md5(path: Path) -> str:
    """DVC's hash of a file, or of a folder: that of the list of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted((one.relative_to(path).as_posix(), one) for one in path.rglob("*"))
    listed = [{"md5": _md5(one), "relpath": name} for name, one in files if one.is_file()]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def cached_objects() -> list[Path]:
    """The objects of DVC's cache, which are named by their MD5; none without a DVC repository."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(ROOT)) as repo:
            folder = Path(repo.cache.local.path)
    except DvcException:
        return []
    return sorted(folder.glob("[0-9a-f][0-9a-f]/*"))


def _damaged_objects(objects: list[Path]) -> Iterator[str]:
    from tqdm import tqdm

    for path in tqdm(objects, "DVC cache", unit="object", leave=False, delay=1, disable=None):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != f"{path.parent.name}{path.name}".removesuffix(".dir"):
            yield f"{relative(path)} is damaged (an object of DVC's cache)"
