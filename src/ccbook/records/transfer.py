"""Runs in one compressed file, to be handed on: written, and put on another record once all of it is verified.

A sweep travels with its runs.

Unpacked it is a Process Run Crate; its metadata are for other tools, and are not read here.
"""

import gzip
import http.client
import io
import json
import os
import re
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccbook.records import store, sweeps
from ccbook.records.crate import METADATA, crate
from ccbook.records.run import FILE, NAME, Run, RunError, read

TOP = "ccbook-runs-1"  # the folder in it; another layout will have another number
SILENCE = 60  # seconds that a server may keep silent
RESERVE = 2**28  # bytes that a download leaves free
LONGEST = 2**26  # bytes of a file that is read at once: a receipt, or a sweep


def write(file: Path, runs: Sequence[Run]) -> None:
    """Write runs to a file, whole or not at all."""
    partial = file.with_name(f".{file.name[:100]}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(partial, "w:gz") as archive:
            _append(archive, METADATA, json.dumps(crate(runs), indent=1, ensure_ascii=False).encode())
            for run in runs:
                for name in ("receipt.json", *run.receipt["artefacts"]):
                    _append(archive, f"{run.id}/{name}", (run.folder / name).read_bytes())
            for sweep in sweeps.of_only(run.id for run in runs):
                _append(archive, f"{sweep.name}.json", sweep.model_dump_json().encode())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _append(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(f"{TOP}/{name}")  # of nobody, and of no time
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def add(source: str) -> tuple[list[Run], list[Run]]:
    """Verify all of an archive, a file or at a web address, and put those of its runs on record that aren't.

    Returns: the runs that were added, and those that were there. Raises: RunError; then nothing is changed.
    """
    with store.temporary_folder() as temporary:
        file, place = Path(source), Path(temporary)
        try:
            if source.startswith(("https://", "http://")):
                file = place / "archive"
                _download(source, file)
            if not (runs := list(_unpacked(file, place))):
                raise ValueError("there is no run in it")
            swept = [sweeps.read(one) for one in sorted((place / TOP).glob("sweep-*.json"))]
            if not {name for sweep in swept for name in sweep.runs} <= {run.id for run in runs}:
                raise ValueError("a sweep in it has other runs")
        except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError,
                http.client.HTTPException) as error:  # fmt: skip
            if isinstance(error, urllib.request.HTTPError):
                error.close()  # it is an answer, too
            said = str(error).replace(f"{place / TOP}/", "").partition(". Delete")[0]
            reason = " ".join(said.split())[:500]  # a server may answer anything
            remedy = "Nothing was changed; get the archive again"
            raise RunError(f"{source[:500]} can't be used ({reason}). {remedy}") from error
        there = [run for run in runs if store.on_record(run.id)]
        added = [store.keep(run) for run in runs if run not in there]
        known = {sweep.name: set(sweep.runs) for sweep in sweeps.with_parts()[0]}
        for sweep in swept:
            if sweep.name not in known or known[sweep.name] < set(sweep.runs):  # more of the same grid
                sweeps.put(sweep)
        return added, there


def _download(address: str, file: Path) -> None:
    with urllib.request.urlopen(address, timeout=SILENCE) as answer, file.open("wb") as content:
        while part := answer.read(2**20):  # one cut short shows when it is unpacked
            content.write(part)
            if shutil.disk_usage(file.parent).free < RESERVE:
                raise ValueError("too large here")


def _unpacked(file: Path, place: Path) -> Iterator[Run]:
    """The runs of an archive, verified: each with the files of its receipt, and no others."""
    free = shutil.disk_usage(place).free
    # tarfile's own reader follows what other kinds of header say, however long, and each Python's in another way
    with gzip.open(file) as content:
        while (header := content.read(tarfile.BLOCKSIZE)).strip(b"\0"):
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            fits = 0 <= member.size <= (min(LONGEST, free) if member.name.endswith(".json") else free)
            free -= member.size
            expected = re.fullmatch(rf"{TOP}/({NAME}/{FILE}|{sweeps.SWEEP}\.json|{METADATA})", member.name, re.ASCII)
            if not member.isreg() or not expected or not fits:
                raise ValueError(f"{member.name!r} is no file of an archive of this version, or too large here")
            (place / member.name).parent.mkdir(parents=True, exist_ok=True)
            with (place / member.name).open("wb") as copy:
                left = member.size
                while part := content.read(min(left, 2**20)):
                    left -= copy.write(part)
            if left:
                raise EOFError(f"{member.name!r} is cut short")
            content.read(-member.size % tarfile.BLOCKSIZE)
        while rest := content.read(2**20):  # to the end, where gzip has a checksum
            if rest.strip(b"\0"):
                raise ValueError("a part of it can't be read")
    for folder in sorted((place / TOP).glob("*/")):
        run, files = read(folder), {str(file.relative_to(folder)) for file in folder.rglob("*.*")}
        if files != {"receipt.json", *run.receipt["artefacts"]}:
            raise ValueError(f"{run.id} has other files than its receipt says")
        yield run
