"""Formulas as MathML, which browsers draw without any script."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

RENDERER = "mathml"
UNTRANSLATED = "claimbook.math"
"""Type of the warning for a formula that is shown as its source."""

_LONG = 60
_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer with Sphinx; choose it with `html_math_renderer`."""
    app.add_html_math_renderer(RENDERER, (_inline, _nothing), (_block, _nothing))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def to_mathml(latex: str, block: bool = False) -> str | None:
    """The formula as MathML; None when docutils cannot translate it."""
    try:
        return str(tex2mathml(_known(latex), as_block=block))
    except Exception:  # besides MathError, odd input ends in all kinds of errors
        return None


def _known(latex: str) -> str:
    r"""The formula in what docutils knows: `align` as `aligned`, `\big` as `\bigl`."""
    latex = re.sub(r"\\(begin|end)\{(align|gather|split)\*?\}", r"\\\1{aligned}", latex.strip())
    latex = re.sub(r"\\(begin|end)\{equation\*?\}", "", latex)
    return re.sub(r"\\([bB]igg?)(?![A-Za-z])", r"\\\1l", latex)


def _inline(self: Any, node: nodes.math) -> None:
    latex = node.astext()
    long = " long" if len(latex) > _LONG else ""
    self.body.append(self.starttag(node, "span", "", CLASS=f"math{long}"))
    self.body.append(to_mathml(latex) or _as_source(self, node, latex))
    self.body.append("</span>")
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    latex = node.astext()
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node.get("number"):
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append(to_mathml(latex, block=True) or _as_source(self, node, latex))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def _as_source(self: Any, node: nodes.Element, latex: str) -> str:
    kind, _, subtype = UNTRANSLATED.partition(".")
    _log.warning(
        "this formula is shown as its source: %s", latex, type=kind, subtype=subtype, location=node
    )
    return f"<code>{self.encode(latex)}</code>"


def _nothing(self: Any, node: nodes.Element) -> None:
    """The visit has written everything."""
