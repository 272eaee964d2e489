"""Commands that are killed, or interrupted, at random moments: every output is whole or absent,
inputs are what they were, and the next run tidies up."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model, sha256
from keras_l2feat.plateau.tasks import read_trial

L2FEAT = Path(sys.executable).with_name("l2feat")
QUICK = ["--iterations", "40"]
COMMANDS = {
    "prune": [
        *("prune", "wide.keras", "-o", "out.keras", "--report", "out.html", "--json", "out.json"),
        *("--plan", "plan.json", "--rays", "rays.png", "--no-latency"),
    ],
    "expand": ["expand", "wide.keras", "--factor", "2", "-o", "out.keras", "--json", "out.json"],
    "train": ["train", "data.npz", "--widths", "4,4", *QUICK, "-o", "out.keras"]
    + ["--json", "out.json"],
    "plateau": [
        *("plateau", "data.npz", "--method", "sweep", "--widths", "1,2,3", "--trials", "1", *QUICK),
        *("-o", "out"),
    ],
    "zoo publish": ["zoo", "publish", "out", "-q"],
    "inspect": ["inspect", "wide.keras", "--json", "out.json"],
}  # fmt: skip
DURATIONS = {}  # seconds that a command takes when it is left alone


@pytest.fixture
def inputs(tmp_path):
    generator = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)]
    )
    weights = model.get_weights()
    weights[0][:, 5], weights[1][5] = 2 * weights[0][:, 0], 2 * weights[1][0]
    model.set_weights(weights)
    model.save(tmp_path / "wide.keras")
    x = generator.normal(size=(20, 3)).astype("f4")
    np.savez(tmp_path / "data.npz", x_train=x, y_train=np.arange(20) % 2)
    return {path.name: sha256(path) for path in tmp_path.iterdir()}


def start(command, folder):
    return subprocess.Popen(
        [L2FEAT, *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        start_new_session=True,
    )


def check_whole(path):
    """Raise unless a result, by its kind, is complete."""
    if path.suffix == ".keras":
        load_model(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".npz" and path.parent.name == "tasks":
        read_trial(path)
    elif path.suffix in {".npz", ".zip"}:
        assert zipfile.ZipFile(path).testzip() is None
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".png":
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    elif path.suffix == ".svg":
        assert path.read_text().rstrip().endswith("</svg>")
    else:
        assert path.stat().st_size > 0 or path.suffix == ""


def results(folder, inputs):
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in inputs and not path.name.startswith(".")
    ]


def broken(folder, inputs):
    """What is lost or half-written."""
    found = [name for name, hashed in inputs.items() if sha256(folder / name) != hashed]
    for path in results(folder, inputs):
        try:
            check_whole(path)
        except (AssertionError, InputError, ValueError, KeyError, OSError) as error:
            found.append(f"{path.relative_to(folder)}: {error}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_whole_or_absent_whenever_it_is_killed(name, attack, inputs, tmp_path):
    command, failures, ended = COMMANDS[name], [], []
    if name not in DURATIONS:
        before = os.times().elapsed
        process = start(command, tmp_path)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        DURATIONS[name] = os.times().elapsed - before
        clean(tmp_path, inputs)
    generator = np.random.default_rng(attack.seed)
    for index in range(attack.count(2, 17)):
        kind = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM][index % 3]
        # Most of a short command's time goes into imports, so most shots are at what follows.
        moment = DURATIONS[name] * generator.uniform(0, 1.1) ** 0.5
        process = start(command, tmp_path)
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, kind)
            _, said = process.communicate(timeout=60)
        code = process.returncode
        ended.append(code)
        allowed = {0, -kind} if kind == signal.SIGKILL else {0, -kind, 128 + kind}
        if code not in allowed or (code > 0 and "Traceback" in said):
            failures.append((moment, kind, code, said[-1500:]))
        failures += [(moment, kind, one) for one in broken(tmp_path, inputs)]
        if kind != signal.SIGKILL:
            left = [path.name for path in tmp_path.rglob(".l2feat-*")]
            failures += [(moment, kind, one) for one in left]
        if index % 2:
            clean(tmp_path, inputs, temporary=False)
    assert not failures, failures
    process = start(command, tmp_path)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert broken(tmp_path, inputs) == []
    assert results(tmp_path, inputs)
    left = [path.name for path in tmp_path.rglob(".l2feat-*")]
    assert left == []  # of those that were killed, too
    print(f"{name}: ended with {[(code, ended.count(code)) for code in sorted(set(ended))]}")


def clean(folder, inputs, temporary=True):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name not in inputs and (temporary or not path.name.startswith(".")):
            path.unlink()
