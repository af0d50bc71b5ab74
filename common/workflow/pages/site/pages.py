"""Which pages the site has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import COMMITTED_PROFILES, ROOT, Paper, all_papers, relative
from common.workflow.claims.schema import load_claims
from common.workflow.pages.scoreboard import LEGEND, claims_block, summary_table, title, with_block
from common.workflow.pages.site.claims_page import stage_claims
from common.workflow.pages.site.notebooks import download_links, stage_notebook
from common.workflow.pages.site.results import Results
from common.workflow.pages.site.results_page import stage_results
from common.workflow.pages.site.stage import Stage

Say = Callable[[str], None]

NOT_JUDGED = "*Not judged.*"


def stage_pages(stage: Stage, repository: str | None, say: Say) -> None:
    """Write the sources of all pages.

    Args:
        stage: where to.
        repository: address of the repository, if it has one.
        say: told what is being done, and what could not be.
    """
    papers = all_papers()
    blocks: dict[Paper, str] = {}
    for paper in papers:
        say(f"pages of {paper.slug}")
        blocks[paper] = _claims(paper, say)
        _stage_paper(stage, paper, blocks[paper], repository)
    judged = [paper for paper in papers if blocks[paper] != NOT_JUDGED]
    across, guides = sorted((ROOT / "notebooks").glob("*.ipynb")), _guides()
    for file in across:
        _stage_not_executed(stage, _name(file), file)
    for file in guides:
        stage.page(_name(file), file.read_text(), [relative(file)])
    stage.copy_images(ROOT / "docs")
    summary = summary_table(judged)
    stage.page("scoreboard", _scoreboard(summary, blocks, judged), ["SCOREBOARD.md"])
    contents = [
        _toctree("", ["Scoreboard <scoreboard>"]),
        _toctree("Papers", [f"papers/{paper.slug}/index" for paper in papers]),
        _toctree("Across papers", [f"Notebook: {file.stem} <{_name(file)}>" for file in across]),
        _toctree("Guides", [_name(file) for file in guides]),
    ]
    home = with_block(ROOT / "README.md", summary)
    stage.page("index", "\n\n".join([home, *contents]) + "\n", ["README.md"])


def _claims(paper: Paper, say: Say) -> str:
    """The paper's claims with verdicts that link to their sections."""
    try:
        load_claims(paper.claims_file)
    except ClaimbookError as error:
        say(f"warning: {paper.slug} is shown as not judged: {error}")
        return NOT_JUDGED
    # From "/": the block stands on two pages.
    block = claims_block(paper, f"/papers/{paper.slug}/", _verdict_link)
    return f"::::{{container}} claims\n{block}\n::::"


def _verdict_link(paper: Paper, profile: str, claim: str) -> str:
    return Results(paper, profile).claim_link(claim)


def _scoreboard(summary: str, blocks: dict[Paper, str], judged: list[Paper]) -> str:
    parts = ["# Scoreboard", summary, LEGEND]
    for paper, block in blocks.items():
        name = title(paper) if paper in judged else paper.slug
        parts += [f"## [{name}](papers/{paper.slug}/README.md)", block]
    return "\n\n".join(parts) + "\n"


def _stage_paper(stage: Stage, paper: Paper, block: str, repository: str | None) -> None:
    entries = []
    for profile in COMMITTED_PROFILES if block != NOT_JUDGED else ():
        entries += _stage_profile(stage, Results(paper, profile, repository))
    for file in paper.notebooks:
        if relative(file) not in stage.targets:
            _stage_not_executed(stage, f"papers/{paper.slug}/{file.stem}", file)
            entries.append(file.stem)
    stage.copy_images(paper.folder)
    text = f"# {paper.slug}\n\n{block}"
    if paper.page.is_file():
        text = with_block(paper.page, block)
    page = f"papers/{paper.slug}/index"
    stage.page(page, f"{text}\n\n{_toctree('', entries)}\n", [relative(paper.page)])
    stage.shows(page, [relative(paper.folder)])


def _stage_profile(stage: Stage, results: Results) -> list[str]:
    """Add the pages of one profile; what the navigation says of them."""
    profile, entries = results.profile, []
    if results.verdicts:
        stage_claims(stage, results)
        entries.append(f"Claims ({profile}) <{profile}/claims>")
    if results.folders:
        stage_results(stage, results)
        entries.append(f"Results ({profile}) <{profile}/results>")
        entries += [f"{profile}/{at.name}" for at in results.folders if results.notebook(at)]
    return entries


def _stage_not_executed(stage: Stage, name: str, file: Path) -> None:
    note = f"Not executed. Download: {download_links(stage, {'notebook': file})}."
    stage_notebook(stage, name, file, note, [])


def _guides() -> list[Path]:
    docs = sorted((ROOT / "docs").glob("*.md"))
    files = [*docs, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]
    return [file for file in files if file.is_file()]


def _name(file: Path) -> str:
    """A page is called as its file."""
    return relative(file).rpartition(".")[0]


def _toctree(caption: str, entries: list[str]) -> str:
    """What the navigation beside the text shows."""
    if not entries:
        return ""
    options = f":caption: {caption}\n:hidden:" if caption else ":hidden:"
    return "\n".join(["```{toctree}", options, "", *entries, "```"])
