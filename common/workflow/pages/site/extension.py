"""What the site adds to Sphinx: links as in the repository, and anchors at cells."""

from __future__ import annotations

import posixpath
from typing import Any, cast

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.transforms.post_transforms import SphinxPostTransform

from common.workflow.pages.site.notebooks import ANCHOR
from common.workflow.pages.site.sources import source_page


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    # A change of these empties the output folder: nothing has to be rebuilt besides.
    app.add_config_value("claimbook_targets", {}, "", dict)
    app.add_config_value("claimbook_bases", {}, "", dict)
    app.add_config_value("claimbook_code", "", "env", str)
    app.add_post_transform(RepositoryLinks)
    app.connect("doctree-read", _anchor_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class RepositoryLinks(SphinxPostTransform):
    """Links to a path of the repository lead to the page that shows it.

    Runs before MyST's own resolver (9), which then checks anchors and reports what is left.
    """

    default_priority = 8

    def run(self, **options: Any) -> None:
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node["reftype"] == "myst" and node["refdomain"] is None:
                self._resolve(node)

    def _resolve(self, node: addnodes.pending_xref) -> None:
        path, _, anchor = node["reftarget"].partition("#")
        base = self.config.claimbook_bases.get(self.env.docname, "")
        path = posixpath.normpath(posixpath.join("/", base, path)).lstrip("/")
        if page := self.config.claimbook_targets.get(path):
            name, _, own_anchor = page.partition("#")
            node["refdomain"], node["reftarget"] = "doc", name
            node["reftargetid"] = anchor or own_anchor or None
        elif page := source_page(self.app, path):
            target = self.app.builder.get_relative_uri(self.env.docname, page)
            link = nodes.reference("", "", internal=True, refuri=target)
            link += [child.deepcopy() for child in node.children]
            node.replace_self(link)


def _anchor_cells(app: Sphinx, document: nodes.document) -> None:
    """Give every code cell the id that its staged metadata asks for, and its pictures a text."""
    domain = cast(StandardDomain, app.env.get_domain("std"))
    page = app.env.docname
    for cell in document.findall(nodes.container):
        anchor = cell.get("cell_metadata", {}).get(ANCHOR)
        if anchor:
            cell["ids"].append(anchor)
            domain.anonlabels[f"{page}#{anchor}"] = (page, anchor)
            for picture in cell.findall(nodes.image):
                picture.setdefault("alt", f"output of {anchor}")
