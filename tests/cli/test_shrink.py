"""`l2feat shrink`: its outputs, its exit codes, and a kill in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from keras_l2feat import data, files
from keras_l2feat.cli.main import main

L2FEAT = Path(sys.executable).with_name("l2feat")
DATA = "mnist-1k:digits=789"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A trained network for three digits, in a file."""
    keras.utils.set_random_seed(0)
    points = data.load(DATA)
    model = keras.Sequential([keras.Input((784,)), layers.Dense(24, "relu"), layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(points.x_train, points.y_train, epochs=2, verbose=0)
    path = tmp_path_factory.mktemp("models") / "wide.keras"
    files.save_model(model, path)
    return path


def call(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


def test_all_outputs_of_one_call(wide, tmp_path, capsys):
    out = {name: tmp_path / name for name in ("s.keras", "c.csv", "p.png", "r.html", "r.json")}
    code = call(
        *("shrink", wide, "--data", DATA, "--units", "50%", "--epochs", 1, "-o", out["s.keras"]),
        *("--curve", out["c.csv"], "--report", out["r.html"], "--json", out["r.json"]),
        *("--keep-rounds", tmp_path / "rounds"),
    )
    assert code == 0
    said, noise = capsys.readouterr()
    assert "Written" in said
    assert "held out" in said
    assert "WARNING" not in noise
    small = files.load_model(out["s.keras"])
    result = json.loads(out["r.json"].read_text())
    end = result["curve"][-1]
    assert small.count_params() == end["parameters"]
    assert end["units"] <= 13
    assert pd.read_csv(out["c.csv"])["units"].tolist() == [27, end["units"]]
    page = out["r.html"].read_text()
    assert "<svg" in page
    assert "Rounds" in page
    assert "<script" not in page
    kept = files.load_model(tmp_path / "rounds" / "round-01.keras")
    assert np.array_equal(kept.get_weights()[0], small.get_weights()[0])


@pytest.mark.slow
def test_exit_codes_and_pictures(wide, tmp_path, capsys):
    given = ("shrink", wide, "--data", DATA, "--epochs", 1, "-o", tmp_path / "s.keras")
    assert call(*given) == 2
    assert "flops" in capsys.readouterr().err
    assert call(*given, "--units", "0.5", "--flops", "0.5") == 2
    assert call(*given, "--loss", "0%", "--rate", 30, "--seed", 1) == 1
    assert "were tried" in capsys.readouterr().err
    assert not (tmp_path / "s.keras").exists()
    assert call(*given, "--units", "0.5", "--validation", "0", "--curve", tmp_path / "c.png") == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


class Running:
    """A process that has written its checkpoint some times."""

    def __init__(self, *arguments, cwd):
        self.process = subprocess.Popen(
            [L2FEAT, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def after(self, path, writes, number):
        """Send a signal once the file was written so often; exit code and what was said."""
        seen = set()
        until = time.monotonic() + 300
        while len(seen) < writes and self.process.poll() is None and time.monotonic() < until:
            if path.exists():
                seen.add(os.stat(path).st_mtime_ns)
            time.sleep(0.002)
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said


@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing_in_the_end(wide, tmp_path):
    given = ("shrink", wide, "--data", DATA, "--flops", "0.4", "--epochs", 60, "--rounds", 2)
    state = tmp_path / "state.npz"
    assert call(*given, "-o", tmp_path / "whole.keras") == 0
    kept = (*given, "-o", "small.keras", "--checkpoint", "state.npz")
    code, _ = Running(*kept, cwd=tmp_path).after(state, 3, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "small.keras").exists()
    code, said = Running(*kept, "--resume", cwd=tmp_path).after(state, 36, signal.SIGINT)
    assert code == 130, said
    assert re.search("1 round was done and kept", said)
    first = files.load_model(tmp_path / "small.keras")
    assert subprocess.run([L2FEAT, *map(str, kept), "--resume"], cwd=tmp_path).returncode == 0
    whole, small = (files.load_model(tmp_path / f"{n}.keras") for n in ("whole", "small"))
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), small.get_weights()))
    assert first.count_params() > small.count_params()
