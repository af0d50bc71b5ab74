"""Numbers that the paper prints (Tables 2 to 6), read second-hand from a transcription."""

from __future__ import annotations

import pandas as pd

LOGICAL: dict[str, list[float]] = {
    "Gemma 2 2B": [18, 24.3, 30.9, 32.3, 35.1, 36.8, 38.5],
    "GPT-3.5 Turbo": [11, 13.5, 15.0, 17.5, 17.3, 16.9, 17.3],
    "GPT-4o": [4, 5.1, 6.9, 6.9, 6.2, 5.0, 5.3],
    "Llama 3.2 3B": [17, 14.5, 17.0, 19.3, 18.7, 19.4, 19.4],
    "Mathstral 7B": [7, 9.0, 11.6, 12.4, 13.9, 15.2, 14.8],
    "Mistral 7B": [29, 33.3, 37.5, 38.5, 40.7, 42.4, 43.3],
    "Phi 3 Mini": [10, 7.7, 9.1, 10.7, 11.2, 11.2, 12.2],
    "Qwen 2.5 7B": [4, 5.0, 7.8, 9.0, 10.2, 10.1, 9.9],
    "WizardMath 7B": [7, 8.1, 14.0, 15.7, 16.4, 17.6, 19.1],
    "o3-mini": [5, 5, 6, 5, 4, 6, 4],
}
"""Table 3: logical errors in percent; the original questions are one run of 100."""

NON_LOGICAL: dict[str, list[float]] = {
    "Gemma 2 2B": [3, 3.6, 14.7, 21.6, 25.9, 29.6, 37.2],
    "GPT-3.5 Turbo": [0, 0.5, 5.1, 12.7, 18.1, 35.0, 38.6],
    "GPT-4o": [0, 0.1, 0.8, 2.7, 3.6, 5.2, 5.2],
    "Llama 3.2 3B": [2, 1.9, 25.1, 49.5, 59.1, 61.8, 68.8],
    "Mathstral 7B": [2, 2.0, 10.1, 14.8, 19.3, 23.0, 27.6],
    "Mistral 7B": [12, 9.3, 25.1, 31.0, 34.9, 38.6, 42.0],
    "Phi 3 Mini": [1, 0.5, 6.2, 10.5, 15.8, 21.4, 28.0],
    "Qwen 2.5 7B": [0, 0.4, 3.8, 7.0, 9.9, 12.1, 16.4],
    "WizardMath 7B": [2, 4.1, 15.5, 24.3, 31.0, 35.6, 42.5],
    "o3-mini": [0, 0, 0, 0, 1, 2, 0],
}
"""Table 4: non-logical errors in percent."""

HALF_WIDTHS = {
    "Gemma 2 2B": (0.8, 0.8),
    "GPT-3.5 Turbo": (0.5, 0.6),
    "GPT-4o": (0.4, 0.3),
    "Llama 3.2 3B": (0.5, 0.6),
    "Mathstral 7B": (0.5, 0.6),
    "Mistral 7B": (0.9, 0.8),
    "Phi 3 Mini": (0.4, 0.5),
    "Qwen 2.5 7B": (0.4, 0.5),
    "WizardMath 7B": (0.5, 0.6),
}
"""Table 3: printed half-widths of the intervals at levels 1 and 6; o3-mini has none."""

ALONE = {
    "Gemma 2 2B": ((15, 134), (126, 735)),
    "WizardMath 7B": ((41, 117), (186, 806)),
    "Mistral 7B": ((73, 299), (274, 1313)),
    "Mathstral 7B": ((31, 77), (126, 509)),
    "Llama 3.2 3B": ((3, 72), (127, 1480)),
    "Qwen 2.5 7B": ((7, 18), (52, 155)),
    "Phi 3 Mini": ((9, 22), (89, 281)),
    "GPT-3.5 Turbo": ((10, 18), (92, 224)),
    "GPT-4o": ((1, 3), (20, 40)),
}
"""Table 2: operations that failed again alone, of those that failed in context; levels 1, 2."""

RECALL = {
    "Gemma 2 2B": ([82, 74, 69, 68, 67, 61, 59], [95, 92, 93, 92, 92, 92, 94]),
    "Mistral 7B": ([66, 66, 61, 60, 51, 59, 50], [97, 95, 91, 93, 96, 93, 95]),
    "Mathstral 7B": ([90, 85, 82, 86, 85, 86, 84], [96, 94, 89, 93, 94, 93, 94]),
    "WizardMath 7B": ([92, 84, 85, 83, 84, 78, 78], [99, 97, 98, 96, 94, 93, 95]),
}
"""Table 5: questions with right logic, percent, among one and among 48 samples."""

TOKENS = [252.8, 287.6, 340.6, 378.8, 429.3, 501.0, 579.8]
"""Table 6: mean tokens of o3-mini."""


def printed_rates() -> pd.DataFrame:
    """Tables 3 and 4, one row per model, label and level; level 0 is the original."""
    tables = {"logical": LOGICAL, "non_logical": NON_LOGICAL}
    return pd.DataFrame(
        (model, label, level, float(rate))
        for label, table in tables.items()
        for model, rates in table.items()
        for level, rate in enumerate(rates)
    ).set_axis(["model", "label", "level", "rate"], axis=1)


def printed_rises() -> pd.DataFrame:
    """The nine models of Table 3 with printed half-widths: does the logical rate rise?

    The columns are model, label, rise (level 6 minus level 1), beyond_uncertainty (1 where the
    rise exceeds both half-widths added in quadrature) and above_original (1 where level 1 lies
    above the original questions).
    """
    rows = []
    for model, (first, last) in HALF_WIDTHS.items():
        original, low, *_, high = LOGICAL[model]
        beyond = high - low > (first**2 + last**2) ** 0.5
        rows.append((model, "logical", round(high - low, 1), int(beyond), int(low > original)))
    columns = ["model", "label", "rise", "beyond_uncertainty", "above_original"]
    return pd.DataFrame(rows, columns=columns)


def printed_gaps() -> pd.DataFrame:
    """How much more the non-logical rate rises than the logical one, ten models, in points."""
    rows = []
    for model, logical in LOGICAL.items():
        non_logical = NON_LOGICAL[model]
        gap = (non_logical[6] - non_logical[1]) - (logical[6] - logical[1])
        rows.append((model, round(gap, 1)))
    return pd.DataFrame(rows, columns=["model", "non_logical_minus_logical"])


def printed_alone() -> pd.DataFrame:
    """Table 2 as shares."""
    rows = [
        (model, level, operations, failed / operations)
        for model, levels in ALONE.items()
        for level, (failed, operations) in enumerate(levels, start=1)
    ]
    return pd.DataFrame(rows, columns=["model", "level", "operations", "failed_alone"])
