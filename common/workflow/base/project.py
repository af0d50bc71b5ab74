"""Where things are: the checkout, its papers, and the results of each profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.workflow.base.errors import ClaimbookError, did_you_mean

ROOT = Path(__file__).resolve().parents[3]
"""The checkout that this code belongs to."""

PROFILES = ("smoke", "cpu", "gpu")
"""Profiles from the smallest to the largest."""

COMMITTED_PROFILES = ("cpu", "gpu")
"""Profiles whose results are kept in git."""


@dataclass(frozen=True)
class Paper:
    """One folder of `papers/`."""

    slug: str

    @property
    def folder(self) -> Path:
        return ROOT / "papers" / self.slug

    @property
    def claims_file(self) -> Path:
        return self.folder / "claims.yaml"

    @property
    def params_file(self) -> Path:
        return self.folder / "params.yaml"

    @property
    def pipeline_file(self) -> Path:
        return self.folder / "dvc.yaml"

    @property
    def page(self) -> Path:
        return self.folder / "README.md"

    @property
    def notebooks(self) -> list[Path]:
        """The notebooks, in the order in which they run."""
        return sorted(self.folder.glob("[0-9]*.ipynb"))

    def results(self, profile: str) -> Path:
        return self.folder / "results" / profile


def relative(path: Path) -> str:
    """`path` as written from the checkout's root, for messages and keys."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def all_papers() -> list[Paper]:
    """Every folder of `papers/` that has a pipeline, by name."""
    return [Paper(file.parent.name) for file in sorted(ROOT.glob("papers/*/dvc.yaml"))]


def find_paper(slug: str) -> Paper:
    """The paper called `slug`.

    Raises:
        ClaimbookError: no such paper; near names are given.
    """
    paper = Paper(slug)
    known = [paper.slug for paper in all_papers()]
    if slug not in known:
        raise ClaimbookError(
            f"papers/{slug}/dvc.yaml does not exist: {slug!r} is no paper"
            f"{did_you_mean(slug, known)}. Papers: {', '.join(known) or 'none yet'}."
        )
    return paper


def chosen_papers(slug: str | None) -> list[Paper]:
    """All papers for None or "all", otherwise the one that is named."""
    return all_papers() if slug in (None, "all") else [find_paper(str(slug))]


def check_profile(profile: str) -> str:
    """`profile` itself, or an error that lists the known ones."""
    if profile not in PROFILES:
        raise ClaimbookError(
            f"unknown profile {profile!r}{did_you_mean(profile, PROFILES)}: "
            f"it is one of {', '.join(PROFILES)}."
        )
    return profile


def paper_of(notebook: Path) -> Paper:
    """The paper that a notebook of this checkout belongs to.

    Raises:
        ClaimbookError: the file is missing, is no paper's notebook, or lies in another checkout
            than the running code (whose results would then be certified with the wrong code).
    """
    file = notebook.resolve()
    if not file.is_file():
        near = [relative(path) for paper in all_papers() for path in paper.notebooks]
        raise ClaimbookError(f"{notebook} does not exist{did_you_mean(relative(file), near)}.")
    other = next((up for up in file.parents if (up / "common" / "workflow").is_dir()), None)
    if other != ROOT:
        raise ClaimbookError(
            f"{file} belongs to the checkout {other}, but `common` was imported from {ROOT}. "
            "Run the `claimbook` script of the notebook's own checkout."
        )
    if file.parent.parent != ROOT / "papers":
        raise ClaimbookError(f"{relative(file)} is no notebook of a paper (papers/<slug>/*.ipynb).")
    return find_paper(file.parent.name)


def result_folders(paper: Paper, profile: str) -> Iterator[Path]:
    """The folders that the notebooks of `paper` wrote in `profile`."""
    return (file.parent for file in sorted(paper.results(profile).glob("*/inputs.json")))
