"""The Dockerfile's steps, run in a clean Debian root: they are known to work where there is no container engine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ccbook import ROOT
from tests.helpers import copy_of_the_project

LARGEST = 4e9  # bytes on disk, with torch's build for the processor


class Root:
    """A folder with a Debian, in which commands run as in a container that sees this machine's network."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.place = folder, "root", "/"
        self.variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}
        self.variables |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        # where pip finds packages on this machine: its settings, and the files that they name
        told = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=True).stdout
        paths = {"/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/ssl", "/etc/pip.conf", "/etc/xdg/pip"}
        paths |= set(re.findall(r"(?<![\w:/])/[\w./-]+", told.replace("file://", "")))
        self.shared = sorted(path for path in paths if Path(path).exists())

    def run(self, command: str) -> str:
        """What a command said; mounts are gone when it ends."""
        mounts = ["mount -t proc proc $0/proc"]
        for path in map(Path, self.shared):
            place = f"mkdir -p $0{path}" if path.is_dir() else f"mkdir -p $0{path.parent} && touch $0{path}"
            mounts.append(f"{place} && mount --rbind {path} $0{path}")
        script = " && ".join([*mounts, f'exec chroot --userspec={self.user} $0 /bin/sh -c "$1"'])
        words = ["unshare", "--mount", "sh", "-c", script, str(self.folder), f"cd {self.place} && {command}"]
        done = subprocess.run(words, env=self.variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-20_000:]}{done.stderr[-3_000:]}"
        return done.stdout

    def copy(self, source: Path, to: Path) -> None:
        """What COPY does, with --chown."""
        copied = shutil.copytree(source, to, dirs_exist_ok=True) if source.is_dir() else shutil.copy2(source, to)
        assert copied
        subprocess.run(["chown", "-R", "--reference", str(self.folder / self.place[1:]), str(to)], check=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """The Dockerfile's steps, taken one after the other."""
    if os.getuid() or not shutil.which("debootstrap"):
        pytest.skip("needs root, and the package debootstrap")
    root = Root(tmp_path_factory.mktemp("image") / "root")
    project = tmp_path_factory.mktemp("project")
    subprocess.run(["git", "clone", "--quiet", ROOT, project], check=True)
    copy_of_the_project(project)  # with what isn't committed yet
    # what python:3.11-slim has: Python whole, with the headers that compiled code needs
    packages = "--include=ca-certificates,python3-distutils,python3.11-dev,python3.11-venv"
    debian = ["debootstrap", "--variant=minbase", packages, "bookworm", str(root.folder)]
    subprocess.run(debian, check=True, capture_output=True)
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    for line in filter(None, text.splitlines()):
        name, words = line.split(maxsplit=1)
        if name == "RUN":
            root.run(words)
        elif name == "USER":
            root.user = words
        elif name == "WORKDIR":
            root.place = words
        elif name == "ENV":
            pairs = dict(word.split("=", 1) for word in words.split())
            root.variables |= {n: value.replace("$PATH", root.variables["PATH"]) for n, value in pairs.items()}
        elif name == "COPY":
            *sources, to = [word for word in words.split() if not word.startswith("--")]
            for source in sources:
                root.copy(project / source, root.folder / root.place[1:] / to / ("" if source == "." else source))
        else:
            assert name in ("FROM", "ARG", "CMD"), line
    return root


@pytest.mark.deep
def test_the_dockerfiles_steps_make_an_image_in_which_a_run_is_made_and_the_tests_pass(image):
    made = image.run("ccbook run a --set dataset=OpticalDigits profile=quick lambdas=1")
    assert made.startswith("a_direct-")
    assert image.run("id -un").strip() == "reader"
    image.run("make lint")
    size = int(subprocess.run(["du", "-sxB1", str(image.folder)], capture_output=True, text=True).stdout.split()[0])
    assert size < LARGEST, f"{size:,} bytes"
    image.run("make test")
