"""What one paper's notebooks wrote in one profile: notebooks, figures, tables, and how."""

from __future__ import annotations

from pathlib import Path

from common.workflow.base.project import relative
from common.workflow.pages.site.notebooks import download_links, source_of, stage_notebook
from common.workflow.pages.site.provenance import day, provenance_table
from common.workflow.pages.site.results import Results
from common.workflow.pages.site.stage import Stage
from common.workflow.pages.site.tables import stage_tables


def stage_results(stage: Stage, results: Results) -> None:
    """Add the pages of all results of one paper and profile."""
    for folder in results.folders:
        _stage_executed(stage, results, folder)
    stage_tables(stage, results)
    name, folder_path = f"{results.page}/results", relative(results.folder)
    stage.page(name, _page(stage, results), [f"{folder_path}/"])
    stage.shows(name, [folder_path, *(relative(folder) for folder in results.folders)])
    stage.shows(f"{name}#how-it-was-made", [f"{folder_path}/provenance"])


def _stage_executed(stage: Stage, results: Results, folder: Path) -> None:
    notebook = results.notebook(folder)
    if notebook is None:
        return
    source = source_of(notebook)
    files = {"executed notebook": notebook, "notebook": source}
    links = download_links(stage, {text: file for text, file in files.items() if file.is_file()})
    finished = results.provenance(folder)
    note = (
        f"Profile **{results.profile}**, run {day(finished) if finished else 'at an unknown date'} "
        f"([how](/{results.page}/results.md#{_anchor(folder)})). Download: {links}."
    )
    # Links in a notebook start from its source, beside the paper's page.
    stage_notebook(
        stage, f"{results.page}/{folder.name}", notebook, note, [relative(source)], source
    )


def _page(stage: Stage, results: Results) -> str:
    paper = results.paper
    parts = [
        f"# Results: {paper.slug} ({results.profile})",
        f"[The paper's page](/papers/{paper.slug}/index.md)"
        + (f" · [its claims](/{results.page}/claims.md)" if results.verdicts else ""),
        *_tables(results),
        *_figures(stage, results),
        "## How it was made",
    ]
    for folder in results.folders:
        parts += [f"### {folder.name}", provenance_table(results, folder)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(results: Results) -> list[str]:
    if not results.tables:
        return []
    lines = ["| table | written by | decides |", "|---|---|---|"]
    for name, files in results.tables.items():
        users = ", ".join(
            f"[{claim}]({results.claim_link(claim)})" for claim in results.users(name)
        )
        cells = "<br>".join(results.cell_link(at.parent, "save_table", name) for at in files)
        lines.append(f"| [{name}](<{results.table_link(name)}>) | {cells} | {users} |")
    pages = "\n".join(f"{name} <tables/{name}>" for name in results.tables)
    return ["## Tables", "\n".join(lines), f"```{{toctree}}\n:hidden:\n\n{pages}\n```"]


def _figures(stage: Stage, results: Results) -> list[str]:
    parts = []
    for file in [file for folder in results.folders for file in sorted(folder.glob("*.png"))]:
        cell = results.cell_link(file.parent, "save_figure", file.stem)
        parts.append(f"![{file.stem}](<{stage.copy(file)}>)\n\n*{file.stem}, drawn by {cell}*")
    return ["## Figures", *parts] if parts else []


def _anchor(folder: Path) -> str:
    from docutils.nodes import make_id

    return make_id(folder.name)
