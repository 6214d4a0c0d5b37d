"""Fetching data: pinned, checked, resumed, and never half there; against a local server."""

import hashlib
import http.server
import json
import multiprocessing
import os
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import shared
from test_project import lce

from lcelib.corpus import winobias
from lcelib.data import sources
from lcelib.errors import LceError

CONTENT = {f"/team/data/abc/files/{n}.txt": f"content of {n} ".encode() * 9000 for n in "ab"}


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `faults` is what the next answers do wrong, `asked` what came."""

    faults, asked = [], []

    def log_message(self, *_):
        pass

    def do_GET(self):
        body, fault = CONTENT.get(self.path), self.faults.pop(0) if self.faults else ""
        self.asked.append((self.path, self.headers.get("Range")))
        if fault == "500" or body is None:
            self.send_error(500 if body else 404)
            return
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if fault == "wrong":
            body = b"x" + body[1:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        part = body[first:]
        self.wfile.write(part[: len(part) // 2] if fault == "cut" else part)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A mirror on this machine, an empty cache, and a catalog of two files."""
    Server.faults, Server.asked = [], []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("LCE_MIRROR", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setenv("LCE_CACHE", str(tmp_path / "a cache"))
    a, b = CONTENT.values()
    files = {
        "files/a.txt": "sha256:" + hashlib.sha256(a).hexdigest(),
        "files/b.txt": "blob:" + hashlib.sha1(b"blob %d\0" % len(b) + b).hexdigest(),
    }
    made = sources.Source("pair", "Two files", files, "team/data", "abc")
    monkeypatch.setattr(sources, "catalog", lambda: {"pair": made})
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits between its tries
    yield Server
    running.shutdown()


def whole(folder):
    return [p.read_bytes() for p in (folder / "a.txt", folder / "b.txt")] == list(CONTENT.values())


def test_files_are_fetched_once(server):
    folder = sources.get("pair")
    assert whole(folder)
    assert len(server.asked) == 2
    assert sources.get("pair") == folder
    assert len(server.asked) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "b.txt"]


@pytest.mark.faults(8)
@pytest.mark.parametrize("fault", ["500", "cut", "wrong"])
def test_passing_faults_are_overcome(server, fault):
    server.faults = [fault, fault]
    assert whole(sources.get("pair"))
    if fault == "cut":
        ranges = [r for path, r in server.asked if path.endswith("a.txt")]
        half = len(CONTENT["/team/data/abc/files/a.txt"]) // 2
        assert ranges[0] is None
        assert half - (1 << 13) < int(ranges[1][6:-1]) <= half  # goes on where it was cut


@pytest.mark.faults(8)
@pytest.mark.parametrize(("fault", "says"), [("500", "500 Server Error"), ("wrong", "not ")])
def test_lasting_faults_are_refused_and_leave_nothing(server, fault, says):
    server.faults = [fault] * 3
    with pytest.raises(LceError, match=says) as caught:
        sources.get("pair")
    text = str(caught.value)
    assert "http://127.0.0.1" in text
    assert "files/a.txt" in text
    if fault == "wrong":
        body = CONTENT["/team/data/abc/files/a.txt"]
        for content in (body, b"x" + body[1:]):
            assert hashlib.sha256(content).hexdigest() in text
    assert not list((sources.cache() / "pair").glob("*.txt"))
    assert whole(sources.get("pair"))  # and the next call mends it


@pytest.mark.faults(8)
def test_an_interrupted_call_goes_on_in_the_next_one(server):
    server.faults = ["cut"] * 3
    with pytest.raises(LceError):
        sources.get("pair")
    assert (sources.cache() / "pair" / "a.txt.part").stat().st_size > 0
    before = len(server.asked)
    assert whole(sources.get("pair"))
    assert server.asked[before][1] is not None


@pytest.mark.faults(7, 8)
def test_a_damaged_file_is_fetched_again(server):
    folder = sources.get("pair")
    (folder / "b.txt").write_bytes(b"else")
    states = {row["file"]: row["state"] for row in sources.status()}
    assert states == {"a.txt": "there", "b.txt": "damaged"}
    assert whole(sources.get("pair"))


@pytest.mark.posix
@pytest.mark.faults(5)
def test_a_full_disk_is_named(server, tmp_path, monkeypatch):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    monkeypatch.setenv("LCE_CACHE", str(place))
    try:
        with pytest.raises(LceError, match=r"a\.txt: cannot be written .*No space left"):
            sources.get("pair")
        assert not (place / "pair" / "a.txt").exists()
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.posix
@pytest.mark.faults(9)
def test_two_processes_share_a_cache(server):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        folders = pool.map(sources.get, ["pair"] * 4)
    assert len(set(folders)) == 1
    assert whole(folders[0])
    assert len(server.asked) <= 2  # in the server's process: one fetched, the others waited


def test_without_network_the_cache_serves(server, monkeypatch):
    sources.get("pair")
    monkeypatch.setenv("LCE_MIRROR", "http://127.0.0.1:9")
    assert whole(sources.get("pair"))
    (sources.cache() / "pair" / "a.txt").unlink()
    with pytest.raises(LceError, match="Check the network"):
        sources.get("pair")


def test_the_catalog_is_pinned_and_complete():
    for source in sources.catalog().values():
        assert source.files
        assert bool(source.wheel) != bool(source.repository and len(source.commit) == 40)
        for known in source.files.values():
            kind, _, digits = known.partition(":")
            assert len(digits) == {"sha256": 64, "blob": 40}[kind]
        if not source.wheel:
            place = f"/{source.repository}/{source.commit}/"
            assert all(place in source.url(path) for path in source.files)


def test_the_command_lists_and_its_exit_code_says_what_is_wrong(tmp_path):
    cache = {"LCE_CACHE": str(tmp_path)}
    done = lce("data", "check", **cache)
    assert done.returncode == 0
    assert "missing crows_pairs_anonymized.csv" in done.stdout
    assert "raw.githubusercontent.com/nyu-mll/crows-pairs/8aaac11c" in done.stdout
    assert lce("data", "check", "crows_pairs", **cache).returncode == 1
    (tmp_path / "crows_pairs").mkdir()
    (tmp_path / "crows_pairs" / "crows_pairs_anonymized.csv").write_text("x")
    done = lce("data", "check", "--json", **cache)
    assert done.returncode == 1
    assert {"damaged", "missing"} == {row["state"] for row in json.loads(done.stdout)}
    done = lce("data", "get", "nothing", **cache)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2, "error: data 'nothing': is unknown"
    )  # fmt: skip


def test_original_files_beside_the_checkout_have_the_hashes_of_the_catalog():
    known = {p: k for s in sources.catalog().values() for p, k in s.files.items()}
    places = {
        "data/crows_pairs_anonymized.csv": "crows_pairs_anonymized.csv",
        "gap-test.tsv": "gap/gap-test.tsv",
    }
    places |= {p: f"winobias/{Path(p).name}" for p in known if "WinoBias" in p}
    for path, place in places.items():
        assert sources.matches(shared(f"data/{place}"), known[path])


def test_winobias_pairs_differ_in_gendered_words():
    for split in ("dev", "test"):
        pairs = winobias.read(shared("data/winobias"), split)
        assert len(pairs) == 792
        gendered = {"he", "she", "him", "her", "his", "hers", "himself", "herself"}
        clean = 0
        for pro, anti in pairs:
            a, b = (s.lower().replace(".", "").split() for s in (pro, anti))
            differ = [(x, y) for x, y in zip(a, b, strict=False) if x != y]
            clean += len(a) == len(b) and all({x, y} <= gendered for x, y in differ)
        assert clean >= 780


def test_a_winobias_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "pro_stereotyped_type1.txt.dev").write_text("no number here\n")
    with pytest.raises(LceError, match="line 1 does not begin with a number"):
        winobias.read(tmp_path, "dev")
    with pytest.raises(LceError, match="lce data get"):
        winobias.read(tmp_path, "test")
