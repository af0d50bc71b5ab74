"""A small paper on disk, judged: what the tests of claims, selection and judging share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from common.workflow.claims.judging.judge import judge
from common.workflow.claims.schema import Claims, load_claims


@dataclass
class SmallPaper:
    """`claims.yaml` and results in a folder of the test."""

    folder: Path

    def claim(self, test: dict[str, Any], **changes: Any) -> Claims:
        """One claim, C1, on the metric `y` of the table `t`."""
        claim: dict[str, Any] = {
            "statement": "It is so.",
            "source": {"place": "Table 1"},
            "measure": {"table": "t", "metric": "y"},
            "test": test,
            "decidable_from": "cpu",
        } | changes
        if test["kind"] == "arithmetic":
            del claim["measure"]
        return self.claims({"C1": claim})

    def claims(self, claims: dict[str, Any]) -> Claims:
        paper = {"arxiv": "0000.00000", "version": "v1", "title": "A paper"}
        file = self.folder / "claims.yaml"
        with file.open("w") as stream:
            YAML().dump({"schema": 1, "paper": paper, "claims": claims}, stream)
        return load_claims(file)

    def table(
        self, frame: pd.DataFrame, seeds: list[int] | None = None, notebook: str = "01_a"
    ) -> None:
        folder = self.folder / "results" / "cpu" / notebook
        folder.mkdir(parents=True, exist_ok=True)
        frame.to_csv(folder / "t.csv", index=False)
        (folder / "inputs.json").write_text(json.dumps({"seeds": seeds or []}))

    def verdict(self, claims: Claims, profile: str = "cpu", **options: Any) -> dict[str, Any]:
        verdicts = judge(claims, self.folder / "results", profile, **options)
        return dict(verdicts["claims"]["C1"])


def arms(a: list[float], b: list[float], factor: str = "arm") -> pd.DataFrame:
    """Two arms, `new` and `old`, with seeds 0, 1, ... each."""
    rows = [{"seed": i, factor: "new", "y": y} for i, y in enumerate(a)]
    return pd.DataFrame(rows + [{"seed": i, factor: "old", "y": y} for i, y in enumerate(b)])
