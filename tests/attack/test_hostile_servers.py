"""Servers that misbehave below HTTP, byte by byte, over real sockets on loopback: a download ends
in bounded time with one clear sentence, and leaves nothing."""

import gc
import hashlib
import itertools
import os
import re
import socket
import threading
import time

import numpy as np
import pytest

from keras_l2feat import data
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo import Entry
from keras_l2feat.zoo.fetch import fetch
from keras_l2feat.zoo.transfer import Limits

BODY = np.random.default_rng(0).bytes(20_000)
ENTRY = Entry("planted", "planted.keras", hashlib.sha256(BODY).hexdigest(), len(BODY))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def redirect(to):
    return b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"


def with_length(length, body=BODY):
    return b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + body


# Sent at once; what it leads to: "file" for the right file, else an error.
AT_ONCE = {
    "right": (HEAD + BODY, "file"),
    "no length": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY, "file"),
    "chunks": (CHUNKED + b"4e20\r\n" + BODY + b"\r\n0\r\n\r\n", "file"),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + HEAD + BODY, "file"),
    "http 1.0": (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, "file"),
    "nothing": (b"", InputError),
    "no http": (b"SSH-2.0-OpenSSH_9.0\r\n", InputError),
    "binary": (bytes(range(256)) * 10, InputError),
    "zeros": (bytes(10_000), InputError),
    "status of letters": (b"HTTP/1.1 abc OK\r\n\r\n", InputError),
    "status 999": (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", InputError),
    "status 0": (b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n", InputError),
    "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", InputError),
    "status 304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", InputError),
    "status 401": (b"HTTP/1.1 401 \x1b[31mred\r\nContent-Length: 0\r\n\r\n", InputError),
    "long status": (b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n", InputError),
    "long header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", InputError),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", InputError),
    "length of letters": (with_length(b"many"), ("file", InputError)),
    "length ²": (with_length("²".encode("latin-1")), ("file", InputError)),
    "length ² in utf-8": (with_length("²".encode()), ("file", InputError)),
    "length negative": (with_length(b"-5"), ("file", InputError)),
    "length huge": (with_length(b"9" * 30), (InputError, CheckFailed)),
    "lengths that differ": (with_length(b"5, 6"), (InputError, CheckFailed)),
    "length too small": (with_length(b"5"), CheckFailed),
    "length too large": (with_length(b"20001"), CheckFailed),
    "too few bytes": (HEAD + BODY[:100], InputError),
    "another file": (HEAD + BODY[::-1], CheckFailed),
    "chunk size of letters": (CHUNKED + b"xyz\r\n" + BODY, InputError),
    "chunk size negative": (CHUNKED + b"-5\r\n" + BODY, InputError),
    "chunk size huge": (CHUNKED + b"f" * 40 + b"\r\n" + BODY, (InputError, CheckFailed)),
    "chunk cut": (CHUNKED + b"4e20\r\n" + BODY[:50], InputError),
    "gzip that is none": (
        HEAD.replace(b"OK\r\n", b"OK\r\nContent-Encoding: gzip\r\n") + BODY,
        ("file", InputError, CheckFailed),
    ),
    "redirect nowhere": (redirect(b""), InputError),
    "redirect half an address": (redirect(b"http://[::1"), InputError),
    "redirect bad port": (redirect(b"http://127.0.0.1:99999999/"), InputError),
    "redirect port of letters": (redirect(b"http://127.0.0.1:x/"), InputError),
    "redirect no host": (redirect(b"http:///x"), InputError),
    "redirect binary": (redirect(b"http://\xff\xfe\x80/"), InputError),
    "redirect long": (redirect(b"http://" + b"a" * 300 + b"/"), InputError),
    "redirect dots": (redirect(b"http://..../"), InputError),
    "redirect to a file": (redirect(b"file:///etc/passwd"), InputError),
    "redirect to a script": (redirect(b"javascript:alert(1)"), InputError),
    "redirect to itself": (redirect(b"/x"), InputError),
}


def drop_by_drop(start, drop):
    """`start` at once, then `drop` again and again, slowly enough to outlast any patience, and fast
    enough never to be silent."""

    def behave(connection, stop):
        connection.sendall(start)
        for piece in itertools.cycle([drop[i : i + 1] for i in range(len(drop))]):
            if stop.wait(0.02):
                return
            connection.sendall(piece)

    return behave


def slow_redirects(connection, stop):
    stop.wait(0.15)
    connection.sendall(redirect(b"/x"))


SLOW = {
    "status line": drop_by_drop(b"HTTP/1.1 200 ", b"O"),
    "headers": drop_by_drop(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "many headers": drop_by_drop(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "chunk size": drop_by_drop(CHUNKED, b"0"),
    "chunk extension": drop_by_drop(CHUNKED + b"5;", b"x"),
    "body": drop_by_drop(HEAD, b"x"),
    "body without length": drop_by_drop(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "continue": drop_by_drop(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "redirects": slow_redirects,
    "body of a redirect": drop_by_drop(redirect(b"/x").replace(b": 0", b": 99999"), b"x"),
    "body of an error": drop_by_drop(b"HTTP/1.1 500 Oh\r\nContent-Length: 99999\r\n\r\n", b"x"),
}


class Server:
    """Answers every connection with a behaviour, after reading the request."""

    def __init__(self, behave):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self._behave, self._stop, self._threads = behave, threading.Event(), []
        self.root = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections = 0

    def __enter__(self):
        self._threads.append(threading.Thread(target=self._accept))
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self):
        while not self._stop.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            self.connections += 1
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection):
        with connection:
            try:
                connection.recv(65536)
                self._behave(connection, self._stop)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1)
                while connection.recv(65536):
                    pass
            except OSError:  # the other side has hung up
                pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_L2FEAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_L2FEAT_OFFLINE", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Limits, "pause", 0.001)
    monkeypatch.setattr(Limits, "silence", 0.5)
    monkeypatch.setattr(Limits, "slowest", 1e9)
    yield tmp_path / "cache"
    gc.collect()  # a connection left open is a warning, and so an error, here and now


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def is_one_sentence(error):
    text = str(error)
    return text.isprintable() and re.search("[a-z]{3}", text) and "127.0.0.1" in text


@pytest.mark.parametrize("name", AT_ONCE)
def test_an_answer_that_is_none(name, cache, monkeypatch):
    answer, outcome = AT_ONCE[name]
    monkeypatch.setattr(Limits, "tries", 2)
    outcome = outcome if isinstance(outcome, tuple) else (outcome,)
    with Server(lambda connection, stop: connection.sendall(answer)) as server:
        monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", server.root)
        error = None
        try:
            assert fetch(ENTRY).read_bytes() == BODY
        except (InputError, CheckFailed) as caught:
            error = caught
    assert ("file" if error is None else type(error)) in outcome, error
    if error is not None:
        assert is_one_sentence(error)
        assert left_in(cache) == []
        if "redirect" in name:
            assert "SHA-256" not in str(error)  # nothing came that could have a wrong hash


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_answer_ends_in_bounded_time(name, cache, monkeypatch):
    monkeypatch.setattr(Limits, "total", 0.6)
    with Server(SLOW[name]) as server:
        monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", server.root)
        start = time.monotonic()
        with pytest.raises((InputError, CheckFailed)) as caught:
            fetch(ENTRY)
        assert time.monotonic() - start < 10  # each of them would go on for hours
    assert is_one_sentence(caught.value)
    assert left_in(cache) == []


def test_the_deadline_leaves_nothing_running(cache, monkeypatch):
    before = threading.active_count()
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        test_a_slow_answer_ends_in_bounded_time("headers", cache, monkeypatch)
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/fd")) <= opened + 1


def test_offline_the_full_mnist_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv("L2FEAT_MNIST", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_L2FEAT_OFFLINE", "1")
    monkeypatch.setattr(socket, "socket", None)  # whatever opened one would fail otherwise
    with pytest.raises(InputError, match="KERAS_L2FEAT_OFFLINE"):
        data.load("mnist")
