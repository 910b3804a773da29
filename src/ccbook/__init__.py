"""The edition of the paper: parameters, records, comparison with the print, pages, command line."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # the project's folder
