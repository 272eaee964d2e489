"""Real signals to real commands: they end within seconds, say so, and keep nothing unfinished."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pandas as pd
import pytest

from keras_l2feat.cli.signals import Signals
from keras_l2feat.files import load_model

L2FEAT = Path(sys.executable).with_name("l2feat")
pytestmark = pytest.mark.slow
PATIENCE = 20  # seconds for a command to end; its last step on a loaded machine is among them
SWEEP = [
    *("plateau", "teacher:inputs=4,n=30,width=3", "--method", "sweep", "--widths", "1,2,3,4"),
    *("--iterations", "400", "--trials", "2", "-o", "out"),
]
ENDLESS = [*SWEEP, "--iterations", "1000000", "--widths", "60,61,62,63", "--lam", "1e-9"]


def reset():
    """What a shell runs in the background ignores Ctrl-C; a command in a terminal does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Command:
    """A running `l2feat`, its progress bars shown on a terminal of our own."""

    def __init__(self, *arguments, cwd):
        self._terminal, other = pty.openpty()
        termios.tcsetwinsize(other, (24, 100))
        self.process = subprocess.Popen(
            [L2FEAT, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=other,
            preexec_fn=reset,
            start_new_session=True,
        )
        os.close(other)
        self.said = ""

    def wait_for(self, pattern, seconds=120):
        """Read until the pattern is seen."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.said):
            if time.monotonic() > until or not self._read():
                self.process.kill()
                raise AssertionError(self.said)
        return self

    def end(self, number):
        """Send the signal, and return the exit code."""
        self.process.send_signal(number)
        until = time.monotonic() + PATIENCE
        while self._read() and time.monotonic() < until:
            pass
        return self.process.wait(max(0.1, until - time.monotonic()))

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def _read(self):
        if not select.select([self._terminal], [], [], 0.5)[0]:
            return True
        try:
            piece = os.read(self._terminal, 4096)
        except OSError:  # the other end is closed
            return False
        self.said += piece.decode(errors="replace")
        return bool(piece)


def gone(processes, seconds=10):
    until = time.monotonic() + seconds
    while any(Path(f"/proc/{process}").exists() for process in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def test_an_interrupt_in_a_destructor_comes_again_and_its_noise_is_kept(capsys, monkeypatch):
    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    class HalfTakenDown:
        def __del__(self):
            raise KeyError("of a library")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # and put back at the end
    signals = Signals()

    def command():
        with signals:
            Closing()
            time.sleep(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        command()
    HalfTakenDown()
    assert signals.received == signal.SIGINT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["weights", "representation", "covariance"])
def test_train_keeps_the_best_so_far_and_says_that_it_was_interrupted(tmp_path, form):
    command = Command(
        *("train", "teacher:inputs=20,n=300,width=9", "--widths", "60", "--form", form),
        *("--iterations", "1000000", "--lam", "1e-6", "--tolerance", "0"),
        *("-o", "m.keras", "--json", "m.json"),
        cwd=tmp_path,
    ).wait_for(r" ([2-9]|\d\d+)/1000000")
    assert command.end(signal.SIGINT) == 130
    assert re.search(r"Interrupted. The best of \d+ iterations is in m.keras.", command.said)
    assert "Traceback" not in command.said
    load_model(tmp_path / "m.keras")
    assert json.loads((tmp_path / "m.json").read_text())["reason"] == "interrupted"


def test_a_trial_that_was_cut_short_is_never_taken_for_finished(tmp_path):
    def table():
        return pd.read_csv(tmp_path / "out/curve.csv").drop(columns="seconds")

    whole = tmp_path / "whole"
    whole.mkdir()
    assert subprocess.run([L2FEAT, *SWEEP, "-q"], cwd=whole, check=False).returncode == 0
    expected = pd.read_csv(whole / "out/curve.csv").drop(columns="seconds")
    for done in (0, 1, 3):
        command = Command(*SWEEP, cwd=tmp_path).wait_for(rf" {max(0, done - 1)}/\d")
        assert command.end(signal.SIGINT) == 130
        assert "tasks are finished and kept in 'out/tasks'; the same call" in command.said
        assert not (tmp_path / "out/curve.csv").exists()
    assert subprocess.run([L2FEAT, *SWEEP, "-q"], cwd=tmp_path, check=False).returncode == 0
    assert table().equals(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ("plateau", "mnist-1k", "--widths", "30", "-o", "out"),
        ("plateau", "mnist-1k", "--widths", "30", "--method", "growth", "-o", "out"),
        ("zoo", "build", "mnist-1k-5pct", "-o", "out"),
    ],
    ids=["descent", "growth", "zoo build"],
)
def test_long_work_stops_at_once_and_stores_nothing(tmp_path, arguments):
    command = Command(*arguments, cwd=tmp_path).wait_for(r"\d/\d")
    time.sleep(3)
    assert command.end(signal.SIGTERM) == 143
    assert "Interrupted." in command.said
    assert "Traceback" not in command.said
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_workers_end_with_their_parent(tmp_path, number):
    command = Command(*ENDLESS, "--jobs", "2", cwd=tmp_path).wait_for("tasks")
    until = time.monotonic() + 60
    while len(children := command.children()) < 3 and time.monotonic() < until:
        time.sleep(0.2)  # two workers, and the tracker of their resources
    time.sleep(3)
    assert len(children) >= 3
    assert command.end(number) == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    assert gone(children)
    assert not list(tmp_path.glob("out/tasks/*"))  # empty folders go again
