"""The paper's own numbers: Tables 1-3 as printed, and the curves of Figure 1 as read off its picture."""

from pathlib import Path

import pandas as pd

LAMBDAS = (0.1, 1.0, 10.0, 100.0)  # of the paper's tables


def tables() -> pd.DataFrame:
    """Rows of table, quantity, method, lam (NaN where a value is for all lambdas together), value.

    Table 1's accuracy has the name of what it is: the mean over the ten levels of Figure 1.
    """
    printed = pd.read_csv(Path(__file__).with_name("printed.csv"))
    return printed.replace({"quantity": {"accuracy": "accuracy_curve_mean"}})


def curves() -> pd.DataFrame:
    """Rows of method, lam, pruned_percent, value: accuracy, good to 0.003; points that other lines cover are missing.

    Read off the six panels in the authors' slides of autumn 2020, whose accuracies at 0% over those at 90% are Table 2.
    """
    digitised = pd.read_csv(Path(__file__).with_name("figure1_digitised.csv"))
    return digitised.rename(columns={"accuracy": "value"})


def of_method(letter: str) -> pd.DataFrame:
    """A method's printed values: a row for each lambda, a column for each quantity; empty if the paper has none."""
    rows = tables()
    return rows[rows["method"] == letter].pivot_table("value", "lam", "quantity")
