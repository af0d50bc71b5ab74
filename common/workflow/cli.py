"""The command line. Every command is thin and imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from common.workflow.base.errors import ClaimbookError, told_plainly

app = typer.Typer(
    help="Re-run machine-learning papers and check their claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Profile = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time
    typer.Option(help="smoke, cpu or gpu; the default is `profile` in params.yaml."),
]
PaperName = Annotated[
    str, typer.Argument(help="A folder of papers/, for example mces_finite_sample.")
]
PaperOrAll = Annotated[str, typer.Argument(help="A folder of papers/, or `all`.")]


def main() -> None:
    """Run the command line; a `ClaimbookError` is a message and exit status 1."""
    from common.workflow.running.processes import die_with_pipeline

    with told_plainly():
        die_with_pipeline()
        app(_paired(sys.argv[1:]), prog_name="claimbook")


def _paired(words: list[str]) -> list[str]:
    """`--because FUNCTION REASON` as one word after the option: typer takes no pairs in lists."""
    if "--because" not in words[:-2]:
        return words
    place = words.index("--because") + 1
    pair = "=".join(words[place : place + 2])
    return [*words[:place], pair, *_paired(words[place + 2 :])]


def _profile(given: str | None) -> str:
    from common.workflow.base.parameters import current_profile
    from common.workflow.base.project import check_profile

    return check_profile(given) if given else current_profile()


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="papers/<slug>/<notebook>.ipynb")],
    profile: Profile = None,
    arm: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="NAME=VALUE of a matrix stage; may be given several times."),
    ] = None,
    time_limit: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Seconds for the whole notebook.", min=1),
    ] = None,
) -> None:
    """Run one notebook with its parameters and write its results."""
    from common.workflow.running.runner import run_notebook

    run_notebook(notebook, _profile(profile), dict(map(_arm, arm or [])), time_limit)


def _arm(text: str) -> tuple[str, str]:
    """Name and value of an arm. DVC makes a path of what stands in a matrix, so it is encoded."""
    from common.file_names import file_name, text_of

    name, equals, value = text.partition("=")
    if not equals:
        raise ClaimbookError(f"--arm {text}: write --arm NAME=VALUE.")
    if not value or value != file_name(text_of(value)):
        raise ClaimbookError(
            f"--arm {text}: a folder of results is called by this value, so write it as "
            f"`{file_name(value)}` in dvc.yaml; the notebook gets {value!r}. Nothing was run."
        )
    return name, text_of(value)


@app.command()
def closure(
    paper: PaperName,
    show: Annotated[
        bool, typer.Option("--show", help="Only print what is hashed, and what no hash sees.")
    ] = False,
) -> None:
    """Write the code hashes on which the paper's stages depend (a DVC stage calls this)."""
    from common.workflow.base.project import find_paper
    from common.workflow.freshness.closure import reached_modules, write_closure

    if not show:
        write_closure(find_paper(paper))
        return
    from common.workflow.freshness.unseen import unseen

    for notebook in find_paper(paper).notebooks:
        print(f"{notebook.stem}: {', '.join(reached_modules(notebook))}")
        for line in unseen(notebook):
            print(f"    not hashed: {line}")


@app.command()
def judge(paper: PaperName, profile: Profile = None) -> None:
    """Decide the paper's claims from its measurements and write verdicts.json."""
    from common.workflow.base.project import find_paper
    from common.workflow.claims.verdicts import judge_paper, verdict_lines

    for line in verdict_lines(judge_paper(find_paper(paper), _profile(profile))):
        print(line)


@app.command()
def explain(
    claim: Annotated[
        str, typer.Argument(help="A claim's full name, for example mces_finite_sample/C2.")
    ],
    profile: Profile = None,
) -> None:
    """Show how a claim was decided: the rows, the statistic, the interval, the sentence."""
    from common.workflow.claims.verdicts import explain_claim

    print(explain_claim(claim, _profile(profile)))


@app.command()
def status(
    paper: PaperOrAll = "all",
    profile: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="One profile; the default is every profile with results."),
    ] = None,
) -> None:
    """Say for every result whether it is up to date; exit status 1 when one is not."""
    from common.workflow.base.project import PROFILES, check_profile, chosen_papers
    from common.workflow.freshness.status import paper_status

    lines = [
        line
        for one in chosen_papers(paper)
        for name in ([check_profile(profile)] if profile else PROFILES)
        if profile or one.results(name).is_dir()
        for line in paper_status(one, name)
    ]
    for line in lines:
        note = f"  ({line.note})" if line.note else ""
        print(f"{line.paper:28} {line.profile:6} {line.stage:28} {line.state}{note}")
    if not all(line.fresh for line in lines):
        raise typer.Exit(1)


@app.command()
def vouch(
    paper: PaperOrAll = "all",
    dry: Annotated[bool, typer.Option(help="Say what would run and what it costs.")] = False,
    because: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar='FUNCTION "REASON"',
            help="Why a changed function measures the same where smoke cannot show it.",
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Repeat what the receipts there are say.")] = False,
    workers: Annotated[int, typer.Option(help="Notebooks at a time.", min=1)] = 2,
) -> None:
    """Keep results of profile cpu whose code changed without changing what it measures.

    Old and new code run in miniature; where every table is equal to the bit and every changed
    statement ran, a receipt says so. Exit status 1 when a result has to run again.
    """
    from common.workflow.base.project import chosen_papers
    from common.workflow.freshness.vouching.check import check_receipts
    from common.workflow.freshness.vouching.vouch import vouch as vouch_for
    from common.workflow.running.processes import stop_cleanly_on_sigterm

    stop_cleanly_on_sigterm()

    papers, reasons = chosen_papers(paper), [one.partition("=") for one in because or []]
    if bad := [name for name, _, reason in reasons if not reason.strip()]:
        raise ClaimbookError(f'--because {bad[0]}: write --because {bad[0]} "the reason".')
    good = (
        check_receipts(papers, workers)
        if check
        else vouch_for(papers, {name: reason for name, _, reason in reasons}, dry, workers)
    )
    if not good:
        raise typer.Exit(1)


@app.command()
def verify(paper: PaperOrAll = "all") -> None:
    """Hash every result and DVC's cache again and report what is not as it was written."""
    from common.workflow.base.project import chosen_papers
    from common.workflow.freshness.integrity import damage

    results, objects, problems = damage(chosen_papers(paper))
    for problem in problems:
        print(problem)
    print(f"{results} results and {objects} cached objects checked, {len(problems)} damaged.")
    if problems:
        print(
            "Delete what is named, then `dvc repro` the paper's dvc.yaml: DVC alone may not see it."
        )
        raise typer.Exit(1)


@app.command()
def scoreboard(
    check: Annotated[bool, typer.Option(help="Change nothing; exit 1 when out of date.")] = False,
) -> None:
    """Bring SCOREBOARD.md, the README's table and the papers' pages up to date."""
    from common.workflow.pages.scoreboard import update_pages

    changed = update_pages(write=not check)
    for path in changed:
        print(f"{path} {'is out of date: run ./claimbook scoreboard' if check else 'updated'}")
    if check and changed:
        raise typer.Exit(1)


@app.command()
def site(
    out: Annotated[Path, typer.Option(help="Folder that is replaced by the site.")] = Path("site"),
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Build the static site: scoreboard, papers, claims, measurements and notebooks."""
    from common.workflow.pages.site.build import build_site

    start = build_site(out)
    if show:
        typer.launch(str(start))


@app.command()
def reproduce(
    paper: PaperOrAll = "mces_finite_sample",
    profile: Profile = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Run notebooks side by side in this many processes."),
    ] = None,
    scheduler: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Run notebooks on a Dask scheduler's workers: address or file."),
    ] = None,
    shared: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder that all workers see; with --scheduler the default is here."),
    ] = None,
) -> None:
    """Re-run a paper from nothing in a clone of its own and compare with what is committed."""
    from common.workflow.base.project import chosen_papers
    from common.workflow.reproducing.cluster.connect import chosen_workers
    from common.workflow.reproducing.reproduce import reproduce_papers

    on = chosen_workers(workers, scheduler, shared)
    if not reproduce_papers(chosen_papers(paper), _profile(profile), on):
        raise typer.Exit(1)


@app.command()
def normalise(
    notebooks: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Notebooks; the default is all of the project's."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Change nothing; exit 1 when one is not normal.")
    ] = False,
) -> None:
    """Bring notebooks to the form that is committed: no outputs, stable ids."""
    from common.workflow.running.notebook_form import is_normal, normalise, source_notebooks

    changed, broken = [], []
    for path in notebooks or source_notebooks():
        try:
            changed += [path] if (not is_normal(path) if check else normalise(path)) else []
        except ClaimbookError as error:
            broken.append(str(error))
    for path in changed:
        print(f"{path} {'is not in normal form' if check else 'normalised'}")
    if broken:
        raise ClaimbookError("\n".join(broken))
    if check and changed:
        raise typer.Exit(1)


@app.command("new-paper")
def new_paper(
    slug: Annotated[str, typer.Argument(help="The new folder's name, in snake_case.")],
) -> None:
    """Make papers/<slug>/ as a working skeleton that passes the tests as it comes."""
    from common.workflow.pages.scoreboard import update_pages
    from common.workflow.scaffold import make_paper

    for path in [*make_paper(slug), *update_pages()]:
        print(path)
    print(f"Next: dvc repro papers/{slug}/dvc.yaml, then edit the notebook and claims.yaml.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab with the project's settings; other arguments go to JupyterLab."""
    from common.workflow.lab import start_lab

    start_lab(context.args)


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(help="One benchmark; the default is all.")] = None,
) -> None:
    """Run the benchmarks of benchmarks/, one after another."""
    from common.workflow.bench import run_benchmarks

    run_benchmarks(name)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def warm(context: typer.Context) -> None:
    """Run a command, for example `dvc repro -R papers`, with libraries imported only once.

    Every notebook that the command runs starts as a fork of a process that has imported all
    third-party libraries of the papers. Measurements are the same.
    """
    from common.workflow.running.warm import run_warm

    raise typer.Exit(run_warm(context.args))


if __name__ == "__main__":
    main()
