"""The edition of the paper: parameters, records, comparison with the print, pages, command line."""

import os
import signal
from pathlib import Path

ROOT = Path(__file__).parents[2]  # the project's folder
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a cluster, and a terminal that is closed


def folder_of(variable: str, usual: str) -> Path:
    """The folder that an environment variable names or, if it is empty or not set, one of the project's.

    Raises: ValueError if it is in the home of nobody.
    """
    named = Path(os.environ.get(variable) or ROOT / usual)
    try:
        return named.expanduser()
    except RuntimeError:
        raise ValueError(f"{variable} = {named} is in the home of nobody. Name another folder") from None


def runs_folder() -> Path:
    """The folder of all runs: CCBOOK_RUNS, or book/runs."""
    return folder_of("CCBOOK_RUNS", "book/runs")
