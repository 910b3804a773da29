"""The runs of a sweep, a job each; `ccbook sweep` writes the plan and calls Snakemake."""

import json
from pathlib import Path

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
        command=lambda wildcards: PLAN["jobs"][wildcards.job]["command"],
    threads: PLAN["cores"]
    shell:
        "{params.command} --receipt {output} > {log} 2>&1"
