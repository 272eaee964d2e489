"""Downloads against a real server on loopback: always the right file, or a clear error and nothing
left behind."""

import hashlib
import http.server
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo import Entry
from keras_l2feat.zoo.fetch import fetch
from keras_l2feat.zoo.transfer import Limits

BODY = np.random.default_rng(0).bytes(300_000)
ENTRY = Entry("planted", "planted.keras", hashlib.sha256(BODY).hexdigest(), len(BODY))


class Handler(http.server.BaseHTTPRequestHandler):
    """One behaviour a path; the server counts requests and keeps their Range headers."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.ranges.append(self.headers.get("Range"))
            count = len(server.ranges)
        behaviour = self.path.split("/")[1]
        try:
            getattr(self, behaviour)(count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, body, *, status=200, length=None, headers=()):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def send_rest(self):
        """What a server that knows Range answers."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked:
            return self.send(BODY)
        start = int(asked[1])
        where = ("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        return self.send(BODY[start:], status=206, headers=[where])

    def cut_after(self, count):
        self.send(BODY[:count], length=len(BODY))
        self.close_connection = True

    def good(self, count):
        self.send_rest()

    def cut(self, count):
        self.cut_after(100_000) if count == 1 else self.send_rest()

    def cut_whole_again(self, count):
        self.cut_after(100_000) if count == 1 else self.send(BODY)

    def cut_always(self, count):
        self.cut_after(1000 * count)

    def lost(self, count):
        self.send(b"not here", status=404)

    def hiccup(self, count):
        self.send(b"sorry", status=500) if count == 1 else self.send_rest()

    def broken(self, count):
        self.send(b"sorry", status=503)

    def moved(self, count):
        self.send(b"", status=302, headers=[("Location", "/good/planted.keras")])

    def loop(self, count):
        self.send(b"", status=302, headers=[("Location", self.path)])

    def to_file(self, count):
        self.send(b"", status=302, headers=[("Location", "file:///etc/passwd")])

    def truncated(self, count):
        """A short body that calls itself complete."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(BODY[:5000])
        self.close_connection = True

    def wrong_hash(self, count):
        self.send(BODY[:-1] + bytes([BODY[-1] ^ 1]))

    def wrong_size(self, count):
        self.send(BODY + b"more")

    def endless(self, count):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    def silent(self, count):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:10])
        self.server.stop.wait(20)
        self.close_connection = True

    def trickle(self, count):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        for byte in BODY:
            if self.server.stop.wait(0.05):
                break
            self.wfile.write(bytes([byte]))

    def gentle(self, count):
        """The right file, slowly enough for two downloads to overlap."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        for start in range(0, len(BODY), 30_000):
            time.sleep(0.05)
            self.wfile.write(BODY[start : start + 30_000])


@pytest.fixture
def server(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock, server.ranges, server.stop = threading.Lock(), [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(Limits, "pause", 0.01)
    monkeypatch.delenv("KERAS_L2FEAT_OFFLINE", raising=False)
    server.root = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERAS_L2FEAT_CACHE", str(folder))
    return folder


def point(monkeypatch, server, behaviour):
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", f"{server.root}/{behaviour}")


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    "behaviour, requests",
    [("good", 1), ("cut", 2), ("cut_whole_again", 2), ("hiccup", 2), ("moved", 2)],
)
def test_the_right_file_comes(behaviour, requests, server, cache, monkeypatch):
    point(monkeypatch, server, behaviour)
    path = fetch(ENTRY)
    assert path == cache / "planted.keras"
    assert path.read_bytes() == BODY
    assert left_in(cache) == ["planted.keras"]
    assert len(server.ranges) == requests


def test_a_cut_is_resumed_where_it_happened(server, cache, monkeypatch):
    point(monkeypatch, server, "cut")
    fetch(ENTRY)
    assert server.ranges == [None, "bytes=100000-"]


def test_the_second_time_nothing_is_fetched(server, cache, monkeypatch):
    point(monkeypatch, server, "good")
    fetch(ENTRY)
    fetch(ENTRY)
    assert len(server.ranges) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache, monkeypatch):
    point(monkeypatch, server, "good")
    cache.mkdir()
    (cache / "planted.keras").write_bytes(BODY[:-1] + b"?")
    assert fetch(ENTRY).read_bytes() == BODY


@pytest.mark.parametrize(
    "behaviour, error, message",
    [
        ("lost", InputError, "answered 404"),
        ("broken", InputError, "answered 503"),
        ("loop", InputError, "redirects"),
        ("to_file", InputError, "Cannot fetch"),
        ("truncated", InputError, "ended early"),
        ("cut_always", InputError, "connection was cut"),
        ("wrong_hash", CheckFailed, f"SHA-256 {ENTRY.sha256} expected"),
        ("wrong_size", CheckFailed, f"{len(BODY)} are expected"),
        ("endless", CheckFailed, "larger than the 300000 bytes"),
    ],
)
def test_a_bad_answer_is_a_clear_error_and_leaves_nothing(
    behaviour, error, message, server, cache, monkeypatch
):
    point(monkeypatch, server, behaviour)
    with pytest.raises(error, match=message) as caught:
        fetch(ENTRY)
    assert "planted.keras" in str(caught.value)
    assert left_in(cache) == []


@pytest.mark.parametrize(
    "behaviour, total, message", [("silent", 10, "silent for 0.2 s"), ("trickle", 0.5, "too slow")]
)
def test_a_slow_server_is_given_up_in_bounded_time(
    behaviour, total, message, server, cache, monkeypatch
):
    point(monkeypatch, server, behaviour)
    monkeypatch.setattr(Limits, "silence", 0.2)
    monkeypatch.setattr(Limits, "total", total)
    monkeypatch.setattr(Limits, "slowest", 1e9)
    monkeypatch.setattr(Limits, "tries", 2)
    start = time.monotonic()
    with pytest.raises(InputError, match=message):
        fetch(ENTRY)
    assert time.monotonic() - start < 15  # the server alone would take 20 s, or four hours
    assert left_in(cache) == []


def test_nobody_answers(cache, monkeypatch):
    monkeypatch.setattr(Limits, "pause", 0.01)
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no connection"):
        fetch(ENTRY)
    assert left_in(cache) == []


SCRIPT = """
import json, sys
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo import Entry
from keras_l2feat.zoo.fetch import fetch
try:
    print(fetch(Entry(**json.loads(sys.argv[1]))))
except (CheckFailed, InputError) as error:
    print("ERROR", error)
"""


def start_process(url, cache, **options):
    environment = os.environ | {"KERAS_L2FEAT_ZOO_URL": url, "KERAS_L2FEAT_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(ENTRY.as_row())],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_two_processes_at_once(server, cache):
    running = [start_process(f"{server.root}/gentle", cache) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in running]
    assert answers == [(f"{cache / 'planted.keras'}\n", "")] * 2
    assert (cache / "planted.keras").read_bytes() == BODY
    assert left_in(cache) == ["planted.keras"]


def full_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_a_full_disk(server, cache):
    # A limit on the size of files stands for the disk: the write fails in the same place, with
    # another number.
    out, err = start_process(f"{server.root}/good", cache, preexec_fn=full_disk).communicate(
        timeout=60
    )
    assert err == ""
    assert out.startswith("ERROR Cannot write 'planted.keras' into the cache")
    assert "KERAS_L2FEAT_CACHE" in out
    assert left_in(cache) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 kB of its own, and a function that mounts it again with other
    options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs")
    yield folder, lambda option: mount("-o", f"remount,{option}")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_truly_full_disk(server, small_disk):
    folder, _ = small_disk
    (folder / "other").write_bytes(bytes(400_000))
    out, err = start_process(f"{server.root}/good", folder).communicate(timeout=60)
    assert err == ""
    assert "No space left on device" in out
    assert left_in(folder) == ["other"]


def test_a_read_only_cache(server, small_disk):
    folder, remount = small_disk
    remount("ro")
    out, err = start_process(f"{server.root}/good", folder).communicate(timeout=60)
    assert err == ""
    assert out.startswith("ERROR Cannot write 'planted.keras' into the cache")
    assert server.ranges == []


def test_a_read_only_cache_that_has_the_file_serves_it(server, small_disk):
    folder, remount = small_disk
    (folder / "planted.keras").write_bytes(BODY)
    remount("ro")
    out, _ = start_process(f"{server.root}/lost", folder).communicate(timeout=60)
    assert out == f"{folder / 'planted.keras'}\n"


def test_from_a_folder(cache, tmp_path, monkeypatch):
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", mirror.as_uri())
    monkeypatch.setenv("KERAS_L2FEAT_OFFLINE", "1")  # a folder is no network
    with pytest.raises(InputError, match="No such file"):
        fetch(ENTRY)
    (mirror / "planted.keras").write_bytes(BODY + b"more")
    with pytest.raises(CheckFailed, match="300004 bytes"):
        fetch(ENTRY)
    (mirror / "planted.keras").write_bytes(BODY)
    assert fetch(ENTRY).read_bytes() == BODY


def test_offline_says_what_to_put_where(server, cache, monkeypatch):
    point(monkeypatch, server, "good")
    monkeypatch.setenv("KERAS_L2FEAT_OFFLINE", "1")
    with pytest.raises(InputError, match="KERAS_L2FEAT_OFFLINE") as caught:
        fetch(ENTRY)
    for part in ["planted.keras", ENTRY.sha256, str(cache)]:
        assert part in str(caught.value)
    assert server.ranges == []
    cache.mkdir()
    (cache / "planted.keras").write_bytes(BODY)
    assert fetch(ENTRY).read_bytes() == BODY


def test_without_a_mirror_the_error_says_how_to_name_one(cache, monkeypatch):
    monkeypatch.delenv("KERAS_L2FEAT_ZOO_URL", raising=False)
    with pytest.raises(InputError, match="KERAS_L2FEAT_ZOO_URL"):
        fetch(ENTRY)


def test_from_the_hub(server, cache, monkeypatch):
    pytest.importorskip(
        "huggingface_hub", reason="optional dependency huggingface_hub is not installed"
    )
    # the hub's paths below our server's good behaviour
    monkeypatch.setenv("HF_ENDPOINT", f"{server.root}/good")
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", "hf://somebody/models@v1")
    asked = []
    monkeypatch.setattr(
        Handler, "good", lambda self, count: (asked.append(self.path), self.send_rest())
    )
    assert fetch(ENTRY).read_bytes() == BODY
    assert asked == ["/good/somebody/models/resolve/v1/planted.keras"]


def test_the_hub_without_its_package(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", "hf://somebody/models")
    with pytest.raises(InputError, match=r"keras-l2feat\[hub\]"):
        fetch(ENTRY)
