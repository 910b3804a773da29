"""The paper's own numbers: Tables 1-3, as printed."""

from importlib import resources

import pandas as pd

METHODS = {
    "a": "direct",
    "b": "direct, one epoch",
    "c": "low-rank hypernetwork",
    "d": "low-rank, fine-tuned",
    "e": "linear hypernetwork",
    "f": "linear, fine-tuned",
}
CHAPTERS = {
    "a": "a_direct",
    "b": "b_direct_one_epoch",
    "c": "c_low_rank",
    "d": "d_low_rank_fine_tuned",
    "e": "e_linear",
    "f": "f_linear_fine_tuned",
}
STARTS = {"d": "c", "f": "e"}  # the fine-tuned, and what they start from


def tables() -> pd.DataFrame:
    """Rows of table, quantity, method, lam (NaN where a value is for all lambdas together), value."""
    with resources.files("complexity_control").joinpath("reported.csv").open() as file:
        return pd.read_csv(file)
