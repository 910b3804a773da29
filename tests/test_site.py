"""The built site, read without a browser: what its pages say, show and link to."""

import ast
import hashlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import copytree
from urllib.parse import unquote, urlparse

import pytest
import yaml
from bs4 import BeautifulSoup

from ccbook import ROOT, chapters
from ccbook.compare import printed
from ccbook.records import run as runs
from tests.helpers import ccbook, ended
from tests.test_chapters import included

CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [CONTENTS["root"]]
for entry in (entry for part in CONTENTS["parts"] for entry in part["chapters"]):
    PAGES += sorted(page.stem for page in (ROOT / "chapters").glob(f"{entry.get('file', entry.get('glob'))}.*"))
TEXTS = (".html", ".txt", ".md", ".ipynb", ".js", ".csv", ".svg")


def all_pages(site: Path) -> list[Path]:
    return [*site.glob("*.html"), *site.glob("runs/*.html")]


@cache
def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(), "html.parser")


@cache
def anchors(page: Path) -> set[str]:
    return {str(tag["id"]) for tag in parsed(page).find_all(id=True)}


def test_the_site_has_each_page_of_the_contents_and_one_for_each_run(site):
    assert set(PAGES) == {page.stem for page in site.glob("*.html")} - {"search", "genindex"}
    named = re.findall(r'href="(runs/[^"#]+\.html)"', (site / "reruns.html").read_text())
    assert set(named) == {f"runs/{page.name}" for page in site.glob("runs/*.html")}
    assert {Path(name).name.split("-")[0] for name in named} - {"sweep"} == set(chapters.names())


def test_every_page_says_that_its_numbers_are_quick(site):
    banner = "Profile quick: numbers for a look only"
    assert not [page for page in all_pages(site) if banner not in parsed(page).get_text()]


def test_links_images_and_anchors_resolve(site):
    """Of all pages together, so that one run tells everything that is broken."""
    faults = []
    for page in all_pages(site):
        targets = [a["href"] for a in parsed(page).find_all("a", href=True)]
        targets += [tag["src"] for tag in parsed(page).find_all(("img", "script"), src=True)]
        targets += [tag["href"] for tag in parsed(page).find_all("link", href=True)]
        for target in {urlparse(str(target)) for target in targets}:
            if target.scheme or target.netloc:
                continue
            file = (page.parent / unquote(target.path)).resolve() if target.path else page
            anchor = unquote(target.fragment)
            if not file.is_file() or (anchor and file.suffix == ".html" and anchor not in anchors(file)):
                faults.append(f"{page.relative_to(site)}: {target.geturl()}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", chapters.names())
def test_a_chapters_page_has_figure_table_and_sentences(site, name):
    page = parsed(site / f"{name}.html")
    assert page.select(f"figure img[src$='{name}-pruning.svg']")
    assert {"accuracy", "stability", "evidence, nats"} <= {th.get_text(strip=True) for th in page.select("th")}
    assert "of the weights can be removed" in page.get_text()
    assert f"Method ({name[0]})" in page.get_text()


def test_results_show_every_printed_value_beside_ours(site):
    page = parsed(site / "results.html")
    shown = [small.get_text() for small in page.select("td small")]
    for value in ("paper −9,035", "paper 7,458,976,000", "paper 0.877", "paper 2.21", "paper −134,341"):
        assert value in shown
    values = printed.tables()
    starts = printed.curves().query("pruned_percent == 0")  # of the paper's curves, beside the whole networks
    assert len(shown) == len(values) + len(starts)
    assert not [text for text in shown if not re.fullmatch(r"paper −?[\d,.]+", text)]


@pytest.mark.parametrize("name", ["derivation", *chapters.names()])
def test_a_page_shows_the_code_of_its_equations(site, name):
    """As it stands in the source: nobody keeps a copy."""
    blocks = [block.get_text() for block in parsed(site / f"{name}.html").select("pre")]
    for file, function in included(name):
        text = file.read_text()
        (node,) = [node for node in ast.parse(text).body if getattr(node, "name", "") == function]
        source = ast.get_source_segment(text, node)
        assert source
        assert any(source in block for block in blocks), f"{name}.html doesn't show {function} of {file.name}"


def test_the_code_that_shows_a_figure_is_folded_and_the_code_of_an_equation_is_not(site):
    page = parsed(site / "a_direct.html")
    folded = "".join(block.get_text() for block in page.select("details.above-input"))
    assert "method_page.pruning(run)" in folded
    assert "lambdas: list" in folded
    assert "perform.perform(" not in folded
    assert "def evidence(" not in folded
    bars = [bar.get_text() for bar in page.select("details.above-input > summary")]
    assert sum("Parameters" in bar for bar in bars) == 1  # with those that the page was given
    assert 'profile = "quick"' in folded
    imports = [block for block in parsed(site / "results.html").select("pre") if "from ccbook.book" in block.get_text()]
    assert all(block.find_parent("details") for block in imports)
    assert imports


def test_a_hypernetworks_page_counts_what_was_trained(site):
    for letter in ("c", "e", "g"):
        assert "1 hypernetwork for any λ" in parsed(site / f"{chapters.METHODS[letter].name}.html").get_text()
    assert "4 models" in parsed(site / "a_direct.html").get_text()


def test_every_page_ends_with_the_licence(site):
    assert not [
        page
        for page in all_pages(site)
        if "CC BY 4.0, code MIT" not in parsed(page).select(".bd-footer-content")[-1].get_text()
    ]


def test_receipts_name_the_files_and_runs_that_there_are(site, books_runs):
    receipts = [(page, box) for page in site.glob("*.html") for box in parsed(page).select(".receipt")]
    assert len(receipts) > 30
    for page, box in receipts:
        files = re.findall(r"(\S+) \(sha256 (\w{12})…\)", box.get_text())
        links = [page.parent / str(link["href"]) for link in box.select("a.download")]
        assert files
        assert [link.name for link in links] == [name for name, _ in files]
        for link, (_, sha256) in zip(links, files, strict=True):
            assert hashlib.sha256(link.read_bytes()).hexdigest().startswith(sha256), f"{page.name}: {link.name}"
        for run, seconds in re.findall(r"Run (\S+): commit \w+, ([\d,]+) s", box.get_text()):
            receipt = runs.read(books_runs / run, "*.csv").receipt
            assert f"{receipt['seconds']:,.0f}" == seconds
        maker = files[0][0].partition("-")[0]  # the start page shows a figure of the results
        command = box.select("pre")[0].get_text().strip()
        starts = f"ccbook run {maker} --set profile=quick", f"papermill chapters/{maker}.ipynb {maker}.ipynb"
        assert command.startswith(starts)


def test_no_page_names_this_machine(site):
    files = [*site.rglob("*"), *(site.parent / "notebooks").iterdir()]
    texts = [file for file in files if file.suffix in TEXTS and file.is_file()]
    assert len(texts) > 100
    assert not [file for file in texts if str(ROOT) in file.read_text()]


def test_a_finished_build_has_nothing_to_do(site):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--config", "profile=quick", "--dry-run"]
    ours = {name: value for name, value in os.environ.items() if name != "CCBOOK_RUNS"}
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr, "`make quick` has something to do; `make test` runs it"


def test_a_byte_changed_under_the_runs_is_found_before_the_site_is_built(books_runs, record):
    copytree(books_runs, record, copy_function=os.link, ignore=lambda *_: [".progress"])
    (metrics, *_) = sorted(record.glob("a_direct-*/metrics.csv"))
    content = metrics.read_bytes()
    metrics.unlink()  # the link alone
    metrics.write_bytes(content.replace(b"a,", b"b,", 1))
    assert f"{metrics.parent.name}/metrics.csv" in ended(ccbook("check", "--profile", "quick"), 1)
    # the rule calls the check before anything else; that it ends the build is shown by test_building.py
    (rule,) = re.findall(r"rule site:.*?shell:\s+\"\"\"\s+(.*?)\n", (ROOT / "Snakefile").read_text(), re.DOTALL)
    assert rule.startswith("ccbook check --profile {PROFILE}")
