"""What the tests of the site ask of a built one."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors and links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        self.links += [(tag, value) for name in ("href", "src") if (value := values.get(name))]


def problems(site: Path) -> list[str]:
    """Dead links, dead anchors, and whatever would be loaded from elsewhere."""
    pages = {file: Page(file.read_text()) for file in site.rglob("*.html")}
    found = [
        f"{file.relative_to(site)}: {problem} {link}"
        for file, page in pages.items()
        for tag, link in page.links
        if (problem := _problem(pages, file, tag, link))
    ]
    for file in site.rglob("*.css"):
        loaded = re.findall(
            r"(?:@import\s+|url\(\s*)[\"']?((?:https?:)?//[^\"')]+)", file.read_text()
        )
        found += [f"{file.relative_to(site)}: loads {link}" for link in loaded]
    return found


def _problem(pages: dict[Path, Page], file: Path, tag: str, link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "" if tag == "a" else "loads"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not target.is_file():
        return "dead link"
    if parts.fragment and target in pages:
        return "" if unquote(parts.fragment) in pages[target].anchors else "dead anchor"
    return ""
