"""From the data to the site: snakemake --cores all [--config profile=quick]."""

import os
from pathlib import Path

PROFILE = config.get("profile", "paper")
DEVICE = config.get("device", "cpu")
BOOK = Path("book") if PROFILE == "paper" else Path("book") / PROFILE  # a look never overwrites the paper's pages
DATA = Path(os.environ.get("CCBOOK_DATA", "data")) / "MNIST"
STARTS = {"d_low_rank_fine_tuned": "c_low_rank", "f_linear_fine_tuned": "e_linear"}  # fine-tuned: from
CHAPTERS = ["a_direct", "b_direct_one_epoch", *STARTS.values(), *STARTS]
PAGES = ["chapters/index.md", "chapters/rerun.md", "chapters/references.bib"]
RUNS = Path(os.environ.get("CCBOOK_RUNS", "book/runs"))
RUNS.mkdir(parents=True, exist_ok=True)  # a folder's time is that of the last run put into it or taken away
PACKAGE = sorted(str(path) for path in Path("src/complexity_control").glob("*.*"))
FILES = {  # what a page writes for the book to keep
    "results": ["table1.csv", "table2.csv", "table3.csv", "figure1.csv", "figure1.svg", "scoreboard.md"],
    "claims": ["claims.csv"],
    "cost": ["cost.csv"],
    "audit": ["audit.csv", "readings.csv"],
}

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
        notebooks=expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=["derivation", *CHAPTERS, *FILES]),
        results=[f"{BOOK}/results/{file}" for files in FILES.values() for file in files],
        reruns=[f"{BOOK}/notebooks/reruns.ipynb", f"{BOOK}/reruns"],
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
        cp -r profiles {BOOK}/source/profiles
        sed 's/announcement: ""/announcement: "{params.banner}"/' {input.config} > {BOOK}/source/_config.yml
        jupyter-book build {BOOK}/source --path-output {BOOK}/build --warningiserror --nitpick --keep-going --quiet
        rm -rf {BOOK}/html
        mv {BOOK}/build/_build/html {BOOK}/html
        """


rule data:
    output:
        touch(f"{DATA}/.verified"),
    shell:
        "python -c 'from complexity_control import data; data.fetch(\"MNIST\")'"


rule chapter:
    input:
        notebook="chapters/{chapter}.ipynb",
        package=PACKAGE,
        data=ancient(rules.data.output),
        start=lambda wildcards: expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=STARTS.get(wildcards.chapter, [])),
    output:
        page=f"{BOOK}/notebooks/{{chapter}}.ipynb",
    wildcard_constraints:
        chapter="[a-f]_.*",
    threads: workflow.cores  # models are spread over the cores that a chapter gets
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


for name, files in FILES.items():

    rule:
        name:
            name
        input:
            notebook=f"chapters/{name}.ipynb",
            package=PACKAGE,
            chapters=expand(f"{BOOK}/notebooks/{{name}}.ipynb", name=CHAPTERS),
        output:
            [f"{BOOK}/results/{file}" for file in files],
            page=f"{BOOK}/notebooks/{name}.ipynb",
        threads: workflow.cores
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
