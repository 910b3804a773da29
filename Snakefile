"""From the data to the site: snakemake --cores all [--config profile=quick]."""

import os
import re
from pathlib import Path

from ccbook import chapters

PROFILE = config.get("profile", "paper")
DEVICE = config.get("device", "cpu")
BOOK = Path("book") if PROFILE == "paper" else Path("book") / PROFILE  # a look never overwrites the paper's pages
DATA = Path(os.environ.get("CCBOOK_DATA") or "data").expanduser() / "MNIST"
CHAPTERS = sorted(chapters.names(), key=lambda name: -chapters.defaults(name)["epochs"])  # the longest first
PAGES = ["chapters/index.md", "chapters/rerun.md", "chapters/references.bib"]
RUNS = Path(os.environ.get("CCBOOK_RUNS") or "book/runs").expanduser()
RUNS.mkdir(parents=True, exist_ok=True)  # a folder's time is that of the last run put into it or taken away
STATIC = sorted(str(path) for path in Path("chapters/_static").rglob("*.*"))
PROFILES = sorted(str(path) for path in Path("profiles").rglob("*.*"))  # the guide shows them
PACKAGE = sorted(str(path) for path in Path("src").rglob("*.*") if path.suffix in (".py", ".csv", ".css", ".js"))
PACKAGE += ["requirements.lock"]  # another torch makes other runs
RECORDED = [f"book/results/{file}" for file in ("bench.csv", "bench.json", "scaling.csv", "precision.csv")]


def page(*names):
    """The executed notebooks of these names."""
    return [f"{BOOK}/notebooks/{name}.ipynb" for name in names]


TRAIN = () if os.environ.get("CCBOOK_NEVER_TRAIN") else ("audit", "one_network")  # pages that add runs of their own
NEEDS = {name: [ancient(f"{DATA}/.verified")] for name in CHAPTERS}  # what a page can't be made without
for method in chapters.METHODS.values():
    if method.start:
        NEEDS[method.name] += page(*(chapters.METHODS[letter].name for letter in (method.start, "b")))  # (b) to compare
NEEDS["audit"] = page(*CHAPTERS)
TUNED = [*filter(os.path.isfile, ["book/results/tuned.csv"])]  # stands for a run, if it is of the present code
NEEDS["one_network"] = [*page(*CHAPTERS), "book/results/studies.csv", *TUNED]  # by `make studies`
NEEDS |= dict.fromkeys(["results", "claims", "cost", "explorer", "made", "conclusions"], page(*CHAPTERS))
NEEDS |= {
    "idea": page(*CHAPTERS, "one_network"),
    "derivation": [],  # it checks formulas, and needs no run
    "speed": RECORDED,  # by `make bench`, never here
    "reruns": [RUNS, *page(*CHAPTERS, *TRAIN)],
}
PAGES_IN_ALL = len(NEEDS)
RUN = rf"\b(?:{'|'.join(CHAPTERS)})-[0-9a-f]{{12}}\b"
ALONE = [name for name in TRAIN if name != "one_network" or not TUNED]  # those that keep all cores busy
STANDING = {name for file in TUNED for name in re.findall(RUN, Path(file).read_text())}
for made in map(Path, page(*CHAPTERS, *TRAIN)):  # one of a run that is no longer on record is made again
    named = set(re.findall(RUN, made.read_text())) if made.is_file() else set()
    if not all((RUNS / name / "receipt.json").is_file() for name in named - STANDING):
        made.unlink()
MADE = BOOK / "site.made"  # the site's output: Snakemake deletes that first, and the site stays until there is another
if not (BOOK / "html/index.html").is_file():
    MADE.unlink(missing_ok=True)
FILES = {  # what a page writes beside itself
    "results": [*(f"results/table{k}.csv" for k in (1, 2, 3)), "results/figure1.csv", "results/figure1.svg", "results/scoreboard.md"],
    "claims": ["results/claims.csv"],
    "cost": ["results/cost.csv"],
    "one_network": ["results/one_network.csv", "results/one_network.md"],
    "audit": ["results/audit.csv"],
    "explorer": ["results/surface.csv", *(f"explorer/{name}.js" for name in ("digits", "direct", "linear", "low_rank", "tempered"))],
    "reruns": ["reruns"],
}



def kept(file):
    """A page's file, which is put back if the page fails: git has the paper's."""
    return directory(file) if not Path(file).suffix else update(file) if os.path.isfile(file) else file


os.environ["JUPYTER_PATH"] = str(Path(workflow.basedir) / ".jupyter")  # a kernel that warns of nothing on this machine
# papermill writes beside the output and moves into place: a killed job leaves no half of a page. A kernel that loses a
# race for a port is started once more
EXECUTE = (
    "papermill --no-progress-bar --log-level WARNING {input.notebook} {output.page}.$$.ipynb"
    " -p profile {PROFILE} -p device {DEVICE}"
    " && mv {output.page}.$$.ipynb {output.page} || {{ rm -f {output.page}.$$.ipynb; exit 1; }}\n"
    "old=$(find {output} -maxdepth 0 ! -newer {BOOK}/begun.txt); [ -z \"$old\" ] || {{ echo \"{rule} has not written $old\"; exit 1; }}\n"
    "echo \"$(date +%H:%M) made the page {rule}, $(find {BOOK}/notebooks -newer {BOOK}/begun.txt -name '*.ipynb' ! -name '*.*.ipynb' | wc -l)"
    " of at most {PAGES_IN_ALL}\""
)


onstart:
    BOOK.mkdir(parents=True, exist_ok=True)
    (BOOK / "begun.txt").write_text("")  # pages that are newer were made now
    print(f"Making the book in {BOOK}; a training shows how long it takes, and a stopped one begins again", flush=True)


rule site:
    input:
        pages=PAGES,
        notebooks=page(*NEEDS),
        files=[f"{BOOK}/{file}" for files in FILES.values() for file in files],
        static=STATIC,
        profiles=PROFILES,
        config="_config.yml",
        toc="_toc.yml",
        citation="CITATION.cff",  # each page says how to cite it
    output:
        touch(MADE),
    params:
        banner=f"Profile {PROFILE}: numbers for a look only, from few digits and one seed" if PROFILE != "paper" else "",
    shell:
        """
        ccbook check --profile {PROFILE} --device {DEVICE} > {BOOK}/check.txt &
        rm -rf {BOOK}/source {BOOK}/build
        mkdir -p {BOOK}/source/_static {BOOK}/source/extra {BOOK}/source/science/methods
        cp {input.pages} {input.notebooks} {input.toc} {input.config} {BOOK}/source
        cp -r {BOOK}/results {BOOK}/source/results
        cp -r {BOOK}/reruns {BOOK}/source/runs
        cp -r chapters/_static {BOOK}/source/extra/_static
        mv {BOOK}/source/extra/_static/*.css {BOOK}/source/extra/_static/*.js {BOOK}/source/_static
        cp {BOOK}/explorer/*.js {BOOK}/source/extra/_static/explorer
        cp -r profiles {BOOK}/source/profiles
        cp src/complexity_control/*.py {BOOK}/source/science
        cp src/complexity_control/methods/*.py {BOOK}/source/science/methods
        touch {BOOK}/source/pdf.md
        echo "$(date +%H:%M) rendering the site, in a few minutes"
        export CCBOOK_BANNER="{params.banner}"
        jupyter-book build {BOOK}/source --path-output {BOOK}/build --builder singlehtml --warningiserror --nitpick --quiet > {BOOK}/render.txt
        python -m ccbook.book.pdf pdf {BOOK}/build/_build/singlehtml/index.html {BOOK}/source/book.pdf
        if [ -f {BOOK}/source/book.pdf ]; then echo 'The whole book is also {{download}}`one PDF <book.pdf>`.' > {BOOK}/source/pdf.md; fi
        jupyter-book build {BOOK}/source --path-output {BOOK}/build --warningiserror --nitpick --keep-going --quiet >> {BOOK}/render.txt
        find {BOOK}/build/_build/html '(' -name '*.map' -o -name '*webpack-macros.html' ')' -delete
        find {BOOK}/build/_build/html/_static/mathjax -type f ! -name tex-chtml.js ! -path '*/woff-v2/*' ! -path '*/tex/extensions/*' -delete
        wait $!
        rm -rf {BOOK}/html
        mv {BOOK}/build/_build/html {BOOK}/html
        """


rule data:
    output:
        touch(f"{DATA}/.verified"),
    shell:
        "python -c 'from ccbook.machine import download; download.fetch(\"MNIST\")'"


for name, needed in NEEDS.items():

    rule:
        name:
            name
        input:
            notebook=f"chapters/{name}.ipynb",
            package=PACKAGE,
            needed=needed,
        output:
            [kept(f"{BOOK}/{file}") for file in FILES.get(name, [])],
            page=page(name),
        # models are spread over the cores that a chapter gets; two chapters at once keep all of them busy
        threads: max(1, workflow.cores // 2) if name in CHAPTERS else workflow.cores if name in ALONE else 1
        priority: -list(NEEDS).index(name)
        retries: 1
        shell:
            EXECUTE
