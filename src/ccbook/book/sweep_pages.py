"""A page for each sweep: each metric against each parameter that varied, the best runs, and how to repeat it."""

import itertools
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ccbook.book import artefacts, plots
from ccbook.book.formats import TITLES, in_words, marks, metric
from ccbook.book.run_pages import METRICS, escaped, fenced, table
from ccbook.chapters import METHODS
from ccbook.machine import download
from ccbook.records import history
from ccbook.records.run import Run
from ccbook.records.sweeps import Sweep
from ccbook.wording import count, duration, word

# in a grid a folder by its path, quoted or not, from the root, a home or where one is
FOLDER = r"""(?<=["'])[~./][^"'\n]*(?=["'])|(?<![\w./~-])(~[\w.-]*|\.\.?)?(/[^/\s,\[\]{}"']+)+/?"""
FEW = 3  # runs that are called the best
SIZE = {"height": 1.7, "aspect": 2.4}  # of a panel, as seaborn has it
LARGE = 10  # a ratio that takes a logarithmic axis
AXES = {"lam": "λ", "chapter": "method"}  # what a reader calls a column
EXPLAINED = ("The mean over all other parameters and over the seeds, with a band or a bar from the least run to the "
             "greatest. Colours and marks stand for λ.")  # fmt: skip
STYLE = "display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 1rem"


def write(folder: Path, runs: Sequence[Run], swept: Sequence[Sweep]) -> None:
    """Write, of each sweep with runs, `<sweep>.md`, its grid as `.yaml`, its table as `.csv`, and its pictures."""
    for sweep in swept:
        if own := _of(sweep, runs):
            rows = measured(own)
            (folder / f"{sweep.name}.csv").write_text(artefacts.csv(rows))
            (folder / f"{sweep.name}.yaml").write_text(_public(sweep, own))
            for name, (part, parameter) in _pictures(sweep, rows).items():
                figure(part, parameter).savefig(folder / name, bbox_inches="tight", metadata={"Date": None})
            (folder / f"{sweep.name}.md").write_text(page(sweep, own, rows))


def listing(runs: Sequence[Run], swept: Sequence[Sweep], faults: Sequence[str]) -> HTML:
    """The sweeps, each with a link to its page."""
    lines = [f'<a href="runs/{sweep.name}.html">{escaped(sweep.file)}</a>: {_summary(sweep, own)}'
             for sweep in swept if (own := _of(sweep, runs))]  # fmt: skip
    lines += [f"Damaged: {escaped(fault)}" for fault in faults]
    items = "".join(f"<li>{line}</li>" for line in lines)
    return HTML(f"<ul>{items}</ul>" if lines else "<p>No sweep is on record.</p>")


def _of(sweep: Sweep, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.id in sweep.runs]


def _public(sweep: Sweep, runs: Sequence[Run]) -> str:
    """The grid, in which a folder of digits has its short name, or its last if no run on it is there."""
    text, short_names = sweep.grid, _short_names(runs)
    for dataset, short in sorted(short_names.items(), key=lambda name: -len(name[0])):  # a/b before a
        text = text.replace(dataset, short)
    return re.sub(FOLDER, lambda path: short_names.get(download.spelled_out(path[0]), Path(path[0]).name), text)


def _short_names(runs: Sequence[Run]) -> dict[str, str]:
    """What the page calls each dataset: as few of a folder's last names as tell all of them apart."""
    paths = {run.parameters.dataset: Path(run.parameters.dataset).parts or (".",) for run in runs}
    lengths = range(1, max(map(len, paths.values())) + 1)
    length = next(k for k in lengths if len({parts[-k:] for parts in paths.values()}) == len({*paths.values()}))
    return {dataset: str(Path(*parts[-length:])) for dataset, parts in paths.items()}


def measured(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run and lambda: every parameter, as it is typed, and the mean over seeds of every metric."""
    rows = history.flat_table(runs)
    rows["dataset"] = rows["dataset"].map(_short_names(runs))
    for name in rows.drop(columns="dataset").select_dtypes(["object", "string"]):
        # a method may lack it
        rows[name] = rows[name].map(_typed, na_action="ignore")
        if rows[name].str.fullmatch(r"-?\d+(\.\d+)?", na=False).all():  # lists of one number
            rows[name] = pd.to_numeric(rows[name])
    return rows


def _typed(value: object) -> object:
    return word(json.loads(value) if isinstance(value, str) and value.startswith("[") else value)


def varied(rows: pd.DataFrame) -> list[str]:
    """The columns of the parameters that differ; lambda's for the list of all, and no start, which follows."""
    parameters = [name for name in rows if name not in ("run", "start", "finished", "seconds", "lam", *TITLES)]
    differing = [name for name in parameters if len(rows[name].unique()) > 1]
    return ["lam" if name == "lambdas" else name for name in differing]


def _pictures(sweep: Sweep, rows: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str]]:
    """The rows and the parameter of each picture, by the names of their files: method by method, and the methods."""
    parts = {f"{sweep.name}-{chapter[0]}": part for chapter, part in rows.groupby("chapter")}
    found = {f"{name}-{parameter}.svg": (part, parameter) for name, part in parts.items() for parameter in varied(part)}
    return found | ({f"{sweep.name}-methods.svg": (rows, "chapter")} if len(parts) > 1 else {})


def figure(rows: pd.DataFrame, parameter: str) -> Figure:
    """Small multiples: each metric against a parameter, mean over the others and a band from least to greatest."""
    numbers = pd.api.types.is_numeric_dtype(rows[parameter]) and not pd.api.types.is_bool_dtype(rows[parameter])
    lambdas = sorted(rows["lam"].unique())
    hue = None if parameter == "lam" or len(lambdas) == 1 else "lam"
    long = rows.melt([*{parameter, "lam"}], METRICS, "metric")
    drawn: dict[str, Any] = {"y": "value", "hue": hue, "palette": hue and plots.palette(lambdas), "row": "metric",
                             "legend": hue and "full", "errorbar": ("pi", 100), **SIZE}  # fmt: skip
    facets = {"sharey": False, "legend_out": False}
    markers = [plots.MARKERS[k % len(plots.MARKERS)] for k in range(len(lambdas))]
    drawn |= {"markers": markers} if hue else {"marker": "o"}
    if numbers:
        drawn |= {"style": hue, "dashes": False} if hue else {}
        grid = sns.relplot(long, x=parameter, kind="line", facet_kws=facets, **drawn)
    else:
        words = long[parameter].map(lambda value: f"({value[0]})" if parameter == "chapter" else str(value))
        drawn |= {"dodge": 0.4 * bool(hue), "linestyle": "none", "legend": bool(hue)}
        grid = sns.catplot(long.assign(**{parameter: words}), x=parameter, kind="point", **facets, **drawn)
    for name, ax in grid.axes_dict.items():
        ax.set_title(TITLES[name], fontsize="medium")
        if "nats" in TITLES[name]:
            _scale(ax, "y", rows[name])
        if numbers:
            _scale(ax, "x", rows[parameter])
    grid.set_axis_labels(AXES.get(parameter, parameter), "")
    if hue:
        place = {"bbox_to_anchor": (0.5, 1), "bbox_transform": grid.figure.transFigure, "ncols": min(5, len(lambdas))}
        small = {"frameon": False, "columnspacing": 1, "handletextpad": 0.3}
        sns.move_legend(grid.axes[0, 0], "lower center", title="λ", **place, **small)
        for text, lam in zip(grid.axes[0, 0].get_legend().get_texts(), lambdas, strict=True):
            text.set_text(f"{lam:g}")
    plt.close(grid.figure)
    return grid.figure


def _scale(ax: Axes, axis: str, values: pd.Series) -> None:
    """A logarithmic axis where the values, all of one sign, span a decade; ticks at the values if they are few."""
    sizes = values.abs()
    if sizes.min() > 0 and sizes.max() >= LARGE * sizes.min():
        if values.min() > 0:
            ax.set(**{f"{axis}scale": "log"})
            getattr(ax, f"{axis}axis").set_minor_formatter(NullFormatter())
        elif axis == "y" and values.max() < 0:
            ax.set_yscale("symlog", linthresh=sizes.min())
            ax.set_ylim(top=values.max() / 1.5)
    if axis == "x" and len(values.unique()) <= LARGE:
        ax.set_xticks(sorted(values.unique()), [f"{value:g}" for value in sorted(values.unique())])
        ax.minorticks_off()


def describe(rows: pd.DataFrame, parameter: str) -> str:
    """A picture in words: where accuracy and evidence are greatest and least."""
    said = []
    for lam, part in [(0, rows)] if parameter == "lam" else rows.groupby("lam"):
        for name in ("accuracy", "evidence"):
            means = part.groupby(parameter)[name].mean().dropna()
            places = (("greatest", means.idxmax()), ("least", means.idxmin()))
            ends = [f"{word}, {metric(name, means[at])}, at {at}" for word, at in places]
            said.append({"at": f"at λ = {lam:g} " if lam else "", "name": name, "ends": " and ".join(ends)})
    title = f"{_title(rows, parameter)}, each metric against {AXES.get(parameter, parameter)}: "
    return title + in_words(pd.DataFrame(said), "{at}mean {name} is {ends}")


def _title(rows: pd.DataFrame, parameter: str) -> str:
    return "All methods" if parameter == "chapter" else str(METHODS[rows["chapter"].iloc[0][0]])


def best(rows: pd.DataFrame, metric_name: str) -> pd.DataFrame:
    """The rows of the runs that are greatest in a metric, on each dataset and at each lambda."""
    ordered = rows.sort_values(metric_name, ascending=False, kind="stable")
    return ordered.groupby(["dataset", "lam"]).head(FEW).sort_values(["dataset", "lam"], kind="stable")


def page(sweep: Sweep, runs: Sequence[Run], rows: pd.DataFrame) -> str:
    """A sweep's page in Markdown."""
    parts = ["---\norphan: true\n---", f"# Sweep {sweep.file}", "[All runs](../reruns.ipynb)",
             " ".join([f"{_summary(sweep, runs)}.", *(f"**{line}.**" for line in marks(runs).splitlines())]),
             f"The numbers, a row for each run and λ: {{download}}`{sweep.name}.csv`."]  # fmt: skip
    pictures = _pictures(sweep, rows)
    parts += ["## Each metric against each parameter", EXPLAINED] * bool(pictures)
    for title, group in itertools.groupby(pictures.items(), lambda picture: _title(*picture[1])):
        shown = [f"```{{image}} {name}\n:class: artefact\n:alt: {describe(*drawn)}\n```" for name, drawn in group]
        parts += [f"### {title}", f'<div style="{STYLE}">', *shown, "</div>"]
    for name in ("accuracy", "evidence"):
        parts += [f"## Best by {name}", _best_table(rows, name)]
    grid = f"With this grid, {{download}}`{sweep.name}.yaml`, saved as `{sweep.file}`:"
    parts += ["## Again", grid, fenced(_public(sweep, runs), "text"), fenced(f"ccbook sweep {shlex.quote(sweep.file)}")]
    if sweep.missing:
        parts.append(f"The command also makes the {count(len(sweep.missing), 'run')} that failed or weren't begun:")
        parts += [fenced(command) for command in sweep.missing]
    handed_on = fenced(f"ccbook archive {sweep.name}.tar.gz {sweep.name}")
    parts += ["The runs in one file, which `ccbook fetch` puts on another record, and this page with them:", handed_on]
    return "\n\n".join(parts) + "\n"


def _summary(sweep: Sweep, runs: Sequence[Run]) -> str:
    planned, seconds = len(sweep.runs) + len(sweep.missing), sum(run.receipt["seconds"] for run in runs)
    finished = max(run.receipt["finished"] for run in runs)[:16].replace("T", " ")
    return f"{len(runs)} of {count(planned, 'run')} on record, made in {duration(seconds)}, the last on {finished} UTC"


def _best_table(rows: pd.DataFrame, name: str) -> str:
    columns = [column for column in varied(rows) if column != "lam"]
    cells = []
    for row in best(rows, name).to_dict("records"):
        link = f'<a href="{row["run"]}.html">{row["run"]}</a>'
        values = ["–" if pd.isna(row[column]) else escaped(row[column]) for column in columns]
        cells.append([f"{row['lam']:g}", link, *values, *(metric(each, row[each]) for each in METRICS)])
    titles = ["λ", "run", *(AXES.get(column, column) for column in columns), *(TITLES[each] for each in METRICS)]
    shown = table(f"Best by {name}", cells, titles, safe=True)
    return f'<div style="white-space: nowrap; font-size: 0.85em">\n{shown}\n</div>'
