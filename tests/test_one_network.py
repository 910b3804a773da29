"""One network for every lambda: how far its verdict hangs on the seeds that it is measured by."""

from types import SimpleNamespace
from typing import Any

import pandas as pd

from ccbook.book.one_network import GRID, against_pairs


def test_the_worst_lambda_is_taken_against_each_two_seeds_of_the_tuned_training():
    table = pd.DataFrame({"method": "g", "lam": GRID, "evidence": -104.0})
    at_one = {0: -100.0, 1: -104.0, 2: -96.0}  # elsewhere all seeds have (g)'s own evidence
    rows = [(lam, seed, value if lam == 1 else -104.0) for lam in GRID for seed, value in at_one.items()]
    tuned: Any = SimpleNamespace(metrics=pd.DataFrame(rows, columns=["lam", "seed", "evidence"]))
    # the means of two are -102, -98 and -100
    assert "any two of its 3, (g) at its worst λ lies 2.0% to 6.1% behind" in against_pairs(table, tuned)
    tuned.metrics = tuned.metrics.query("seed == 0")
    assert against_pairs(table, tuned) == ""
