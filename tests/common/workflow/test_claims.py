"""`claims.yaml`: what is accepted, and what mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.claims.kinds import TEST_KINDS
from common.workflow.claims.schema import load_claims

GOOD = """\
schema: 1
paper: {arxiv: "2410.02994", version: v1, title: A paper}
claims:
  C1:
    statement: It is so.
    source: {place: Figure 2}
    measure:
      table: train
      metric: loss
    test:
      kind: paired_ratio
      factor: smoothing
      compare: [0.05, 0.0]
      pair_by: seed
      expect: {side: below, bound: 1}
    decidable_from: cpu
"""


def load(folder: Path, text: str) -> str:
    """The message of the error that `text` gives, or nothing."""
    file = folder / "claims.yaml"
    file.write_text(text)
    try:
        load_claims(file)
    except ClaimbookError as error:
        return str(error)
    return ""


def test_a_claim_is_read(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(GOOD)
    claim = load_claims(tmp_path / "claims.yaml").claim("C1")
    assert claim.test.kind == "paired_ratio"
    assert claim.measure is not None and claim.measure.table == "train"
    assert len(claim.hash) == 16


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("      factor:", "      facter:", 12, "did you mean"),
        ("paired_ratio", "paired_ration", 11, "did you mean"),
        ("side: below", "side: under", 15, "above"),
        ("decidable_from: cpu", "decidable_from: cup", 16, "smoke"),
        ("      metric: loss\n", "", 7, "metric"),
        ("schema: 1", "schema: 2", 1, "schema"),
        ("  C1:", "  first claim:", 4, "C1"),
        ("compare: [0.05, 0.0]", "compare: [0.05, 0.05]", 10, "twice"),
        ("    measure:\n      table: train\n      metric: loss\n", "", 4, "`measure` is missing"),
    ],
    ids=[
        "misspelled key",
        "unknown kind",
        "unknown side",
        "unknown profile",
        "missing key",
        "schema",
        "claim's name",
        "same arms",
        "no measure",
    ],
)
def test_a_mistake_is_told_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in GOOD
    told = load(tmp_path, GOOD.replace(old, new, 1))
    assert "claims.yaml:" in told, told
    lines = {int(part.split(":")[1]) for part in told.splitlines() if "claims.yaml:" in part}
    assert line in lines, told
    assert message in told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = load(tmp_path, GOOD.replace("side: below", "side: under").replace("cpu", "cup"))
    assert len(told.splitlines()) == 2


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    told = load(tmp_path, GOOD.replace("compare: [0.05, 0.0]", "compare: [0.05, 0.0"))
    assert "claims.yaml:1" in told and "not YAML" in told


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClaimbookError, match=r"claims\.yaml does not exist"):
        load_claims(tmp_path / "claims.yaml")


def test_code_in_an_expression_is_refused(tmp_path: Path) -> None:
    test = (
        "{kind: arithmetic, numbers: {a: '1.0'}, expression: a.__class__, headline: '1.0'}\n"
        "    decidable_from: smoke\n"
    )
    start = GOOD.index("    measure:")
    told = load(tmp_path, GOOD[:start] + "    test: " + test)
    assert "is not allowed" in told


# ------------------------------------------------------------------------------ every kind

PAIR = "factor: arm, compare: [new, old]"
KINDS = {
    "paired_difference": f"{PAIR}, pair_by: seed, expect: {{side: above}}",
    "paired_ratio": f"{PAIR}, pair_by: [seed, prompt], expect: {{side: below, bound: 0.5}}",
    "unpaired_difference": f"{PAIR}, per: seed, expect: {{side: above, bound: least}}",
    "equivalence": f"{PAIR}, pair_by: seed, margin: 0.1, scale: ratio",
    "ordering": "factor: arm, order: [a, b, c], pair_by: seed, expect: {side: above}",
    "proportion": "per: seed, expect: {side: above, bound: 0.5}",
    "difference_of_proportions": f"{PAIR}, per: seed, expect: {{side: above}}",
    "time_to_event": f"{PAIR}, per: seed, event: seen, horizon: 9, expect: {{side: above}}",
    "monotone_trend": "x: width, per: seed, statistic: slope, expect: {side: below}",
    "exponent": "x: width, per: seed, range: [0.5, null]",
    "closed_form": "expected: theory, tolerance: 1.0e-6",
    "bound": "side: below, limit: 3, max_rate: 0.05, per: seed",
    "arithmetic": "numbers: {a: '0.312', b: 2}, expression: a / b, headline: '0.2'",
}


def small(kind: str, options: str, more: str = "") -> str:
    """The least that a claim of this kind consists of."""
    measure = "" if kind == "arithmetic" else "    measure: {table: t, metric: y}\n"
    return (
        "schema: 1\n"
        "paper: {arxiv: '2410.02994', version: v1, title: A paper}\n"
        "claims:\n"
        "  C1:\n"
        "    statement: It is so.\n"
        "    source: {place: Figure 2}\n"
        f"    test: {{kind: {kind}, {options}}}\n"
        f"    decidable_from: cpu\n{measure}{more}"
    )


def test_all_kinds_are_tried() -> None:
    assert set(KINDS) == set(TEST_KINDS)
    assert len(KINDS) == 13


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_claim_of_every_kind_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "claims.yaml").write_text(small(kind, KINDS[kind]))
    test = load_claims(tmp_path / "claims.yaml").claim("C1").test
    assert (test.kind, type(test)) == (kind, TEST_KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_kind_is_needed_or_has_a_default(tmp_path: Path, kind: str) -> None:
    """Without its options each kind names, on the line of the test, what is missing."""
    told = load(tmp_path, small(kind, "").replace(f"{kind}, }}", f"{kind}}}"))
    needed = {name for name, one in TEST_KINDS[kind].model_fields.items() if one.is_required()}
    assert len(told.splitlines()) == len(needed - {"kind"})
    for name in needed - {"kind"}:
        assert f"claims.yaml:7: claims.C1.test.{name}: this key is missing" in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_key_is_refused_by_every_kind(tmp_path: Path, kind: str) -> None:
    told = load(tmp_path, small(kind, f"{KINDS[kind]}, metrc: y"))
    assert "claims.yaml:7: claims.C1.test.metrc: unknown key" in told
    assert f"known here: {', '.join(TEST_KINDS[kind].model_fields)}" in told


# ------------------------------------------------------------------------------ exact words


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("factor:", "facter:", r":12: .*test\.facter: unknown key \(did you mean 'factor'\?\)"),
        ("kind: paired_ratio", "kind: pared_ratio", r":11: .*did you mean 'paired_ratio'"),
        ("kind: paired_ratio", "knd: paired_ratio", r":10: .*test\.kind: this key is missing"),
        ("metric: loss", "metric: 3", r":9: .*measure\.metric: expected a text, got 3; put it in"),
        ("metric: loss", "metrc: loss", r":9: .*measure\.metrc: unknown key .*'metric'"),
        ("pair_by: seed", "pair_by: 3", r":14: .*test\.pair_by: expected a list, got 3"),
        ("[0.05, 0.0]", "[0.05]", r":13: .*test\.compare\.1: the list is too short"),
        ("[0.05, 0.0]", "0.05", r":13: .*test\.compare: expected a list, got 0.05"),
        ("bound: 1}", "bound: true}", r":15: .*bound: expected a number or the name of a column"),
        ("source: {place: Figure 2}", "source: Figure 2", r":6: .*source: expected keys and val"),
        ("decidable_from: cpu", "decidable_from: cpus", r":16: .*'cpus' is not allowed.*'cpu'"),
        ("version: v1, ", "", r":2: paper\.version: this key is missing"),
        ("claims:", "clams:", r":3: clams: unknown key \(did you mean 'claims'\?\)"),
        ("table: train", "table: train\n      where: {seed: 3}", r"a claim uses all seeds"),
        ("metric: loss", "metric: loss\n      missing: failure", r"means nothing for paired_rat"),
        ("pair_by: seed", "pair_by: seed\n      level: 0.4", r":15: .*level: .*greater than 0.5"),
    ],
)
def test_the_words_of_a_mistake(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    told = load(tmp_path, GOOD.replace(old, new))
    assert re.search(message, told), told


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("proportion", "per: seed, expect: {side: above}", "needs `expect.bound` between 0 and 1"),
        ("proportion", "per: seed, expect: {side: above, bound: 2}", "between 0 and 1"),
        ("equivalence", f"{PAIR}, pair_by: seed, margin: 0", "greater than 0"),
        ("ordering", "factor: a, order: [x], pair_by: seed, expect: {side: above}", "order"),
        ("ordering", "factor: a, order: [x, x], pair_by: s, expect: {side: above}", "twice"),
        ("exponent", "x: width, per: seed, range: [2, 1]", "has to rise"),
        ("exponent", "x: width, per: seed, range: [null, null]", "open at both ends"),
        ("bound", "side: below, limit: 3, max_rate: 0.1", "needs `per`"),
        ("closed_form", "expected: 1, tolerance: -1", "greater than or equal to 0"),
        ("arithmetic", "numbers: {a: 0.312}, expression: a, headline: '0.3'", "in quotes"),
        (
            "arithmetic",
            "numbers: {a: '1'}, expression: a + b, headline: '1'",
            "'b' in `expression`",
        ),
        ("arithmetic", "numbers: {a: '1', b: '2'}, expression: a, headline: '1'", "does not occur"),
        ("arithmetic", "numbers: {a: '1'}, expression: a +, headline: '1'", "is no formula"),
        ("arithmetic", "numbers: {a: 'x'}, expression: a, headline: '1'", "is no number"),
    ],
)
def test_what_no_test_could_decide_is_refused(
    tmp_path: Path, kind: str, options: str, message: str
) -> None:
    told = load(tmp_path, small(kind, options))
    assert "claims.yaml:7: claims.C1.test" in told
    assert message in told


def test_mistakes_of_several_claims_come_in_the_order_of_lines(tmp_path: Path) -> None:
    second = GOOD[GOOD.index("  C1:") :].replace("C1", "C2").replace("metric: loss", "metric: 7")
    told = load(
        tmp_path, GOOD.replace("factor", "facter").replace("schema: 1", "schema: 9") + second
    )
    places = [line.split(": ")[:2] for line in told.splitlines()]
    lines = [int(place.rpartition(":")[2]) for place, _ in places]
    keys = [key for _, key in places]
    assert keys[0] == "schema" and "claims.C2.measure.metric" in keys
    assert {"claims.C1.test.factor", "claims.C1.test.facter"} <= set(keys)
    assert len(lines) == 4 and lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("schema: 1\npaper: {arxiv: 'x\n", 3),
        ("schema: 1\nschema: 1\n", 2),
        ("schema: 1\n\tpaper: x\n", 2),
    ],
    ids=["open quote", "key twice", "tab"],
)
def test_no_yaml_at_all(tmp_path: Path, text: str, line: int) -> None:
    assert f"claims.yaml:{line}: not YAML: " in load(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "schema: 1\n"])
def test_a_file_of_another_form_is_told_without_a_traceback(tmp_path: Path, text: str) -> None:
    assert "claims.yaml:1: " in load(tmp_path, text)


def test_an_unknown_claim_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(GOOD)
    claims = load_claims(tmp_path / "claims.yaml")
    assert claims.claim(f"{tmp_path.name}/C1") is claims.claim("C1")
    with pytest.raises(ClaimbookError, match="has no claim 'C2'; it has C1"):
        claims.claim("C2")


# ------------------------------------------------------------------------------ the hash


def hash_of(folder: Path, text: str) -> str:
    (folder / "claims.yaml").write_text(text)
    return load_claims(folder / "claims.yaml").claim("C1").hash


HISTORY = "    history:\n      - {date: 2026-01-01, replaces: abc, seeds: [1], reason: why}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("statement: It is so.", "statement: Other words."),
        ("place: Figure 2", "place: Table 9, value: 3.5"),
        ("title: A paper", "title: Another"),
        ("decidable_from: cpu\n", "decidable_from: cpu\n    stand_in: {cpu: a small one}\n"),
        ("decidable_from: cpu\n", f"decidable_from: cpu\n{HISTORY}"),
        ("metric: loss", "metric: loss\n      missing: undecided"),
        ("kind: paired_ratio", "level: 0.95\n      kind: paired_ratio"),
        ("table: train\n      metric: loss", "metric: loss\n      table: train"),
        ("bound: 1}", "bound: 1.0}"),
    ],
    ids=["words", "source", "title", "stand-in", "history", "default", "level", "order", "1.0"],
)
def test_the_hash_does_not_cover(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    assert hash_of(tmp_path, GOOD.replace(old, new)) == hash_of(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("table: train", "table: test"),
        ("metric: loss", "metric: loss\n      where: {step: last}"),
        ("metric: loss", "metric: loss\n      where: {step: [1, 2]}"),
        ("metric: loss", "metric: loss\n      missing: 3"),
        ("bound: 1}", "bound: 0.9}"),
        ("side: below", "side: above"),
        ("[0.05, 0.0]", "[0.0, 0.05]"),
        ("kind: paired_ratio", "level: 0.9\n      kind: paired_ratio"),
        ("kind: paired_ratio", "kind: paired_difference"),
        ("decidable_from: cpu", "decidable_from: gpu"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_hash_covers(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    assert hash_of(tmp_path, GOOD.replace(old, new)) != hash_of(tmp_path, GOOD)
