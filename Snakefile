"""From the data to the site: snakemake --cores all [--config profile=quick]."""

import os
from pathlib import Path

from complexity_control import reported

PROFILE = config.get("profile", "paper")
DEVICE = config.get("device", "cpu")
BOOK = Path("book") if PROFILE == "paper" else Path("book") / PROFILE  # a look never overwrites the paper's pages
DATA = Path(os.environ.get("CCBOOK_DATA", "data")) / "MNIST"
CHAPTERS = [reported.CHAPTERS[method] for method in "aecbdf"]  # the longest first
STARTS = {reported.CHAPTERS[tuned]: [reported.CHAPTERS[start]] for tuned, start in reported.STARTS.items()}
PAGES = ["chapters/index.md", "chapters/rerun.md", "chapters/references.bib"]
RUNS = Path(os.environ.get("CCBOOK_RUNS", "book/runs"))
RUNS.mkdir(parents=True, exist_ok=True)  # a folder's time is that of the last run put into it or taken away
STATIC = sorted(str(path) for path in Path("chapters/_static").rglob("*.*"))
SCRIPTS = [f"{BOOK}/explorer/{name}.js" for name in ("digits", "linear", "low_rank")]  # what the explorer computes with
PACKAGE = sorted(str(path) for path in Path("src/complexity_control").glob("*.*"))
FILES = {  # what a page writes for the book to keep
    "results": ["table1.csv", "table2.csv", "table3.csv", "figure1.csv", "figure1.svg", "scoreboard.md"],
    "claims": ["claims.csv"],
    "cost": ["cost.csv"],
    "audit": ["audit.csv", "readings.csv"],
    "explorer": ["surface.csv"],
    "made": [],
}
RECORDED = [f"book/results/{file}" for file in ("bench.csv", "bench.json", "scaling.csv")]

# papermill writes beside the output and moves into place: a killed job leaves no half of a page. A kernel that loses a
# race for a port is started once more
EXECUTE = (
    "papermill --no-progress-bar --log-level WARNING {input.notebook} {output.page}.$$.ipynb"
    " -p profile {PROFILE} -p device {DEVICE}"
    " && mv {output.page}.$$.ipynb {output.page} || {{ rm -f {output.page}.$$.ipynb; exit 1; }}"
)


rule site:
    input:
        pages=PAGES,
        notebooks=expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=["derivation", *CHAPTERS, *FILES, "speed"]),
        results=[f"{BOOK}/results/{file}" for files in FILES.values() for file in files],
        reruns=[f"{BOOK}/notebooks/reruns.ipynb", f"{BOOK}/reruns"],
        static=STATIC,
        scripts=SCRIPTS,
        config="_config.yml",
        toc="_toc.yml",
    output:
        f"{BOOK}/html/index.html",
    params:
        banner=f"Profile {PROFILE}: numbers for a look only, from few digits and one seed" if PROFILE != "paper" else "",
    shell:
        """
        ccbook check --profile {PROFILE} --device {DEVICE} > {BOOK}/check.txt
        rm -rf {BOOK}/source {BOOK}/build
        mkdir -p {BOOK}/source
        cp {input.pages} {input.notebooks} {BOOK}/notebooks/reruns.ipynb {input.toc} {BOOK}/source
        cp -r {BOOK}/results {BOOK}/source/results
        cp -r {BOOK}/reruns {BOOK}/source/runs
        cp -r chapters/_static {BOOK}/source/_static
        cp {BOOK}/explorer/*.js {BOOK}/source/_static/explorer
        cp -r profiles {BOOK}/source/profiles
        sed 's/announcement: ""/announcement: "{params.banner}"/' {input.config} > {BOOK}/source/_config.yml
        touch {BOOK}/source/pdf.md
        jupyter-book build {BOOK}/source --path-output {BOOK}/build --builder singlehtml --warningiserror --nitpick --quiet
        python -m complexity_control.browser pdf {BOOK}/build/_build/singlehtml/index.html {BOOK}/source/book.pdf
        if [ -f {BOOK}/source/book.pdf ]; then echo 'The whole book is also {{download}}`one PDF <book.pdf>`.' > {BOOK}/source/pdf.md; fi
        jupyter-book build {BOOK}/source --path-output {BOOK}/build --warningiserror --nitpick --keep-going --quiet
        rm -rf {BOOK}/html
        mv {BOOK}/build/_build/html {BOOK}/html
        """


rule data:
    output:
        touch(f"{DATA}/.verified"),
    shell:
        "python -c 'from complexity_control import data; data.fetch(\"MNIST\")'"


for place, name in enumerate(CHAPTERS):

    rule:
        name:
            name
        input:
            notebook=f"chapters/{name}.ipynb",
            package=PACKAGE,
            data=ancient(rules.data.output),
            start=expand(f"{BOOK}/notebooks/{{start}}.ipynb", start=STARTS.get(name, [])),
        output:
            page=f"{BOOK}/notebooks/{name}.ipynb",
        # models are spread over the cores that a chapter gets; two chapters at once keep all of them busy
        threads: max(1, workflow.cores // 2)
        priority: len(CHAPTERS) - place
        retries: 1
        shell:
            EXECUTE


rule derivation:
    input:
        notebook="chapters/derivation.ipynb",
        package=PACKAGE,
    output:
        page=f"{BOOK}/notebooks/derivation.ipynb",
    retries: 1
    shell:
        EXECUTE


rule speed:
    input:
        notebook="chapters/speed.ipynb",
        package=PACKAGE,
        recorded=[path for path in RECORDED if Path(path).is_file()],  # by `make bench`, never here
    output:
        page=f"{BOOK}/notebooks/speed.ipynb",
    retries: 1
    shell:
        EXECUTE


for name, files in FILES.items():

    rule:
        name:
            name
        input:
            notebook=f"chapters/{name}.ipynb",
            package=PACKAGE,
            chapters=expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=CHAPTERS),
        output:
            [f"{BOOK}/results/{file}" for file in files] + (SCRIPTS if name == "explorer" else []),
            page=f"{BOOK}/notebooks/{name}.ipynb",
        threads: workflow.cores if name == "audit" else 1  # it trains
        retries: 1
        shell:
            EXECUTE


rule reruns:
    input:
        notebook="chapters/reruns.ipynb",
        package=PACKAGE,
        chapters=expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=[*CHAPTERS, "audit"]),
        runs=RUNS,
    output:
        directory(f"{BOOK}/reruns"),
        page=f"{BOOK}/notebooks/reruns.ipynb",
    retries: 1
    shell:
        EXECUTE
