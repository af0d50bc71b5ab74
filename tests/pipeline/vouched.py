"""A paper of many small notebooks, each with a module that one kind of change is planted in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import yaml

from tests.conftest import Tree

PAPER = "papers/toy"
PIPELINE = f"{PAPER}/dvc.yaml"


@dataclass(frozen=True)
class Case:
    """One notebook: `measure(size)` of its module, with size 3 in smoke and 60 at cpu.

    Attributes:
        old: the module before.
        new: after the change; None where it moved to `there`.
        says: what is said of the result then.
        there: name of the module after the change, if another.
        cell: the cell that measures.
    """

    old: str
    new: str
    says: str
    there: str = ""
    cell: str = "frame = pd.DataFrame(measure(size))"
    more: dict[str, str] = field(default_factory=dict)


def module(body: str, head: str = "") -> str:
    return f"{head}\n\ndef measure(size):\n{body}"


PLAIN = module('    rows = [{"i": i, "x": 0.1 * i} for i in range(size)]\n    return rows\n')


def write_cases(tree: Tree, cases: dict[str, Case]) -> None:
    """Add the notebooks, modules, stages and parameters of `cases` to the paper `toy`."""
    template = json.loads((tree.root / PAPER / "01_measure.ipynb").read_text())
    pipeline = yaml.safe_load((tree.root / PIPELINE).read_text())
    params = yaml.safe_load((tree.root / PAPER / "params.yaml").read_text())
    for number, (name, case) in enumerate(cases.items(), start=2):
        stem = f"{number:02d}_{name}"
        write_case(tree, template, stem, name, case)
        stage = {
            "wdir": "../..",
            "cmd": f"./claimbook run {PAPER}/{stem}.ipynb --profile ${{profile}}",
            "params": [
                {f"{PAPER}/closure.json": [stem]},
                {f"{PAPER}/params.yaml": [f"${{profile}}.{stem}"]},
            ],
            "plots": [{f"{PAPER}/results/${{profile}}/{stem}": {"cache": False}}],
        }
        pipeline["stages"][stem] = stage
        pipeline["stages"]["judge"]["deps"].append(f"{PAPER}/results/${{profile}}/{stem}")
        for profile, size in (("smoke", 3), ("cpu", 60), ("gpu", 60)):
            params[profile][stem] = {"size": size}
    (tree.root / PIPELINE).write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (tree.root / PAPER / "params.yaml").write_text(yaml.safe_dump(params))


def write_case(tree: Tree, template: dict, stem: str, name: str, case: Case) -> None:
    cells = {
        "parameters": "size: int = 3",
        "imports": "import pandas as pd\n\n"
        "from common.measurements import save_figure, save_table\n"
        f"from papers.toy.{name} import measure",
        "run": f'{case.cell}\nsave_table(frame, "table", keys=["i"])',
        "figure": "pass",
    }
    notebook = json.loads(json.dumps(template))
    for cell in notebook["cells"]:
        if cell["id"] in cells:
            cell["source"] = cells[cell["id"]].splitlines(keepends=True)
    (tree.root / PAPER / f"{stem}.ipynb").write_text(json.dumps(notebook))
    (tree.root / PAPER / f"{name}.py").write_text(case.old)


def plant(tree: Tree, cases: dict[str, Case]) -> None:
    """Make the changes."""
    for name, case in cases.items():
        file = tree.root / PAPER / f"{name}.py"
        if case.there:
            file.unlink()
            (tree.root / PAPER / f"{case.there}.py").write_text(case.new)
            (notebook,) = (tree.root / PAPER).glob(f"[0-9][0-9]_{name}.ipynb")
            notebook.write_text(
                notebook.read_text().replace(f"papers.toy.{name} ", f"papers.toy.{case.there} ")
            )
        else:
            file.write_text(case.new)
