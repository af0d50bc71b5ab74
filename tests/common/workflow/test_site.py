"""Pieces of the static site; tests/pipeline/test_site.py builds and looks at whole ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT, Paper
from common.workflow.base.yaml_source import plain
from common.workflow.pages.site.build import check_replaceable, report_warnings
from common.workflow.pages.site.claims_page import claims_page
from common.workflow.pages.site.definition import definition
from common.workflow.pages.site.mathml import UNTRANSLATED, to_mathml
from common.workflow.pages.site.notebooks import cell_of, with_prose
from common.workflow.pages.site.provenance import commit_link, seeds_text
from common.workflow.pages.site.repository import https_form
from common.workflow.pages.site.results import Results
from common.workflow.pages.site.sources import shown_sources
from common.workflow.pages.site.stage import Stage
from common.workflow.pages.site.tables import excerpt, html_table

ADDRESS = "https://example.org/owner/repo"


@pytest.fixture(scope="module")
def results() -> Results:
    """Committed results."""
    return Results(Paper("mces_finite_sample"), "cpu", ADDRESS)


@pytest.fixture(scope="module")
def sections(results: Results) -> dict[str, str]:
    """The sections of its claims page, by claim."""
    parts = re.split(r"(?m)^## (\w+).*$", claims_page(results))[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def notebook(*codes: str) -> dict[str, Any]:
    cells = [{"cell_type": "code", "id": f"c{i}", "source": [code]} for i, code in enumerate(codes)]
    prose = {"cell_type": "markdown", "id": "prose", "source": ['save_table(x, "steps")']}
    return {"cells": [prose, *cells]}


def test_prose_is_todays_as_long_as_the_code_is() -> None:
    ran, polished, changed = notebook("x = 1"), notebook("x = 1"), notebook("x = 2")
    ran["cells"][1]["outputs"] = ["1"]
    for today in (polished, changed):
        today["cells"][0] = today["cells"][0] | {"source": ["Polished."]}
    shown = with_prose(ran, polished)
    assert shown["cells"] == [polished["cells"][0], ran["cells"][1]]
    assert with_prose(ran, changed) == ran


@pytest.mark.parametrize(
    ("codes", "cell"),
    [
        (["x = 1", 'save_table(x, "steps", keys=["a"])'], "cell-c1"),
        (["%time x\n!ls", '%matplotlib inline\nm.save_table(frame=x, name="steps")'], "cell-c1"),
        (['save_table(x, "other")'], None),
        (['save_table(x, "other")', "for n in names:\n    save_table(x, n)"], "cell-c1"),
        (["save_table(x, a)", "save_table(x, b)"], None),
        (['save_figure(x, "steps")', "no python at all"], None),
    ],
)
def test_the_cell_that_wrote_a_table_is_found(codes: list[str], cell: str | None) -> None:
    assert cell_of(notebook(*codes), "save_table", "steps") == cell


@pytest.mark.parametrize(
    "latex",
    [
        r"\tilde O(S A K^3 \log^3(1/\delta))",
        r"\max_{a \ne \pi(s)} \big(u(s, a) - l(s)\big)^+",
        r"\begin{align*} a &= b \\ c &= d \end{align*}",
    ],
)
def test_formulas_become_mathml(latex: str) -> None:
    assert str(to_mathml(latex, block=True)).startswith("<math")


@pytest.mark.parametrize("latex", [r"\unheardof{x}", r"\begin{tikzcd}\end{tikzcd}"])
def test_a_formula_out_of_reach_is_no_error(latex: str) -> None:
    assert to_mathml(latex) is None


def test_warnings_about_formulas_do_not_stop_a_build(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(Path("/stage"))
    stage.shows("a/index", ["a/README.md"])
    formula = f"this formula is shown as its source: x [{UNTRANSLATED}]"
    warning = f"/stage/a/index.md:1: WARNING: {formula}"
    report_warnings(warning, stage)
    assert f"a/README.md (/stage/a/index.md:1): WARNING: {formula}" in capsys.readouterr().err
    with pytest.raises(ClaimbookError) as caught:
        report_warnings(f"{warning}\n\x1b[91m/stage/a/index.md:2: ERROR: dead\x1b[0m", stage)
    assert str(caught.value).endswith("mistakes:\na/README.md (/stage/a/index.md:2): ERROR: dead")


def test_a_claim_leads_to_rows_cell_and_commit(results: Results, sections: dict[str, str]) -> None:
    page = "/papers/mces_finite_sample/cpu"
    section = sections["C2b"]
    assert f"](<{page}/tables/problems.md#c2b>)" in section
    assert f"](<{page}/01_policy_iteration.ipynb#cell-garnets>)" in section
    provenance = results.provenance(results.folder / "01_policy_iteration")
    assert f"{ADDRESS}/commit/{provenance['commit']})" in section
    assert provenance["command"] in section


def test_every_claim_has_its_section(results: Results, sections: dict[str, str]) -> None:
    assert results.verdicts is not None
    for name, claim in results.verdicts["claims"].items():
        assert claim["verdict"] in sections[name]
        assert " ".join(claim["statement"].split()) in sections[name]
        for entry in claim["history"]:
            assert " ".join(entry["reason"].split()) in sections[name]


def test_definitions_stand_alone_and_say_the_same(results: Results) -> None:
    whole = plain(results.claims_source.data["claims"])
    for name in whole:
        assert plain(YAML().load(definition(results, name))) == {name: whole[name]}


def test_comments_of_a_definition_are_kept(results: Results) -> None:
    assert "# required = 1 - δ - 0.02" in definition(results, "C1")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@example.org:owner/repo.git", ADDRESS),
        ("ssh://git@example.org:2222/owner/repo.git", ADDRESS),
        ("https://user:secret@example.org/owner/repo.git", ADDRESS),
        ("https://example.org:8443/owner/repo/", "https://example.org:8443/owner/repo"),
        ("/srv/git/repo.git", None),
        ("../repo", None),
        ("file:///srv/git/repo.git", None),
    ],
)
def test_addresses_are_those_for_a_browser(remote: str, address: str | None) -> None:
    assert https_form(remote) == address


def test_a_commit_without_repository_is_no_link() -> None:
    provenance = {"commit": "ab" * 20, "uncommitted_changes": True}
    assert commit_link(provenance, None) == f"`{'ab' * 20}`, with uncommitted changes"
    assert f"({ADDRESS}/commit/" in commit_link(provenance, ADDRESS)


def test_seeds_are_drawn_together() -> None:
    assert seeds_text([3, 1, 2, 7, 9, 8, 20]) == "1 to 3, 7 to 9, 20"
    assert seeds_text([]) == "none"


def test_an_excerpt_has_rows_of_every_group() -> None:
    groups = [pd.DataFrame({"g": name, "x": range(100)}) for name in ("a", "b", "<c>")]
    shown, rows = excerpt(groups, shown=30)
    assert rows == 300
    assert shown["g"].value_counts().to_dict() == {"a": 10, "b": 10, "<c>": 10}
    assert "&lt;c&gt;" in html_table(shown)
    assert len(excerpt([groups[0].head(1)] * 90, shown=30)[0]) == 30


def test_an_unchanged_source_is_not_written_again(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.page("a", "text", ["docs/a.md"])
    first.page("b", "text")
    first.clean()
    before = (tmp_path / "a.md").stat().st_mtime_ns
    second = Stage(tmp_path)
    second.page("a", "text", ["docs/a.md"])
    assert second.state() != first.state()
    second.clean()
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert not (tmp_path / "b.md").exists()
    assert second.targets == {"docs/a.md": "a"}
    assert second.bases == {"a": "docs"}


def test_folders_of_sources_list_what_they_hold() -> None:
    shown = shown_sources(["a/b/c.py", "a/d.py", "e.py"])
    assert shown == {"a/b/c.py": [], "a/d.py": [], "e.py": [], "a/b": ["c.py"], "a": ["b", "d.py"]}


def test_only_a_site_is_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "new")
    check_replaceable(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ClaimbookError, match="something else than a site"):
        check_replaceable(tmp_path)


def test_the_command_line_does_not_import_sphinx() -> None:
    code = "import sys, common.workflow.cli; assert not {'sphinx', 'docutils'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
