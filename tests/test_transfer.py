"""Runs handed on in one file: added where all of it is right, and refused with nothing changed where it isn't."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ccbook import perform
from ccbook.records import history, sweeps, transfer
from ccbook.records.crate import METADATA
from ccbook.records.run import Run
from ccbook.records.sweeps import Sweep
from ccbook.wording import assignments
from tests.helpers import ccbook, ended, on_record

GONE = "a_direct-000000000000"  # a run that was removed


@pytest.fixture
def both(small) -> list[Run]:
    for prior_std in (0.1, 2):
        perform.perform("a_direct", small | {"prior_std": prior_std})
    return on_record()


@pytest.fixture
def file(both, tmp_path) -> Path:
    """An archive of two runs, the second of which isn't on record here."""
    assert "wrote 2 runs" in ended(ccbook("archive", tmp_path / "runs.tar.gz", *(run.id for run in both)))
    shutil.move(both[1].folder, tmp_path / "taken")
    return tmp_path / "runs.tar.gz"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_record_that_cant_be_written_is_named(file, tmp_path, monkeypatch):
    monkeypatch.setenv("CCBOOK_RUNS", str(file))
    assert f"{file} can't be written (File exists). Change that, or CCBOOK_RUNS" in ended(ccbook("fetch", file), 2)


def test_what_was_written_is_added_to_the_byte_where_it_is_missing(file, both, record, tmp_path):
    finished = (both[0].folder / "receipt.json").stat().st_mtime_ns
    assert "1 run added, 1 on record before" in ended(ccbook("fetch", file))
    assert on_record() == both
    assert contents(both[1].folder) == contents(tmp_path / "taken")
    assert (both[0].folder / "receipt.json").stat().st_mtime_ns == finished
    assert "the same bytes" in ended(ccbook("verify", both[1].id))
    assert "0 runs added, 2 on record before" in ended(ccbook("fetch", file))
    assert {path.name for path in record.glob("*")} - {".progress"} == {run.id for run in both}


def test_the_same_runs_give_the_same_members_and_name_nobody(file):
    with tarfile.open(file) as archive:
        for member in archive:
            assert (member.uid, member.uname, member.mtime, member.mode) == (0, "", 0, 0o644)


def test_an_archive_overwrites_nothing_and_needs_all_that_it_names(file, both, record):
    assert "name a new file" in ended(ccbook("archive", file, both[0].id), 2)
    assert "name a new file" in ended(ccbook("archive", record / "new.tar.gz", both[0].id), 2)
    assert "no run 'nothing' is on record" in ended(ccbook("archive", file.with_name("new.tar.gz"), "nothing"), 2)
    assert "has no run on record with profile paper" in ended(ccbook("archive", file.with_name("new.tar.gz")), 2)
    assert not file.with_name("new.tar.gz").exists()


@pytest.fixture
def swept(both, tmp_path) -> tuple[Sweep, Path]:
    """A sweep of two runs in an archive, and nothing of it on record any more."""
    sweep = sweeps.keep(Path("grid.yaml"), "methods: [a]", ["1", "2", "3"], [*(run.id for run in both), GONE], [])
    assert "wrote 2 runs" in ended(ccbook("archive", tmp_path / "sweep.tar.gz", sweep.name))
    assert f"did you mean '{sweep.name}'?" in ended(ccbook("rm", f"{sweep.name}.json"), 2)
    assert ended(ccbook("rm", sweep.name)).count("removed") == 2
    assert (on_record(), sweeps.all_sweeps()) == ([], ([], []))
    return sweep, tmp_path / "sweep.tar.gz"


def test_a_sweep_goes_with_its_runs_and_comes_with_them(swept, both):
    sweep, file = swept
    assert "2 runs added" in ended(ccbook("fetch", file))
    assert on_record() == both
    assert sweeps.all_sweeps() == ([sweep.model_copy(update={"runs": [run.id for run in both]})], [])
    ended(ccbook("rm", both[0].id))
    assert len(sweeps.all_sweeps()[0]) == 1  # one of its runs is left


def test_a_sweep_is_extended_and_a_part_of_a_larger_one_goes_by_its_name(swept, both, tmp_path):
    sweep, file = swept
    one = sweeps.keep(Path("grid.yaml"), "methods: [a]", ["1", "2", "3"], [both[0].id], [])
    assert one.name == sweep.name
    ended(ccbook("fetch", file))
    (extended,), _ = sweeps.all_sweeps()
    assert extended.runs == [run.id for run in both]
    part = sweeps.keep(Path("less.yaml"), "methods: [a]", ["1"], [both[0].id], [])
    assert sweeps.all_sweeps() == ([extended], [])
    assert "wrote 1 run" in ended(ccbook("archive", tmp_path / "part.tar.gz", part.name))
    ended(ccbook("rm", part.name))
    assert on_record() == both[1:]


def test_a_fine_tuning_takes_the_run_that_it_starts_from_with_it(small, tmp_path):
    words = assignments({name: small[name] for name in ("dataset", "lambdas", "hidden", "profile")})
    ended(ccbook("run", "d", *words, "--with-start"))
    tuned = history.find("d_")
    assert ended(ccbook("archive", tmp_path / "two.tar.gz", tuned.id)) == "wrote 2 runs\n"
    ended(ccbook("rm", tuned.id, "c_"))
    assert "2 runs added" in ended(ccbook("fetch", tmp_path / "two.tar.gz"))
    assert "the same bytes" in ended(ccbook("verify", tuned.id))
    ended(ccbook("rm", "--force", "c_"))
    said = ended(ccbook("archive", tmp_path / "one.tar.gz", tuned.id))
    assert f"left out 1 run that {tuned.id} starts from, not on record here" in said


def test_a_run_alone_takes_no_sweep_with_it(swept, both, tmp_path):
    ended(ccbook("fetch", swept[1]))
    ended(ccbook("archive", tmp_path / "one.tar.gz", both[0].id))
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        assert not any("sweep-" in name for name in archive.getnames())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"a_direct-", b"e_linear-", "a sweep in it has other runs"),
        (b"a_direct-", b"../a_direct-", "entry runs.0"),
        (b"sweep-grid", b"sweep-other", "it holds sweep-other"),
        (b'"grid.yaml"', b'"<script>"', "entry file"),
        (b"{", b"[", "Invalid JSON"),
    ],
)
def test_a_sweep_that_isnt_right_is_refused_with_its_runs(swept, old, new, reason):
    rewritten(swept[1], edited(f"{swept[0].name}.json", old, new))
    assert reason in ended(ccbook("fetch", swept[1]), 2)
    assert (on_record(), sweeps.all_sweeps()) == ([], ([], []))


def rewritten(file: Path, change: Callable[[tarfile.TarInfo, bytes], Iterator[tuple[tarfile.TarInfo, bytes]]]) -> None:
    """The archive with each member replaced by others."""
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(file, "w:gz") as archive:
        for pair in members:
            for member, content in change(*pair):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def renamed(old: str, new: str) -> Callable:
    def change(member: tarfile.TarInfo, content: bytes) -> Iterator:
        member.name = member.name.replace(old, new)
        yield member, content

    return change


def with_another(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> Callable:
    def change(member: tarfile.TarInfo, content: bytes) -> Iterator:
        yield member, content
        if member.name.endswith("metrics.csv"):
            other = tarfile.TarInfo(name.format(folder=member.name.rpartition("/")[0]))
            other.type, other.linkname = kind, to
            yield other, b"" if to else b"1"

    return change


def without(name: str) -> Callable:
    return lambda member, content: iter([] if member.name.endswith(name) else [(member, content)])


def edited(name: str, old: bytes, new: bytes) -> Callable:
    return lambda member, content: iter(
        [(member, content.replace(old, new) if member.name.endswith(name) else content)]
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (renamed(transfer.TOP, "ccbook-runs-2"), "no file of an archive of this version"),
        (renamed("a_direct", "../a_direct"), "no file of an archive"),
        (renamed("metrics.csv", "../../../metrics.csv"), "no file of an archive"),
        (renamed(transfer.TOP, f"/{transfer.TOP}"), "no file of an archive"),
        (renamed("metrics", ".metrics"), "no file of an archive"),
        (with_another("{folder}/link.csv", tarfile.SYMTYPE, "/etc/passwd"), "no file of an archive"),
        (with_another("{folder}/link.csv", tarfile.LNKTYPE, "/etc/passwd"), "no file of an archive"),
        (with_another("{folder}/device.csv", tarfile.CHRTYPE), "no file of an archive"),
        (with_another("../outside.csv"), "no file of an archive"),
        (with_another("{folder}/more.csv"), "has other files than its receipt says"),
        (with_another("{folder}/metrics.csv"), "isn't the file of its receipt"),
        (without("posterior.safetensors"), "posterior.safetensors is missing"),
        (without("receipt.json"), "receipt.json can't be read"),
        (edited("receipt.json", b'"train": 200', b'"train": 201'), "was changed after the run"),
        (edited("receipt.json", b"{", b""), "receipt.json can't be read"),
        (edited("metrics.csv", b"a,0.1", b"a,0.2"), "isn't the file of its receipt"),
        (edited("training.py", b"fit", b"fix"), "isn't the file of its receipt"),
    ],
)
def test_an_archive_that_isnt_right_is_refused_and_changes_nothing(file, record, damage, reason, tmp_path):
    before, beside = contents(record), {path.name for path in tmp_path.iterdir()}
    rewritten(file, damage)
    said = ended(ccbook("fetch", file), 2)
    assert reason in said
    assert f"{file} can't be used" in said
    assert "Nothing was changed" in said
    assert f"{record}/" not in said  # where it was unpacked is of no use
    assert contents(record) == before
    assert {path.name for path in tmp_path.iterdir()} == beside


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99, -1])
def test_an_archive_cut_short_is_refused_and_changes_nothing(file, record, size):
    before, whole = contents(record), file.read_bytes()
    file.write_bytes(whole[: int(size * len(whole)) if isinstance(size, float) else size])
    assert "Nothing was changed" in ended(ccbook("fetch", file), 2)
    assert contents(record) == before


@pytest.mark.parametrize("place", [0.01, 0.3, 0.6, 0.9])
def test_a_flipped_byte_of_an_archive_is_seen(file, record, place):
    before, content = contents(record), bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 255
    file.write_bytes(content)
    assert "Nothing was changed" in ended(ccbook("fetch", file), 2)
    assert contents(record) == before


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_broken_header_of_an_archive_is_not_taken_for_its_end(file, record, which):
    before, content = contents(record), bytearray(gzip.decompress(file.read_bytes()))
    with tarfile.open(file) as archive:
        content[archive.getmembers()[which].offset] ^= 255
    file.write_bytes(gzip.compress(content))
    assert "Nothing was changed" in ended(ccbook("fetch", file), 2)
    assert contents(record) == before


def header(size: int, kind: bytes = b"0", name: str = "other") -> bytes:
    """A member's header, which may say anything of its size."""
    numeral = b"%011o\0" % size if 0 <= size < 8**11 else size.to_bytes(12, "big", signed=True)
    block = bytearray(tarfile.TarInfo(name).tobuf())
    block[124:136], block[156:157] = bytes([numeral[0] | 128 * (size >= 8**11)]) + numeral[1:], kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


COMMENT = b"13 comment=a\n"


@pytest.mark.parametrize(
    "headers",
    [
        header(2**40, b"x"),
        header(2**63, b"L"),
        header(2**87, b"g"),
        header(2**62),
        header(-512),
        header(-512, b"K"),
        (header(len(COMMENT), b"x") + COMMENT.ljust(512, b"\0")) * 1_000,
        (header(4, b"L") + b"abc\0".ljust(512, b"\0")) * 1_000,
        header(1_000_000, b"x") + b"1" * 1_000_448,  # in which tarfile looks for a name from each digit on
        header(2**27, name=f"{transfer.TOP}/a_direct-0/receipt.json") + bytes(2**27),
    ],
    ids=[
        "1 TB",
        "64 bits",
        "96 bits",
        "62 bits",
        "minus",
        "a name's minus",
        "1000 headers",
        "1000 names",
        "digits",
        "receipt",
    ],
)
def test_a_header_that_says_anything_is_refused_in_time_and_memory(file, record, headers):
    before = contents(record)
    file.write_bytes(gzip.compress(headers + gzip.decompress(file.read_bytes()), 1))
    began = time.process_time()
    tracemalloc.start()
    said = ended(ccbook("fetch", file), 2)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert time.process_time() - began < 10
    assert "is no file of an archive" in said
    assert contents(record) == before


def test_a_header_that_promises_more_than_follows_is_refused(file, record):
    """Of a file that no receipt vouches for."""
    before = contents(record)
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + last.size + -last.size % tarfile.BLOCKSIZE
    more = header(1_000, name=f"{transfer.TOP}/{transfer.METADATA}") + b"{}"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:end] + more))
    assert "is cut short" in ended(ccbook("fetch", file), 2)
    assert contents(record) == before


def test_an_archive_without_a_run_is_refused(file, record):
    rewritten(file, without(""))
    assert "there is no run in it" in ended(ccbook("fetch", file), 2)


@pytest.mark.parametrize("source", ["nowhere.tar.gz", "ftp://127.0.0.1/runs", "file:///etc/passwd", ".", ""])
def test_what_is_no_archive_is_refused(source, record):
    assert "Nothing was changed" in ended(ccbook("fetch", source), 2)
    assert not record.exists() or not contents(record)


@pytest.fixture
def server(file) -> Iterator[str]:
    """The archive at a web address, whole, half or not there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = file.read_bytes()
            if self.path in ("/garbage", "/silence"):
                time.sleep(2 * (self.path == "/silence"))
                self.wfile.write(b"hello\r\n\r\n")
                return
            if self.path == "/none":
                self.send_response(404, "none " * 10_000)
            elif self.path == "/again":  # for ever
                self.send_response(302)
                self.send_header("Location", "/again")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.path == "/whole" else content[: len(content) // 2])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_an_archive_is_fetched_from_an_address_whole_or_not_at_all(server, both, record, monkeypatch):
    before = contents(record)
    monkeypatch.setattr(transfer, "SILENCE", 0.2)
    for address in (
        *(f"{server}/{path}" for path in ("half", "none", "again", "garbage", "silence")),
        f"http://127.0.0.1:{10**20}/",
    ):
        said = ended(ccbook("fetch", address), 2)
        assert "Nothing was changed" in said
        assert len(said) < 2_000
        assert len(said.splitlines()) == 1
        assert contents(record) == before
    assert "1 run added" in ended(ccbook("fetch", f"{server}/whole"))
    assert on_record() == both


def test_what_the_book_stands_on_is_archived(monkeypatch, both, tmp_path):
    """The book's own runs, and those that its results name."""
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "audit.csv").write_text(f"trial,runs\nx,{both[0].id} {both[1].id}\n")
    monkeypatch.setattr(history, "ROOT", tmp_path)
    monkeypatch.setattr(history.store, "of_book", lambda profile: {"a": both[0]})
    assert ended(ccbook("archive", tmp_path / "book.tar.gz")) == "wrote 2 runs\n"

    (tmp_path / "book" / "results" / "studies.csv").write_text("run\ne_linear-000000000001\na_direct-000000000002\n")
    said = ended(ccbook("archive", tmp_path / "more.tar.gz"))
    assert said == "wrote 2 runs\nleft out 2 runs of book/results/studies.csv, not on record here\n"


def test_nothing_is_trained_where_that_is_forbidden(both, small, monkeypatch):
    monkeypatch.setenv("CCBOOK_NEVER_TRAIN", "1")
    assert perform.perform("a_direct", small) in both
    with pytest.raises(ValueError, match=r"isn't on record, and nothing is to be trained: `ccbook fetch FILE` adds"):
        perform.perform("a_direct", small | {"prior_std": 3})


@pytest.fixture
def crate(file, tmp_path) -> Path:
    """The folder of the archive, unpacked by another tool."""
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / transfer.TOP


def test_an_archive_says_in_its_metadata_what_made_each_file(crate, both):
    entities = {entity["@id"]: entity for entity in json.loads((crate / METADATA).read_text())["@graph"]}
    files = {str(path.relative_to(crate)) for path in crate.rglob("*.*")} - {METADATA}
    assert {part["@id"] for part in entities["./"]["hasPart"]} == files
    made = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert {result["@id"] for action in made for result in action["result"]} == files
    assert {action["endTime"] for action in made} == {run.receipt["finished"] for run in both}
    assert sorted("prior_std=2.0" in action["description"] for action in made) == [False, True]
    for action in made:
        assert entities[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        assert entities[action["object"]["@id"]]["identifier"] == both[0].receipt["data"]["sha256"]


def test_the_metadata_are_what_ro_crate_1_1_and_its_profile_for_processes_require(crate):
    metadata = json.loads((crate / METADATA).read_text())
    assert metadata["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(entities) == len(metadata["@graph"])
    descriptor, root = entities[METADATA], entities["./"]
    assert (descriptor["@type"], descriptor["about"]) == ("CreativeWork", {"@id": "./"})
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= set(root)
    profile = entities[root["conformsTo"]["@id"]]
    assert profile["@id"].startswith("https://w3id.org/ro/wfrun/process/")
    for action in (entities[mentioned["@id"]] for mentioned in root["mentions"]):
        assert {"name", "description", "endTime", "instrument", "object", "result"} <= set(action)
    for entity in metadata["@graph"]:  # all that is referred to is described
        assert {"@id", "@type"} < set(entity)
        for value in entity.values():
            for reference in value if isinstance(value, list) else [value]:
                assert not isinstance(reference, dict) or reference["@id"] in {
                    *entities,
                    "https://w3id.org/ro/crate/1.1",
                }


# what a name in the metadata means lies on the web: the validator finds rocrate's copy of it in its cache
FILL = """
import io, sys, zipfile, requests, requests_cache, urllib3

class Copy(requests.adapters.HTTPAdapter):
    def send(self, request, **_):
        body = zipfile.ZipFile(sys.argv[2]).read("rocrate/data/ro-crate.jsonld")
        headers = {"Content-Type": "application/ld+json"}
        return self.build_response(request, urllib3.HTTPResponse(io.BytesIO(body), headers, 200, preload_content=False))

session = requests_cache.CachedSession(sys.argv[1], backend="sqlite", expire_after=-1)
session.mount("https://", Copy())
session.get("https://w3id.org/ro/crate/1.1/context", headers={"Accept": "application/ld+json, application/json"})
"""


@pytest.mark.deep
def test_the_archive_is_a_process_run_crate_by_the_validator_of_these(crate, tmp_path):
    """Without what made the runs it is none."""
    place, cache = tmp_path / "validator", str(tmp_path / "cache")

    def call(*words: object) -> None:
        subprocess.run([*map(str, words)], check=True, capture_output=True, text=True, timeout=600)

    def validated() -> dict:
        """The answer, which ends with status 1 where the crate isn't valid."""
        answer = tmp_path / "answer.json"
        words = [place / "bin" / "rocrate-validator", "--no-interactive", "validate", crate, "--offline",
                 "--cache-path", cache, "--output-format", "json", "--output-file", answer]  # fmt: skip
        subprocess.run([*map(str, words)], capture_output=True, timeout=600)
        return json.loads(answer.read_text())

    call(sys.executable, "-m", "venv", place)
    call(place / "bin" / "pip", "install", "roc-validator==0.13.0")
    call(place / "bin" / "pip", "download", "--no-deps", "--dest", tmp_path, "rocrate==0.11.0")
    call(place / "bin" / "python", "-c", FILL, cache, *tmp_path.glob("rocrate-*.whl"))
    assert (validated()["passed"], validated()["issues"]) == (True, [])
    metadata = json.loads((crate / METADATA).read_text())
    for entity in metadata["@graph"]:
        if entity["@type"] == "CreateAction":
            del entity["instrument"]
    (crate / METADATA).write_text(json.dumps(metadata))
    assert not validated()["passed"]
