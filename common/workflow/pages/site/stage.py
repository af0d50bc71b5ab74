"""The folder of sources that Sphinx reads, written so that only what changed is read again."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Iterable
from pathlib import Path

from common.workflow.base.files import hash_file, sha256, to_json, write_text
from common.workflow.base.project import ROOT, relative


class Stage:
    """Sources of the site's pages.

    A page is called by its path in the site without suffix (Sphinx's "document name"). Links on
    pages of the repository are relative to where these lie there; `targets` says which page shows
    a path of the repository, `origins` which path a page shows, and `bases` from which folder its
    relative links start.

    Args:
        folder: where the sources go; files of earlier builds are kept when nothing changed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.targets: dict[str, str] = {}
        self.bases: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self._written: set[Path] = set()

    def page(self, name: str, text: str, shows: Iterable[str] = ()) -> None:
        """Add a Markdown page.

        Args:
            name: the page.
            text: its Markdown; links that begin with "/" start from the stage's root.
            shows: paths of the repository that are shown there; the first is where relative links
                start from.
        """
        self.write(f"{name}.md", text)
        self.shows(name, shows)

    def shows(self, name: str, paths: Iterable[str]) -> None:
        """Note that the page `name` (or `name#anchor`) shows these paths of the repository."""
        for path in paths:
            page = name.partition("#")[0]
            self.targets.setdefault(path, name)
            self.origins.setdefault(page, path)
            self.bases.setdefault(page, posixpath.dirname(path))

    def write(self, name: str, text: str) -> None:
        """Write one source, unless it is there already."""
        file = self.folder / name
        self._written.add(file)
        if not file.is_file() or file.read_text() != text:
            write_text(file, text)

    def copy(self, file: Path) -> str:
        """Copy a file of the repository to the same path; the link to it from any page."""
        copy = self.folder / relative(file)
        self._written.add(copy)
        if not copy.is_file() or copy.read_bytes() != file.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        return f"/{relative(file)}"

    def copy_images(self, folder: Path) -> None:
        """Copy the pictures below a folder of the repository, so that pages can show them."""
        for suffix in ("png", "svg", "jpg", "jpeg", "gif", "webp"):
            for file in sorted(folder.rglob(f"*.{suffix}")):
                if not any(part.startswith(("_", ".")) for part in file.relative_to(ROOT).parts):
                    self.copy(file)

    def state(self) -> str:
        """Hash of all sources."""
        return sha256(to_json({str(file): hash_file(file) for file in self._written}))

    def clean(self) -> None:
        """Delete what earlier builds left and this one did not write."""
        for file in self.folder.rglob("*"):
            if file.is_file() and file not in self._written:
                file.unlink()
