"""A page for every table of measurements, with the rows that decide each claim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import relative
from common.workflow.pages.site.results import Results
from common.workflow.pages.site.stage import Stage

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 30


def stage_tables(stage: Stage, results: Results) -> None:
    """Add a page for every table of one paper and profile."""
    for name, files in results.tables.items():
        page = f"{results.page}/tables/{name}"
        stage.page(page, _page(stage, results, name), [relative(file) for file in files])


def _page(stage: Stage, results: Results, name: str) -> str:
    files = results.tables[name]
    downloads = [f"[{_file_name(file)}](<path:{stage.copy(file)}>)" for file in files]
    cells = [results.cell_link(file.parent, "save_table", name) for file in files]
    users = results.users(name)
    parts = [
        f"# Table {name}: {results.paper.slug} ({results.profile})",
        f"Written by {', '.join(cells)}. Download: {', '.join(downloads)}.",
        _shape(results, name),
        "" if users else "No claim is decided from it.",
    ]
    for claim in users:
        parts += [f"## {claim}", _rows(results, claim)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _file_name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _shape(results: Results, name: str) -> str:
    import pandas as pd

    files = results.tables[name]
    reader = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    frames = [reader[file.suffix](file) for file in files]  # type: ignore[operator]
    written = results.inputs(files[0].parent).get("tables", {}).get(name, {})
    keys = ", ".join(f"`{key}`" for key in written.get("keys", []))
    columns = ", ".join(f"`{column}`" for column in frames[0].columns)
    told = f"; observations are told apart by {keys}" if keys else ""
    rows = sum(len(frame) for frame in frames)
    return f"{rows:,} rows of {frames[0].shape[1]} columns: {columns}{told}."


def _rows(results: Results, claim: str) -> str:
    from common.workflow.claims.selection import select_rows

    definition = results.claims.claim(claim)
    assert definition.measure is not None
    try:
        found = select_rows(results.claims, claim, results.folder.parent, results.profile)
    except ClaimbookError as error:
        return f"The rows cannot be told: {error}"
    where = "".join(f", `{key} = {value}`" for key, value in definition.measure.where.items())
    frame, total = excerpt([group for _, group in found.groups])
    count = f"{total:,} rows" if total == len(frame) else f"{len(frame)} of {total:,} rows"
    back = f"[{results.paper.slug}/{claim}](<{results.claim_link(claim)}>)"
    return (
        f"{back} is decided from {total:,} rows{where}, metric `{definition.measure.metric}`. "
        f"Here are {count}.\n\n{html_table(frame)}"
    )


def excerpt(groups: list[pd.DataFrame], shown: int = SHOWN_ROWS) -> tuple[pd.DataFrame, int]:
    """The first rows of every group, about `shown` in all, and how many rows there are."""
    import pandas as pd

    each = max(1, shown // len(groups))
    first = pd.concat([group.head(each) for group in groups[:shown]])
    return first, sum(len(group) for group in groups)


def html_table(frame: pd.DataFrame) -> str:
    """The rows as HTML that scrolls inside itself."""
    table = frame.to_html(
        index=False,
        border=0,
        na_rep="",
        classes="docutils dataframe",
        justify="left",
        float_format="{:.6g}".format,
    )
    return f'<div class="table-wrapper">\n{table}\n</div>'
