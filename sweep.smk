"""The runs of a sweep, a job each; `ccbook sweep` writes the plan and calls Snakemake."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

PYTHON = sys.executable  # a cluster's job needs no PATH
PLAN = json.loads(Path(config["plan"]).read_text())


def end_with_parent():
    """End this and all that it started when `ccbook sweep` was killed, and could not."""
    while os.getppid() == config["parent"]:
        time.sleep(1)
    os.killpg(0, signal.SIGINT)
    time.sleep(config["patience"])
    os.killpg(0, signal.SIGKILL)


if workflow.is_main_process:  # and no job on a cluster
    threading.Thread(target=end_with_parent, daemon=True).start()


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
