"""Word problems of all levels as JSON Lines: `python -m papers.gsm_ranges.generate --help`."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.tasks.gsm8k import FILES, find_gsm8k, load_gsm8k, read_jsonl
from common.tasks.templates_from_solutions import Rejected, templates_from_items
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import LEVELS, Template, generate
from common.workflow.base.errors import ClaimbookError, told_plainly
from common.workflow.base.files import hash_file, sha256, to_json, write_text

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

GSM8K = "gsm8k:"


@app.command()
def write(
    output: Annotated[
        Path | None,
        typer.Argument(help="The JSONL file to write; not needed with --list-rejected."),
    ] = None,
    templates: Annotated[
        str,
        typer.Option(
            help="builtin, gsm8k:train, gsm8k:test, or a JSONL file with the fields question and "
            "answer, solutions annotated as in GSM8K."
        ),
    ] = "builtin",
    levels: Annotated[str, typer.Option(help="Levels from 0 to 6, with commas.")] = "0,1,2,3,4,5,6",
    sets: Annotated[
        int, typer.Option(min=1, help="Problems of each template and level; one at level 0.")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    separators: Annotated[bool, typer.Option(help="Write 1,000 instead of 1000.")] = False,
    trailing_zeros: Annotated[
        bool, typer.Option(help="From level 2: values of level 1 times the multiplier.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    list_rejected: Annotated[
        bool, typer.Option(help="Only list the items that become no template, with reasons.")
    ] = False,
) -> None:
    """Draw word problems whose numbers grow level by level, each with its worked solution.

    One line per problem: question, answer (the solution, last line "#### N"), value (N), template,
    level, set, values (the number in each slot) and steps. Beside the file, a .provenance.json
    says how it was made.
    """
    with told_plainly():
        chosen, rejected, source = load_templates(templates)
        if list_rejected:
            _list(rejected, chosen, source)
            return
        if output is None:
            raise ClaimbookError("OUTPUT is missing: the JSONL file to write")
        if not chosen:
            raise ClaimbookError(f"{templates}: no item becomes a template; try --list-rejected")
        provenance = output.with_name(f"{output.name}.provenance.json")
        _refuse_existing([output, provenance], force)
        settings = {
            "levels": read_levels(levels),
            "sets": sets,
            "seed": seed,
            "separators": separators,
            "trailing_zeros": trailing_zeros,
        }
        rows = list(draw(chosen, **settings))  # type: ignore[arg-type]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        _write(output, content)
        made_by = {
            "templates": templates,
            "templates_sha256": templates_hash(chosen),
            "templates_count": len(chosen),
            "items_rejected": len(rejected),
            "source": source,
            "problems": len(rows),
            "sha256": sha256(content),
            "versions": versions(),
        }
        _write(provenance, to_json(settings | made_by))
        typer.echo(f"{output}: {len(rows)} problems of {len(chosen)} templates", err=True)


def _list(
    rejected: list[Rejected], chosen: Mapping[str, Template], source: dict[str, str] | None
) -> None:
    if source is None:
        raise ClaimbookError("--list-rejected needs --templates with a file")
    for line in rejected_lines(rejected):
        typer.echo(line)
    typer.echo(f"{len(rejected)} items rejected, {len(chosen)} templates", err=True)


def _refuse_existing(files: Iterable[Path], force: bool) -> None:
    for file in files:
        if file.exists() and not force:
            raise ClaimbookError(f"{file} exists; --force replaces it")


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ClaimbookError(f"{path}: cannot be written ({error.strerror})") from None


def load_templates(
    name: str,
) -> tuple[Mapping[str, Template], list[Rejected], dict[str, str] | None]:
    """Templates by name, rejected items, and the file they come from with its SHA-256.

    Raises:
        ClaimbookError: the file is missing or has a bad line.
    """
    if name == "builtin":
        return TEMPLATES, [], None
    try:
        if name.startswith(GSM8K):
            split = name.removeprefix(GSM8K)
            if split not in ("train", "test"):
                raise ClaimbookError(f"--templates: gsm8k:train or gsm8k:test, got {name}")
            items, file, prefix = load_gsm8k(split), find_gsm8k(FILES[split][0]), f"gsm8k-{split}"
        else:
            items, file, prefix = read_jsonl(name), Path(name), Path(name).stem
    except FileNotFoundError as error:
        raise ClaimbookError(str(error)) from None
    except OSError as error:
        raise ClaimbookError(f"{name}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ClaimbookError(str(error)) from None
    templates, rejected = templates_from_items(items, prefix)
    return templates, rejected, {"file": file.name, "sha256": hash_file(file)}


def rejected_lines(rejected: Iterable[Rejected]) -> list[str]:
    """One line per item: its number from 1, the reason and what decided it, between tabs."""
    fields = (
        (item.index + 1, item.reason.name, item.reason.value, item.detail) for item in rejected
    )
    return ["\t".join(" ".join(str(field).split()) for field in row) for row in fields]


def read_levels(text: str) -> list[int]:
    """The levels in "0,1,6", each once, in ascending order.

    Raises:
        ClaimbookError: one of them is no level.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]", part) and int(part) in LEVELS for part in parts):
        raise ClaimbookError(f"--levels: numbers from 0 to 6 with commas, got {text!r}")
    return sorted(set(map(int, parts)))


def draw(
    templates: Mapping[str, Template],
    levels: Iterable[int],
    sets: int,
    seed: int,
    **options: bool,
) -> Iterable[dict[str, Any]]:
    """The lines of the file; level 0 has one set, because it has no other."""
    for level in levels:
        problems = generate(templates, level, sets if level else 1, seed, **options)
        for index, problem in enumerate(problems):
            yield {
                "question": problem.question,
                "answer": problem.solution,
                "value": problem.answer,
                "template": problem.template,
                "level": level,
                "set": index // len(templates),
                "values": dict(problem.values),
                "steps": list(problem.steps),
            }


def templates_hash(templates: Mapping[str, Template]) -> str:
    """SHA-256 of all that decides what the templates draw."""
    return sha256("\n".join(repr(templates[name]) for name in sorted(templates)))


def versions() -> dict[str, str]:
    """The versions on which the numbers depend."""
    import numpy as np

    return {"python": platform.python_version(), "numpy": np.__version__}


if __name__ == "__main__":
    app(prog_name="python -m papers.gsm_ranges.generate")
