"""Numbers that the paper prints, as text so that their last digit is known."""

from __future__ import annotations

import pandas as pd

DATASETS = ["nq", "triviaqa", "popqa", "hotpotqa", "2wiki", "musique", "bamboogle"]

EXACT_MATCH = {
    ("3B-Base", "GRPO"): ".421 .583 .413 .297 .274 .066 .128 .312",
    ("3B-Base", "GRPO + LLDS"): ".479 .627 .453 .345 .323 .082 .210 .360",
    ("3B-Base", "GRPO + LLDS-MA"): ".483 .633 .474 .452 .443 .197 .395 .440",
    ("3B-Instruct", "GRPO"): ".397 .565 .391 .331 .310 .124 .232 .336",
    ("3B-Instruct", "GRPO + LLDS"): ".462 .627 .468 .443 .447 .197 .444 .441",
    ("3B-Instruct", "GSPO"): ".376 .561 .374 .332 .329 .098 .250 .331",
    ("3B-Instruct", "GSPO + LLDS"): ".489 .640 .483 .466 .456 .215 .403 .451",
    ("7B-Base", "GRPO"): ".395 .560 .388 .326 .297 .125 .360 .350",
    ("7B-Base", "GRPO + LLDS"): ".512 .672 .480 .486 .469 .232 .508 .480",
    ("7B-Instruct", "GRPO"): ".429 .623 .427 .386 .346 .162 .400 .396",
    ("7B-Instruct", "GRPO + LLDS"): ".518 .676 .486 .492 .490 .228 .492 .483",
}
"""Tables 1 and 2 of arXiv 2512.04220v2: exact match on seven data sets, and the average."""

GAINS = {
    ("3B-Base", "GRPO", "GRPO + LLDS"): "15.4",
    ("3B-Base", "GRPO", "GRPO + LLDS-MA"): "45.2",
    ("3B-Instruct", "GRPO", "GRPO + LLDS"): "31.3",
    ("3B-Instruct", "GSPO", "GSPO + LLDS"): "36.3",
    ("7B-Base", "GRPO", "GRPO + LLDS"): "37.1",
    ("7B-Instruct", "GRPO", "GRPO + LLDS"): "22.0",
}
"""Relative gains of the average in per cent, printed in the tables; 45.2 is the abstract's."""


def averages() -> pd.DataFrame:
    """One row per model and method: the printed average and that of the seven columns.

    `error` is their absolute difference. Each printed number is off by at most half a unit of its
    last digit, 0.0005, and so is the average of seven: together 0.001.
    """
    rows = []
    for (model, method), text in EXACT_MATCH.items():
        *columns, printed = (float(number) for number in text.split())
        mean = sum(columns) / len(columns)
        cell = {"model": model, "method": method, "printed": printed, "mean": mean}
        rows.append(cell | {"error": abs(mean - printed)})
    return pd.DataFrame(rows)


def gains() -> pd.DataFrame:
    """One row per printed gain: what the printed averages give, in per cent, with its range.

    `low` and `high` are the extremes when every average may be off by half a unit of its last
    digit.
    """
    printed = averages().set_index(["model", "method"]).printed
    rows = []
    for (model, before, after), headline in GAINS.items():
        a, b, half = printed[model, before], printed[model, after], 0.0005
        cell = {"model": model, "before": before, "after": after, "printed": float(headline)}
        found = {
            "recomputed": 100 * (b / a - 1),
            "low": 100 * ((b - half) / (a + half) - 1),
            "high": 100 * ((b + half) / (a - half) - 1),
        }
        rows.append(cell | found)
    return pd.DataFrame(rows)
