"""The static site: built from a paper's results, complete, and fit to be looked at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Tree
from tests.pipeline.site_checks import problems

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

PAPER = "papers/mces_finite_sample"


def drop_other_papers(tree: Tree) -> None:
    """Take pictures of and links to papers that the tree does not have out of its pages."""
    tree.ok("claimbook", "scoreboard")
    for pattern in ("*.md", "docs/*.md", "notebooks/*.ipynb"):
        for file in tree.root.glob(pattern):
            text = re.sub(rf"!\[[^]]*\]\([^)]*{PAPER}[^)]*\)", "", file.read_text())
            file.write_text(re.sub(rf"\]\([^)]*{PAPER}[^)]*\)", "](https://example.org)", text))


# ------------------------------------------------------------------------------- the life of it


def test_from_nothing_to_a_judged_paper(empty_tree: Tree) -> None:
    drop_other_papers(empty_tree)
    empty_tree.ok("claimbook", "site")
    site = empty_tree.root / "site"
    assert problems(site) == []
    empty_tree.ok("claimbook", "new-paper", "toy")
    empty_tree.ok("claimbook", "site")
    assert "Not judged yet" in (site / "papers/toy/index.html").read_text()
    assert "Not executed" in (site / "papers/toy/01_measure.html").read_text()
    assert problems(site) == []
    empty_tree.edit_cell("papers/toy/01_measure.ipynb", "see", r"A formula: $\unheardof{x} < 1$.")
    empty_tree.ok("dvc", "repro", "papers/toy/dvc.yaml")
    empty_tree.ok("claimbook", "scoreboard")
    printed = empty_tree.ok("claimbook", "site")
    assert "this formula is shown as its source" in printed
    notebook = (site / "papers/toy/cpu/01_measure.html").read_text()
    assert r"<code>\unheardof{x} &lt; 1</code>" in notebook
    assert 'class="cell docutils container" id="cell-run"' in notebook
    assert "claims.html#c1" in (site / "scoreboard.html").read_text()
    assert problems(site) == []
    assert "site/index.html is up to date" in empty_tree.ok("claimbook", "site")


def test_a_mistake_leaves_the_earlier_site(toy: Tree) -> None:
    drop_other_papers(toy)
    toy.ok("claimbook", "site")
    before = toy.contents("site")
    toy.edit("papers/toy/README.md", "# toy", "# toy\n\n[gone](nowhere.md)")
    for _ in range(2):  # Sphinx alone reports a mistake only once
        printed = toy.fails("claimbook", "site")
        assert "papers/toy/README.md (" in printed and "nowhere.md" in printed
    assert toy.contents("site") == before
    toy.edit("papers/toy/README.md", "[gone](nowhere.md)", "[here](claims.yaml)")
    toy.ok("claimbook", "site")
    assert problems(toy.root / "site") == []
    toy.edit("papers/toy/claims.yaml", "kind: exponent", "kind: exponnt")
    assert "toy is shown as not judged: papers/toy/claims.yaml:" in toy.ok("claimbook", "site")
    assert "something else than a site" in toy.fails("claimbook", "site", "--out", "papers")
    assert (toy.root / "papers/toy/README.md").is_file()


# ------------------------------------------------------------------------------------- its looks


@pytest.fixture(scope="module")
def site(whole_tree: Tree) -> Path:
    """The whole project's site."""
    whole_tree.ok("claimbook", "site")
    return whole_tree.root / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    quiet = ["background-networking", "component-update", "sync", "gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--headless", "--no-sandbox", *(f"--disable-{name}" for name in quiet)],
        )
        yield browser
        browser.close()


def test_the_whole_site_is_complete(site: Path) -> None:
    assert problems(site) == []
    executed = [path.stem for path in (site.parent / PAPER / "results/cpu").glob("*/*.ipynb")]
    assert executed
    for name in executed:
        assert (site / PAPER / f"cpu/{name}.html").is_file()


def open_tab(browser: Browser, width: int, height: int, scheme: Any) -> tuple[Tab, list[str]]:
    """A tab, and the list of what goes wrong in it."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    tab, wrong = context.new_page(), []  # type: ignore[var-annotated]
    tab.set_default_timeout(20_000)
    tab.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    allowed = ("file:", "data:")
    tab.on("request", lambda one: one.url.startswith(allowed) or wrong.append(one.url))
    return tab, wrong


PAGES = [
    "index.html",
    "scoreboard.html",
    f"{PAPER}/index.html",
    f"{PAPER}/cpu/claims.html",
    f"{PAPER}/cpu/results.html",
    f"{PAPER}/cpu/tables/prescribed.html",
    f"{PAPER}/cpu/01_policy_iteration.html",
    f"{PAPER}/cpu/05_beyond.html",
    "CONTRIBUTING.html",
    "source/common/stats.py.html",
    "search.html?q=episodes",
]

MEASURE = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const brightness = colour => numbers(colour)
    .map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const background = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = element => {
    const pair = [getComputedStyle(element).color, background(element)].map(brightness);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const texts = [...document.querySelectorAll("article :is(p, li, td, th, h1, h2, code, a)")]
    .filter(element => element.innerText && !element.closest("pre"));
  document.querySelectorAll("img").forEach(image => image.loading = "eager");
  return {
    // The theme hides what is wider than the window and lets the text's column scroll.
    wide: [document.documentElement, document.querySelector(".content")]
      .some(element => element.scrollWidth > element.clientWidth),
    contrast: Math.min(...texts.map(contrast)),
    brightness: brightness(background(document.querySelector("article"))),
    pictures: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_pages_fit_and_can_be_read(
    site: Path, browser: Browser, width: int, height: int, scheme: str
) -> None:
    tab, wrong = open_tab(browser, width, height, scheme)
    for page in PAGES:
        tab.goto(f"{site.as_uri()}/{page}")
        tab.wait_for_load_state("networkidle")
        measured = tab.evaluate(MEASURE)
        assert not measured["wide"], page
        assert measured["contrast"] >= 4.5, page
        assert measured["pictures"] == [], page
        assert (measured["brightness"] > 0.5) == (scheme == "light"), page
    assert tab.locator("#search-results li").count() > 1
    assert wrong == []


@pytest.mark.parametrize("width", [390, 1280])
def test_one_click_from_verdict_to_claim_rows_cell_and_commit(
    site: Path, browser: Browser, width: int
) -> None:
    tab, wrong = open_tab(browser, width, 844, "light")
    tab.goto(f"{site.as_uri()}/scoreboard.html")
    row = tab.locator("tr", has_text=re.compile(r"^\s*C2b "))
    row.locator("a", has_text=re.compile("^. supported$")).click()
    section = tab.locator("section#c2b")
    assert tab.url.endswith(f"{PAPER}/cpu/claims.html#c2b")
    wait_until_seen(tab, "#c2b h2")
    provenance = site.parent / PAPER / "results/cpu/provenance/01_policy_iteration.json"
    assert json.loads(provenance.read_text())["commit"] in section.inner_text()
    assert "kind: bound" in section.locator("pre").inner_text()
    section.get_by_text("rows of table").click()
    assert tab.url.endswith("tables/problems.html#c2b")
    wait_until_seen(tab, "#c2b h2")
    assert tab.locator("#c2b table.dataframe tbody tr").count() == 30
    tab.go_back()
    section.get_by_text("01_policy_iteration, cell").click()
    assert tab.url.endswith("01_policy_iteration.html#cell-garnets")
    wait_until_seen(tab, "#cell-garnets")
    assert 'save_table(problems, "problems"' in tab.locator("#cell-garnets pre").first.inner_text()
    assert wrong == []


def wait_until_seen(tab: Tab, selector: str) -> None:
    """The upper end of the element can be seen, at once or after scrolling there smoothly."""
    tab.wait_for_function(
        """selector => {
          const top = document.querySelector(selector)?.getBoundingClientRect().top;
          return 0 <= top && top < innerHeight;
        }""",
        arg=selector,
    )
