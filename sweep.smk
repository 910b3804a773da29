"""The runs of a sweep, a job each; `ccbook sweep` writes the plan and calls Snakemake."""

import json
import sys
from pathlib import Path

PYTHON = sys.executable  # a cluster's job needs no PATH
PLAN = json.loads(Path(config["plan"]).read_text())


envvars:
    "CCBOOK_RUNS",
    "CCBOOK_DATA",


rule all:
    input:
        [f"done/{job}.json" for job in PLAN["jobs"]],


rule run:
    input:
        lambda wildcards: [f"done/{job}.json" for job in PLAN["jobs"][wildcards.job]["needs"]],
    output:
        "done/{job}.json",  # a copy of the receipt; the run itself is never Snakemake's to delete
    log:
        "log/{job}.txt",
    params:
        arguments=lambda wildcards: PLAN["jobs"][wildcards.job]["arguments"],
    threads: PLAN["cores"]
    shell:
        "{PYTHON:q} -m ccbook.cli {params.arguments} --receipt {output} > {log} 2>&1"
