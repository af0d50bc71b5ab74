"""What one paper left in one profile, and where the site shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.file_names import text_of
from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import read_json
from common.workflow.base.project import Paper, result_folders
from common.workflow.base.yaml_source import YamlSource, load_yaml
from common.workflow.claims.schema import Claims, load_claims
from common.workflow.claims.selection import SUFFIXES
from common.workflow.claims.verdicts import read_verdicts
from common.workflow.pages.site.notebooks import cell_of


@dataclass(frozen=True)
class Results:
    """One paper's results in one profile.

    Args:
        paper: the paper.
        profile: the profile.
        repository: address of the repository, if it has one.
    """

    paper: Paper
    profile: str
    repository: str | None = None

    @property
    def page(self) -> str:
        """The folder of its pages in the site."""
        return f"papers/{self.paper.slug}/{self.profile}"

    @property
    def folder(self) -> Path:
        return self.paper.results(self.profile)

    @cached_property
    def claims(self) -> Claims:
        return load_claims(self.paper.claims_file)

    @cached_property
    def claims_source(self) -> YamlSource:
        """`claims.yaml` with its lines."""
        return load_yaml(self.paper.claims_file)

    @cached_property
    def verdicts(self) -> dict[str, Any] | None:
        return read_verdicts(self.paper, self.profile)

    @cached_property
    def folders(self) -> list[Path]:
        """What each notebook, or each arm of one, wrote."""
        return list(result_folders(self.paper, self.profile))

    @cached_property
    def tables(self) -> dict[str, list[Path]]:
        """The files of each table, one for each arm that wrote a part."""
        found: dict[str, list[Path]] = {}
        for folder in self.folders:
            for file in sorted(folder.iterdir()):
                if file.suffix in SUFFIXES:
                    found.setdefault(text_of(file.stem), []).append(file)
        return found

    def inputs(self, folder: Path) -> dict[str, Any]:
        return dict(read_json(folder / "inputs.json"))

    def provenance(self, folder: Path) -> dict[str, Any]:
        """When, where and by which command; empty when nobody wrote it down."""
        file = self.folder / "provenance" / f"{folder.name}.json"
        try:
            return dict(read_json(file)) if file.is_file() else {}
        except ClaimbookError:  # a merge left its marks in it, say: a note, and no result
            return {}

    def notebook(self, folder: Path) -> Path | None:
        """The executed notebook."""
        return next(iter(sorted(folder.glob("*.ipynb"))), None)

    def cell_link(self, folder: Path, function: str, name: str) -> str:
        """A Markdown link to the cell that called `function(..., name)`."""
        notebook = self.notebook(folder)
        if notebook is None:
            return f"{folder.name} (its executed notebook is missing)"
        cell = cell_of(read_json(notebook), function, name)
        page = f"/{self.page}/{folder.name}.ipynb"
        if cell is None:
            return f"[{folder.name}](<{page}>)"
        return f"[{folder.name}, cell `{cell.removeprefix('cell-')}`](<{page}#{cell}>)"

    def claim_link(self, claim: str) -> str:
        return f"/{self.page}/claims.md#{claim.lower()}"

    def table_link(self, table: str, claim: str = "") -> str:
        return f"/{self.page}/tables/{table}.md" + (f"#{claim.lower()}" if claim else "")

    def users(self, table: str) -> list[str]:
        """The judged claims that the table decides."""
        judged = (self.verdicts or {"claims": {}})["claims"]
        return [
            name
            for name, claim in self.claims.claims.items()
            if name in judged and claim.measure and claim.measure.table == table
        ]
