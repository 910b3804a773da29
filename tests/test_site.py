"""The whole way from the digits to the pages, in a copy of the project, killed on the way and built again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from bs4 import BeautifulSoup

from complexity_control import reported
from complexity_control.data import ROOT

CHAPTERS = [*reported.CHAPTERS.values()]
PAGES = ["index", "derivation", *CHAPTERS, "results", "claims", "cost", "audit", "rerun", "reruns"]


def copy_of_the_project(folder: Path) -> Path:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(project: Path) -> dict[str, str]:
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "CCBOOK_DATA": os.environ.get("CCBOOK_DATA", str(ROOT / "data")),
    }
    return {name: value for name, value in os.environ.items() if name != "CCBOOK_RUNS"} | ours


def build(project: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--nolock",
        "--rerun-incomplete",
        "--config",
        "profile=quick",
    ]
    with (project / "build.log").open("a") as log:
        return subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=log, stderr=log, start_new_session=True
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose build was killed after 3, 9 and 15 seconds, and then ran to its end."""
    copy = copy_of_the_project(tmp_path_factory.mktemp("project"))
    for seconds in (3, 9, 15):
        process = build(copy)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process = build(copy)
    assert process.wait() == 0, (copy / "build.log").read_text()[-5_000:]
    return copy


@pytest.fixture(scope="module")
def site(project: Path) -> Path:
    return project / "book" / "quick" / "html"


def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(), "html.parser")


def test_every_run_on_record_after_the_kills_is_whole(project, monkeypatch):
    from complexity_control import runs

    monkeypatch.setenv("CCBOOK_RUNS", str(project / "book" / "runs"))
    assert {run.id.split("-")[0] for run in runs.recorded()} == set(CHAPTERS)


def test_the_sources_stay_as_they_were(project):
    for path in (ROOT / "chapters").iterdir():
        if path.is_file():
            assert (project / "chapters" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_that_its_numbers_are_quick(site, name):
    assert "Profile quick: numbers for a look only" in soup(site / f"{name}.html").get_text()


@pytest.mark.parametrize("name", PAGES)
def test_links_and_images_of_a_page_resolve(site, name):
    page = soup(site / f"{name}.html")
    targets = [a["href"] for a in page.find_all("a", href=True)] + [i["src"] for i in page.find_all("img", src=True)]
    for target in (urlparse(str(t)) for t in targets):
        if target.scheme or target.netloc:
            continue
        file = (site / unquote(target.path)).resolve() if target.path else site / f"{name}.html"
        assert file.is_file(), f"{name} links to {target.path}"
        if target.fragment and file.suffix == ".html":
            assert soup(file).find(id=unquote(target.fragment)), f"{name} links to #{target.fragment} of {file.name}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapters_page_has_figure_table_and_sentences(site, name):
    page = soup(site / f"{name}.html")
    assert page.select(".cell_output img[src$='.svg']")
    assert {"accuracy", "stability", "evidence, nats"} <= {th.get_text(strip=True) for th in page.select("th")}
    assert "of the weights can be removed" in page.get_text()


def test_results_show_every_printed_value_beside_ours(site):
    text = soup(site / "results.html").get_text()
    for printed in ("paper −9,035", "paper 7,458,976,000", "paper 0.877", "paper 2.21", "paper −134,341"):
        assert printed in text
    assert "not there yet" not in text


def test_every_run_has_a_row_and_a_page_with_the_command_that_repeats_it(project, site):
    on_record = {path.name for path in (project / "book" / "runs").glob("[!.]*") if (path / "receipt.json").is_file()}
    rows = soup(site / "reruns.html").select(".registry tbody tr")
    assert {row.a["href"] for row in rows if row.a} == {f"runs/{run}.html" for run in on_record}
    for run in on_record:
        page = soup(site / "runs" / f"{run}.html")
        assert f"ccbook run {run.split('-')[0]}" in page.get_text()
        assert page.select("img[src$='.svg']")
        for target in [a["href"] for a in page.select("article a[href]")]:
            path = urlparse(str(target)).path
            assert not path or (site / "runs" / path).is_file()


def test_a_byte_changed_under_the_runs_stops_the_sites_build(project):
    """Last of the site's tests but one: it puts the byte back."""
    (metrics, *_) = sorted((project / "book" / "runs").glob("a_direct-*/metrics.csv"))
    content = metrics.read_bytes()
    metrics.write_bytes(content.replace(b"a,", b"b,", 1))
    try:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--config", "profile=quick"]
        forced = [*command, "--forcerun", "site"]
        done = subprocess.run(forced, cwd=project, env=environment(project), capture_output=True, text=True)
        assert done.returncode != 0
        assert f"{metrics.parent.name}/metrics.csv" in done.stdout + done.stderr
    finally:
        metrics.write_bytes(content)
        assert build(project).wait() == 0


def test_no_page_names_this_machine(project, site):
    for page in [*site.rglob("*.html"), *(project / "book" / "quick" / "notebooks").iterdir()]:
        assert str(project) not in page.read_text()


def test_a_finished_build_has_nothing_to_do(project):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--config", "profile=quick", "--dry-run"]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, check=True)
    assert "Nothing to be done" in done.stdout + done.stderr
