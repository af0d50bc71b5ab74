"""Build the static site: write Sphinx's sources, run Sphinx, put the result in its place."""

from __future__ import annotations

import io
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import folder_lock, replace_folder, sha256, to_json, write_text
from common.workflow.base.project import ROOT, relative

if TYPE_CHECKING:
    from common.workflow.pages.site.stage import Stage

CACHE = ROOT / ".cache" / "site"
"""Sources and Sphinx's cache: an unchanged page is not built again."""

SITE = ROOT / "site"

MARK = ".claimbook-site"
"""In a built site: hash of what it was built from."""


def build_site(target: Path = SITE) -> Path:
    """Build all pages into the folder `target`; its start page.

    The folder is replaced as a whole when the build has succeeded.

    Raises:
        ClaimbookError: the folder holds something else, another build is running, or a page has a
            mistake (a dead link, a missing picture); the earlier site stays.
    """
    from common.workflow.pages.site.pages import stage_pages
    from common.workflow.pages.site.repository import repository_files, repository_url
    from common.workflow.pages.site.stage import Stage

    started = time.monotonic()
    target = target.resolve()
    check_replaceable(target)
    with folder_lock(CACHE, CACHE.parent / "locks"):
        stage = Stage(CACHE / "source")
        stage_pages(stage, repository_url(), _say)
        stage.clean()
        sources = [name for name in repository_files() if "/results/" not in name]
        state = _state(stage, sources)
        if _mark(target) == state:
            _say(f"{relative(target)}/index.html is up to date")
            return target / "index.html"
        _run_sphinx(stage, sources)
        _publish(target, state)
    _say(f"done in {time.monotonic() - started:.0f} s -> {relative(target)}/index.html")
    return target / "index.html"


def check_replaceable(target: Path) -> None:
    """Refuse to replace what is no site.

    Raises:
        ClaimbookError: `target` is a file, or a folder that holds something else.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and _mark(target) is None):
        raise ClaimbookError(
            f"{relative(target)} holds something else than a site, and would be replaced: name a "
            "new or an empty folder."
        )


def _mark(target: Path) -> str | None:
    file = target / MARK
    return file.read_text() if file.is_file() else None


def _state(stage: Stage, sources: list[str]) -> str:
    """Hash of all that the site is built from."""
    from common.workflow.pages.site.settings import layout

    times = [(ROOT / name).stat().st_mtime_ns for name in sources]
    return sha256(to_json([layout(stage, sources), stage.state(), times]))


def _run_sphinx(stage: Stage, sources: list[str]) -> None:
    """Bring `CACHE/html` up to date."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    from common.workflow.pages.site.settings import layout, settings

    _start_anew_when_changed(layout(stage, sources))
    warnings = io.StringIO()
    _say("building the pages that changed; all of them take half a minute")
    try:
        app = Sphinx(
            srcdir=stage.folder,
            confdir=None,
            outdir=CACHE / "html",
            doctreedir=CACHE / "doctrees",
            buildername="html",
            confoverrides=settings(stage, sources),
            # Its progress is made of lines that overwrite one another.
            status=sys.stderr if sys.stderr.isatty() else None,
            warning=warnings,
        )
        # Sphinx would name the cache as the place of the pages.
        app.builder.epilog = ""  # type: ignore[misc]
        app.build()
    except SphinxError as error:
        raise ClaimbookError(f"the site could not be built: {error}") from None
    report_warnings(warnings.getvalue(), stage)


def _start_anew_when_changed(layout: str) -> None:
    """Empty the output folder when pages came or went: Sphinx deletes none."""
    file = CACHE / "layout"
    if not file.is_file() or file.read_text() != layout:
        shutil.rmtree(CACHE / "html", ignore_errors=True)
        write_text(file, layout)


def report_warnings(warnings: str, stage: Stage) -> None:
    """Show Sphinx's warnings about formulas.

    Args:
        warnings: what Sphinx said.
        stage: sources of the pages; messages name the files that they were made from.

    Raises:
        ClaimbookError: there are others.
    """
    from common.workflow.pages.site.mathml import UNTRANSLATED

    plain = re.sub("\x1b\\[[0-9;]*m", "", warnings).strip()
    lines = [_at_origin(line, stage) for line in plain.splitlines()]
    serious = [line for line in lines if f"[{UNTRANSLATED}]" not in line]
    for line in lines:
        if line not in serious:
            _say(line)
    if serious:
        # A page that is not read again would not be reported again.
        shutil.rmtree(CACHE / "doctrees", ignore_errors=True)
        raise ClaimbookError("pages of the site have mistakes:\n" + "\n".join(serious))


def _at_origin(line: str, stage: Stage) -> str:
    """The warning with the repository's file before the line of the source made from it."""
    place, colon, rest = line.partition(": ")
    if not place.startswith(f"{stage.folder}/"):
        return line
    file = place.partition(":")[0]
    page = Path(file).relative_to(stage.folder).with_suffix("").as_posix()
    origin = stage.origins.get(page)
    return f"{origin} ({relative(Path(place))}){colon}{rest}" if origin else line


def _publish(target: Path, state: str) -> None:
    new = target.with_name(f".{target.name}.new")
    for left_by_a_killed_build in (new, new.with_name(f"{new.name}.old")):
        shutil.rmtree(left_by_a_killed_build, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(CACHE / "html", new, ignore=shutil.ignore_patterns("_sources", ".buildinfo*"))
    (new / MARK).write_text(state)
    replace_folder(new, target)


def _say(text: str) -> None:
    print(f"site: {text}", file=sys.stderr, flush=True)
