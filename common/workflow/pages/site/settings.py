"""Sphinx's settings for the site."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from common.workflow.base.files import hash_tree, sha256, to_json
from common.workflow.pages.site.mathml import RENDERER
from common.workflow.pages.site.stage import Stage

HERE = Path(__file__).parent


def settings(stage: Stage, sources: list[str]) -> dict[str, Any]:
    """The settings.

    Args:
        stage: the sources of the pages.
        sources: paths of the repository's files that links may lead to.
    """
    package = "common.workflow.pages.site"
    return {
        "project": "Claimbook",
        "extensions": [
            "myst_nb",
            f"{package}.mathml",
            f"{package}.extension",
            f"{package}.sources",
        ],
        "exclude_patterns": ["downloads"],
        "language": "en",
        "smartquotes": False,
        "suppress_warnings": ["myst.header", "misc.highlighting_failure"],
        "claimbook_targets": stage.targets,
        "claimbook_bases": stage.bases,
        "claimbook_sources": sources,
        "claimbook_code": _code(),
        **_markdown(),
        **_html(),
    }


def _markdown() -> dict[str, Any]:
    return {
        "myst_enable_extensions": [
            "amsmath",
            "attrs_inline",
            "colon_fence",
            "dollarmath",
            "html_image",
        ],
        "myst_heading_anchors": 4,
        "nb_execution_mode": "off",
        "nb_render_markdown_format": "myst",  # formulas that a notebook displays, too
        "nb_merge_streams": True,
        "nb_ipywidgets_js": {},  # the default loads scripts from elsewhere
    }


def _html() -> dict[str, Any]:
    return {
        "html_theme": "furo",
        "html_title": "Claimbook",
        "html_static_path": [str(HERE / "static")],
        "html_css_files": ["site.css"],
        "html_math_renderer": RENDERER,
        "html_copy_source": False,
        "html_use_index": False,
        "html_show_copyright": False,
        "html_show_search_summary": False,  # would fetch pages, which file:// forbids
    }


def layout(stage: Stage, sources: list[str]) -> str:
    """Hash of what every page depends on besides its own text: the list of pages, this code."""
    return sha256(to_json([_code(), stage.targets, stage.bases, sources]))


def _code() -> str:
    """Hash of this package and of the libraries' versions."""
    libraries = ("docutils", "furo", "myst-nb", "myst-parser", "sphinx")
    files = {name: of for name, of in hash_tree(HERE).items() if not name.endswith(".pyc")}
    return sha256(to_json([files, {name: metadata.version(name) for name in libraries}]))
