"""The colours of the pictures, in both themes and for eyes that don't tell red from green; and their legends."""

import re
from itertools import combinations
from typing import Any

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from ccbook import ROOT
from ccbook.book import plots
from ccbook.compare import printed

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear RGB
EYES = {  # Machado and others, 2009; of linear RGB
    "usual": np.eye(3),
    "without red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "without green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


def light(colour: object) -> np.ndarray:
    return np.array(matplotlib.colors.to_rgb(colour))  # type: ignore[arg-type]


def dark(colour: object) -> np.ndarray:
    """The colour as the page shows a picture in the dark: its filter, by the definition of CSS."""
    (share,) = re.findall(
        r"filter: invert\((.*?)\) hue-rotate\(180deg\);", (ROOT / "chapters/_static/site.css").read_text()
    )
    inverted = float(share) + (1 - 2 * float(share)) * light(colour)
    return np.clip(2 * np.dot([0.213, 0.715, 0.072], inverted) - inverted, 0, 1)


def linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of WCAG."""
    low, high = sorted(TO_XYZ[1] @ linear(colour) + 0.05 for colour in (one, other))
    return high / low


def lab(colour: np.ndarray, eye: str) -> np.ndarray:
    """CIELAB, in which a distance of 2 can just be seen."""
    relative = TO_XYZ @ np.clip(EYES[eye] @ linear(colour), 0, 1) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [light, dark])
def test_a_line_of_any_lambda_is_seen_in_both_themes_and_none_is_nearly_white(theme):
    for lam, colour in plots.palette(10 ** np.linspace(-5, 4, 37)).items():
        assert contrast(theme(colour), theme("white")) >= 3, lam
        assert not 0.1 <= lam <= 100 or np.ptp(theme(colour)) > 0.2, lam  # it has a hue


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("theme", [light, dark])
def test_the_papers_lambdas_are_told_apart(theme, eye):
    colours = [lab(theme(colour), eye) for colour in plots.palette(printed.LAMBDAS).values()]
    assert min(np.linalg.norm(one - other) for one, other in combinations(colours, 2)) > 25


@pytest.mark.parametrize("theme", [light, dark])
def test_a_method_is_seen_in_both_themes(theme):
    for colour in plots.COLOURS.values():
        assert contrast(theme(colour), theme("white")) >= 3


@pytest.mark.parametrize("number", [4, 7, 30])
def test_a_legend_of_many_lambdas_covers_no_curve(number):
    rows = [(lam, percent, 0.5) for lam in np.geomspace(0.1, 100, number) for percent in (0, 90)]
    figure, ax = plt.subplots(layout="constrained")
    plots.pruning(pd.DataFrame(rows, columns=["lam", "pruned_percent", "accuracy"]), ax)
    figure.canvas.draw()
    legend: Any = ax.get_legend()
    assert 4 <= len(legend.get_texts()) <= 12
    assert ax.bbox.overlaps(legend.get_window_extent()) == (number == 4)  # among few curves there is a place for it
    plt.close(figure)
