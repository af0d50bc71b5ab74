"""Pages for files of the repository that are nothing but source, and for folders."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from common.workflow.base.project import ROOT

SOURCES = "source"
"""Where in the site they lie."""

_LARGEST = 300_000
_LEXERS = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pages with Sphinx."""
    app.add_config_value("claimbook_sources", [], "", list)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def source_page(app: Sphinx, path: str) -> str | None:
    """The page that shows the source of a file or what a folder holds, if there is one."""
    is_shown = path in shown_sources(app.config.claimbook_sources)
    return f"{SOURCES}/{path}" if is_shown else None


def shown_sources(files: list[str]) -> dict[str, list[str]]:
    """What has a page of source: files (with nothing) and folders (with what they hold)."""
    shown: dict[str, list[str]] = {name: [] for name in files}
    for name in files:
        while name:
            above, _, last = name.rpartition("/")
            if not above or last in shown.setdefault(above, []):
                break
            shown[above].append(last)
            name = above
    return shown


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for path, entries in shown_sources(app.config.claimbook_sources).items():
        if _is_up_to_date(app, f"{SOURCES}/{path}", ROOT / path):
            continue
        body = _folder(app, path, entries) if entries else _file(app, ROOT / path)
        context = {"title": path, "body": f"<h1><code>{escape(path)}</code></h1>{body}"}
        yield f"{SOURCES}/{path}", context, "page.html"


def _is_up_to_date(app: Sphinx, page: str, shown: Path) -> bool:
    """Whether the page was written after the file was."""
    written = Path(app.outdir) / f"{page}.html"
    if not written.is_file():
        return False
    return shown.is_dir() or written.stat().st_mtime > shown.stat().st_mtime


def _folder(app: Sphinx, path: str, entries: list[str]) -> str:
    items = []
    for entry in sorted(entries):
        below = f"{path}/{entry}"
        # A notebook or a guide is better read on its own page.
        better = app.config.claimbook_targets.get(below) if (ROOT / below).is_file() else None
        link = app.builder.get_relative_uri(f"{SOURCES}/{path}", better or f"{SOURCES}/{below}")
        items.append(f'<li><a href="{escape(link)}">{escape(entry)}</a></li>')
    return f"<ul>{''.join(items)}</ul>"


def _file(app: Sphinx, file: Path) -> str:
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return "<p>Not text.</p>"
    if len(text) > _LARGEST:
        return f"<p>{len(text):,} characters: too long to be shown.</p>"
    highlighter = app.builder.highlighter  # type: ignore[attr-defined]
    return str(highlighter.highlight_block(text, _LEXERS.get(file.suffix, "none")))
