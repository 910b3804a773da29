"""Every command of the guide, executed as it stands there, one after the other in one shell's folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ccbook import ROOT
from tests.helpers import on_record
from tests.test_sweep import slurm_is_up

GUIDE = (ROOT / "chapters" / "rerun.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


def test_the_guide_has_what_it_promises():
    assert len(COMMANDS) > 15
    assert {"run", "runs", "show", "diff", "rm", "sweep"} <= {line.split()[1] for line in COMMANDS}
    assert len(GUIDE.split()) < 10 * 200  # ten minutes of reading


@pytest.mark.deep
def test_every_command_of_the_guide_works(folder, tmp_path):
    place = tmp_path / "reader"
    place.mkdir()
    shutil.copytree(ROOT / "profiles", place / "profiles")
    folder.rename(place / "digits")
    (grid,) = re.findall(r"```yaml\n(# grid\.yaml\n.*?)```", GUIDE, re.DOTALL)
    (place / "grid.yaml").write_text(grid)
    (place / "profiles" / "here").mkdir()
    (place / "profiles" / "here" / "config.yaml").write_text('cluster-generic-submit-cmd: "setsid sh"\n')
    ours = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    known: dict[str, str] = {}  # the guide's names of runs, and those that were made
    for line in COMMANDS:
        made = sorted(on_record(), key=lambda run: (run.folder / "receipt.json").stat().st_mtime_ns)
        for placeholder in re.findall(r"a_direct-0{11}\d", line):
            if placeholder not in known:
                known[placeholder] = [run.id for run in made if run.id not in known.values()][-1]
            line = line.replace(placeholder, known[placeholder])
        # where there is no such cluster, this machine stands in for it
        absent = [name for name in ("kubernetes", "slurm") if name in line and not (name == "slurm" and slurm_is_up())]
        for name in absent:
            line = line.replace(
                f"--executor {name} --profile profiles/{name}", "--executor cluster-generic --profile profiles/here"
            )
        done = subprocess.run(["bash", "-euc", line], cwd=place, env=ours, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (place / "mine.ipynb").is_file()
    assert len(on_record()) >= 10  # single runs, and those of the grid


@pytest.mark.deep
@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_is_one_that_snakemake_takes(name, tmp_path):
    pytest.importorskip(f"snakemake_executor_plugin_{name}")
    (tmp_path / "Snakefile").write_text("rule all:\n    output: 'done'\n    shell: 'touch {output}'\n")
    command = [sys.executable, "-m", "snakemake", "--executor", name, "--jobs", "1", "--dry-run"]
    command += ["--default-storage-prefix", str(tmp_path), "--profile", str(ROOT / "profiles" / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
