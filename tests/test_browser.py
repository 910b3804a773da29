"""The site as its readers have it: opened from a disk, without a network, in Chromium."""

import gzip
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from complexity_control import browser, data, explorer, parameters, runs
from complexity_control.objective import kl, log_likelihood
from complexity_control.posterior import layer_noise, sampled_logits
from complexity_control.pruning import accuracy, prune, scale
from tests.test_site import PAGES

pytestmark = pytest.mark.skipif(browser.find() is None, reason=browser.MISSING)

ALL = [*PAGES, "search", "genindex", "runs/d_low_rank_fine_tuned-*"]  # and the page of a run
LAMBDAS = [10 ** (-1 + 3 * k / 19) for k in range(20)]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
MILLISECONDS = 50  # a move of a slider feels immediate


@pytest.fixture(scope="module")
def folder(project: Path, building, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site alone, in a folder of its own, as somebody would be handed it."""
    copy = tmp_path_factory.mktemp("handed") / "site"
    with building:
        shutil.copytree(project / "book" / "quick" / "html", copy)
    return copy


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.started() as started:
        yield started


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    tab = chromium.new_page(viewport={"width": 1400, "height": 900})
    yield tab
    tab.close()


def visit(tab: Page, folder: Path, name: str) -> Page:
    tab.goto(next(folder.glob(f"{name}.html")).as_uri())
    browser.settle(tab)
    return tab


@pytest.mark.parametrize("name", ALL)
def test_a_page_is_whole_and_asks_nothing_of_the_network(folder, tab, name):
    faults: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("requestfailed", lambda request: faults.append(request.url))
    tab.on("request", lambda request: asked.append(request.url))
    visit(tab, folder, name)
    assert not faults
    assert not [url for url in asked if not url.startswith(("file:///", "data:", "blob:"))]
    assert asked[0] == tab.url
    assert tab.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)") == []
    assert tab.locator(".math").count() == tab.locator("mjx-container").count()
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0


@pytest.mark.parametrize("name", ALL)
def test_a_page_weighs_at_most_a_megabyte(folder, tab, name):
    """As a web server sends it, compressed; the explorer's parameters and digits not counted."""
    files: set[Path] = set()
    tab.on("request", lambda request: files.add(Path(request.url.removeprefix("file://").partition("?")[0])))
    visit(tab, folder, name)
    sent = [gzip.compress(file.read_bytes()) for file in files if "explorer" not in file.parent.name]
    assert 0 < sum(map(len, sent)) < 1_000_000


@pytest.mark.parametrize("theme", browser.THEMES)
@pytest.mark.parametrize("name", ALL)
def test_axe_finds_nothing_against_wcag_2_2_aa(folder, tab, name, theme):
    visit(tab, folder, name)
    browser.show(tab, theme)
    found = Axe().run(tab, options=RULES)
    assert found.response["passes"]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found.response["violations"]] == []


@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_a_narrow_screen(folder, tab, name):
    tab.set_viewport_size({"width": 390, "height": 800})
    visit(tab, folder, name)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", ALL)
def test_every_figure_says_in_words_what_it_shows(folder, tab, name):
    visit(tab, folder, name)
    for alt in tab.evaluate("[...document.querySelectorAll('article img')].map(i => i.alt)"):
        assert len(alt) > 60
        assert ".svg" not in alt  # what Sphinx says of a picture that was given no words
        assert any(character.isdigit() for character in alt)


def test_the_button_switches_to_dark_and_back(folder, tab):
    visit(tab, folder, "index")
    colours = []
    for _ in range(4):
        colours.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.locator("button.theme-switch-button").first.click()
    assert len(set(colours)) == 2


def test_search_works_without_a_server(folder, tab):
    tab.goto((folder / "search.html").as_uri() + "?q=pruning")
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li a", has_text="derivation").count()


def test_the_registry_filters_as_one_types(folder, tab):
    visit(tab, folder, "reruns")
    rows = tab.locator(".registry tbody tr")
    every = rows.count()
    tab.get_by_label("Filter").press_sequentially("e_linear sgd")
    found = tab.locator(".registry tbody tr:visible").all_text_contents()
    assert 0 < len(found) < every
    assert all("e_linear" in row and "sgd" in row for row in found)
    assert f"{len(found)} of {every} runs" in tab.inner_text("article")


def test_the_book_is_one_pdf_with_an_outline(folder):
    (file,) = folder.glob("_downloads/*/book.pdf")  # the start page's link
    document = PdfReader(file)
    titles = [entry.title for entry in _flat(document.outline)]
    assert any("Results" in title for title in titles)
    assert len(document.pages) > 20
    text = "".join(page.extract_text() for page in document.pages)
    assert "Profile quick" in unicodedata.normalize("NFKC", text)  # Chromium sets ligatures


def _flat(outline: list) -> Iterator:
    for entry in outline:
        if isinstance(entry, list):
            yield from _flat(entry)
        else:
            yield entry


# ---- the explorer ----------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(folder: Path, tab: Page) -> Page:
    return visit(tab, folder, "explorer")


@pytest.fixture
def on_record(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, runs.Run]:
    monkeypatch.setenv("CCBOOK_RUNS", str(project / "book" / "runs"))
    return runs.of_profile("quick")


@pytest.fixture(scope="module")
def digits() -> data.Digits:
    cap = parameters.PROFILES["quick"]
    return data.load("MNIST", "cpu", cap.train, cap.test)


def numbers(lab: Page) -> dict[str, str]:
    return {
        name: lab.text_content(f"#x-{name}") or "" for name in ("accuracy", "evidence", "likelihood", "kl", "remaining")
    }


def move(lab: Page, slider: str, value: float) -> float:
    """Move a slider as a hand does; milliseconds until the new numbers stand there."""
    lab.evaluate(
        """([id, value]) => { const slider = document.getElementById(id);
             slider.value = value; slider.dispatchEvent(new Event("input")); }""",
        [f"x-{slider}", value],
    )
    return float(lab.get_attribute("#explorer", "data-milliseconds") or "nan")


@pytest.mark.parametrize("letter", explorer.METHODS)
def test_the_page_computes_the_accuracies_that_the_package_computes(lab, on_record, digits, letter):
    theirs = lab.evaluate(
        """([name, lambdas]) => lambdas.map((lam) =>
             Array.from({length: 10}, (_, k) => explorer.measure(name, lam, 10 * k).accuracy))""",
        [explorer.METHODS[letter], LAMBDAS],
    )
    images, labels = digits.test_images[: explorer.SAMPLE], digits.test_labels[: explorer.SAMPLE]
    ours = []
    for lam in LAMBDAS:
        q = explorer.generated(on_record[letter], [lam])
        ours.append([accuracy(prune(q, percent), images, labels).item() for percent in range(0, 100, 10)])
    apart = abs(np.array(theirs) - np.array(ours))
    # at the paper's scale no setting is further apart than 0.1 points; networks that have hardly been trained, as here,
    # hang on a few weights at the edge of removal, and 16 bits may put another one there
    assert (apart < 0.0021).mean() > 0.98
    assert apart.max() < 0.006


@pytest.mark.parametrize("letter", explorer.METHODS)
def test_the_pages_evidence_is_the_packages(lab, on_record, digits, letter):
    """KL to a thousandth; the log-likelihood within five standard errors of the page's draws."""
    draws = 200
    for lam in (0.1, 5, 100):
        complexity, fit = lab.evaluate(
            f"""([name, lam]) => {{ const m = explorer.models[name];
                 const net = explorer.withVariance(explorer.prune(explorer.prepare(explorer.generate(m, lam)), 0));
                 return [explorer.kl(net.q, m.prior_std), explorer.logLikelihood(net, 100, 100, {draws}).value]; }}""",
            [explorer.METHODS[letter], lam],
        )
        q = explorer.generated(on_record[letter], [lam])
        assert complexity == pytest.approx(kl(q, on_record[letter].parameters.prior_std).item(), rel=1e-3)
        x, y = scale(digits.train_images[:100]).expand(1, -1, -1), digits.train_labels[:100].expand(1, -1)
        generator = torch.Generator().manual_seed(0)
        widths = [t.shape[1] for name, t in q.mean.items() if name.startswith("b")]
        noise = [layer_noise([generator], widths, len(y[0])) for _ in range(draws)]
        sums = torch.cat([log_likelihood(sampled_logits(q, x, draw), y) for draw in noise])
        error = (2 * sums.var() / draws).sqrt().item()
        assert abs(fit - sums.mean().item()) < 5 * error


def test_the_curve_passes_through_the_setting(lab):
    assert lab.evaluate(
        """() => { const curve = explorer.curve("linear", 3), at = (percent) => explorer.measure("linear", 3, percent);
             return explorer.LEVELS.every((percent, k) => curve[k] === at(percent).accuracy); }"""
    )


def test_a_slider_gives_new_numbers_at_once(lab):
    before = numbers(lab)
    times = [move(lab, "lambda", value / 10) for value in range(-10, 21, 2)]
    after = numbers(lab)
    assert all(before[name] != after[name] for name in ("accuracy", "evidence", "likelihood", "kl"))
    pruning = [move(lab, "removed", percent) for percent in range(0, 100, 9)]
    assert numbers(lab)["kl"] == after["kl"]
    assert numbers(lab)["remaining"] != after["remaining"]
    # a busy machine stops a page now and then; what the page itself takes is the least
    assert min(times) < MILLISECONDS
    assert min(pruning) < MILLISECONDS


def test_a_drawn_digit_gets_a_prediction(lab):
    box = lab.locator("#x-pad")
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    assert place
    lab.mouse.move(place["x"] + 140, place["y"] + 40)
    lab.mouse.down()
    lab.mouse.move(place["x"] + 140, place["y"] + 240, steps=10)
    lab.mouse.up()
    assert lab.locator("#x-drawn .x-card").count() == 1
    assert "Your digit: " in (lab.locator("#x-drawn .x-card").get_attribute("aria-label") or "")
    lab.click("#x-clear")
    assert lab.locator("#x-drawn .x-card").count() == 0


def test_the_keyboard_alone_works_the_explorer(lab):
    start = numbers(lab)
    lab.focus("#x-lambda")
    lab.keyboard.press("End")
    assert lab.text_content("#x-lambda-value") == "100"
    lab.keyboard.press("Tab")
    lab.keyboard.press("ArrowRight")
    assert lab.text_content("#x-removed-value") == "1%"
    assert numbers(lab)["accuracy"] != start["accuracy"]
    lab.focus("#x-pad")
    lab.keyboard.press("Space")
    for _ in range(15):
        lab.keyboard.press("ArrowDown")
    assert lab.locator("#x-drawn .x-card").count() == 1
    lab.keyboard.press("Delete")
    assert lab.locator("#x-drawn .x-card").count() == 0


def test_without_javascript_the_surface_stands_there(folder, chromium):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((folder / "explorer.html").as_uri())
    assert tab.locator("#explorer noscript p").is_visible()
    assert tab.locator("#explorer-surface img").is_visible()
    assert tab.locator("#explorer-grid td").count() > 100
    context.close()
