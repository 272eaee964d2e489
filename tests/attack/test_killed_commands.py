"""Commands that are killed, or interrupted, at random moments: every output is whole or absent,
inputs are what they were, and the next run tidies up."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model, sha256
from keras_l2feat.plateau.tasks import read_trial

L2FEAT = Path(sys.executable).with_name("l2feat")
QUICK = ["--iterations", "40", "-q"]
SWEEP = [*("plateau", "data.npz", "--widths", "1,2,3", "--trials", "1", *QUICK, "-o", "out")]
ON_DATA = ["--data", "data.npz", "--lam", "1e-2", "--json", "out.json", "-q"]
COMMANDS = {
    "prune": [
        *("prune", "wide.keras", "-o", "out.keras", "--report", "out.html", "--json", "out.json"),
        *("--plan", "plan.json", "--rays", "rays.png", "--certificate", "proof.json"),
        *("--no-latency", "-q"),
    ],
    "prune, bounded": [
        *("prune", "wide.keras", "-o", "out.keras", "--guarantee", "bounded", "--data", "data.npz"),
        *("--units", "0.5", "--curve", "curve.csv", "--json", "out.json", "--no-latency", "-q"),
    ],
    "expand": ["expand", "wide.keras", "--factor", "2", "-o", "out.keras", "--json", "out.json"],
    "train": ["train", "data.npz", "--widths", "4,4", *QUICK, "-o", "out.keras"]
    + ["--json", "out.json"],
    "plateau by sweep": [*SWEEP, "--method", "sweep"],
    "plateau by descent": [*SWEEP, "--method", "descent"],
    "plateau by growth": [*SWEEP, "--method", "growth"],
    "zoo build": ["zoo", "build", "bipartite-4", "-o", "out", "-q"],
    "zoo publish": ["zoo", "publish", "out", "-q"],
    "zoo gallery": ["zoo", "gallery", "-o", "out.html"],
    "zoo download": ["zoo", "download", "mnist-1k-1pct-narrow", "mnist-1k-1pct-wide", "-o", "out"],
    "inspect": ["inspect", "wide.keras", "--json", "out.json"],
    "diff": ["diff", "wide.keras", "small.keras", "--data", "data.npz", "--json", "out.json"],
    "check": ["check", "wide.keras", "small.keras", "small.json", "--json", "out.json"],
    "forces": ["forces", "wide.keras", *ON_DATA, "-o", "out"],
    "certify": ["certify", "wide.keras", *ON_DATA],
    "rank": ["rank", "wide.keras", "--data", "data.npz", "--json", "out.json"],
    "symmetries expand": ["symmetries", "expand", "wide.keras", "--widths", "9", "-o", "out.keras"],
    "symmetries connect": ["symmetries", "connect", "wide.keras", "other.keras", *ON_DATA]
    + ["-o", "out"],
    "reproduce": ["reproduce", "prop14", "-o", "out", "-q"],
}  # fmt: skip
COLD = {"inspect"}

# Of a command's time most goes into imports: here they are done once, and each command is a process
# of its own that goes on from there. (`COLD` ones begin and end as they do for a user.)
WARM = """
import importlib, json, os, signal, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from keras_l2feat.cli.main import main
for name in ("tensorflow", "keras", "matplotlib.pyplot", "pandas", "keras_l2feat.layers"):
    importlib.import_module(name)
for line in sys.stdin:
    command, folder, said = json.loads(line)
    process = os.fork()
    if not process:
        os.setsid()
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        try:
            main(command)
        except SystemExit as ended:  # what Python does at its end takes long and is not the point
            sys.stderr.flush()
            os._exit(ended.code)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Runner:
    """Runs commands in a folder, each until it ends or is shot."""

    def __init__(self, folder, warm):
        self.folder, self._warm = folder, warm
        self._said = folder / ".said"  # on stderr

    def run(self, command, kind=None, moment=300.0):
        """The exit code of a command that gets the signal `kind` after `moment` seconds, and what
        it said."""
        started = self._cold if command[0] in COLD else self._forked
        process, code = started(command)
        ends = os.pidfd_open(process)
        try:
            if not select.select([ends], [], [], moment)[0]:
                assert kind is not None, (command, "takes too long")
                signal.pidfd_send_signal(ends, kind)
                assert select.select([ends], [], [], 60)[0], (command, kind, "goes on")
        finally:
            os.close(ends)
        return code(), self._said.read_text()

    def _forked(self, command):
        print(json.dumps([command, str(self.folder), str(self._said)]), file=self._warm.stdin)
        read = self._warm.stdout.readline
        return int(read()), lambda: int(read())

    def _cold(self, command):
        with open(self._said, "w") as said:
            process = subprocess.Popen(
                [L2FEAT, *command],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=said,
                preexec_fn=reset,
                start_new_session=True,
            )
        return process.pid, process.wait


def reset():
    """What a shell runs in the background ignores Ctrl-C; a command in a terminal does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def warm():
    process = subprocess.Popen(
        [sys.executable, "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    yield process
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory, warm):
    """The files that the commands read: a network with a planted redundancy, another one, data,
    and what `prune` makes of the first."""
    folder = tmp_path_factory.mktemp("good")
    generator = np.random.default_rng(0)
    for name in ("wide.keras", "other.keras"):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)]
        )
        weights = model.get_weights()
        weights[0][:, 5], weights[1][5] = 2 * weights[0][:, 0], 2 * weights[1][0]
        model.set_weights(weights)
        model.save(folder / name)
    x = generator.normal(size=(20, 3)).astype("f4")
    np.savez(folder / "data.npz", x_train=x, y_train=np.arange(20) % 2)
    small = ["prune", "wide.keras", "-o", "small.keras", "--certificate", "small.json"]
    code, said = Runner(folder, warm).run([*small, "--no-latency", "-q"])
    assert code == 0, said
    return folder


@pytest.fixture
def inputs(good, tmp_path):
    """Hashes of the good files, which are in `tmp_path`."""
    files = [path for path in good.iterdir() if not path.name.startswith(".")]
    return {path.name: sha256(shutil.copy(path, tmp_path)) for path in files}


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
def test_whole_or_absent_whenever_it_is_killed(name, attack, inputs, warm, tmp_path):
    command, runner, failures, ended = COMMANDS[name], Runner(tmp_path, warm), [], []
    duration, code, said = timed(runner, command)
    assert code == 0, said
    assert results(tmp_path, inputs)
    clean(tmp_path, inputs)
    generator = np.random.default_rng(attack.seed)
    for index in range(attack.count(1, 17)):
        kind = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL][(attack.seed + index) % 3]
        # Results are written at the end, so most shots are at what is late.
        moment = duration * generator.uniform() ** 0.5
        before = temporary(tmp_path)  # of one that was killed
        took, code, said = timed(runner, command, kind, moment)
        if code == 0:
            duration = took  # the first run of all is the slowest
        ended.append(code)
        allowed = {0, -kind} if kind == signal.SIGKILL else {0, -kind, 128 + kind}
        if code not in allowed or (code > 0 and "Traceback" in said):
            failures.append((moment, kind, code, said[-1500:]))
        failures += [(moment, kind, one) for one in broken(tmp_path, inputs)]
        if kind != signal.SIGKILL:
            failures += [(moment, kind, one) for one in temporary(tmp_path) - before]
        if index % 2:
            clean(tmp_path, inputs, hidden=False)
    assert not failures, failures
    code, said = runner.run(command)
    assert code == 0, said
    assert broken(tmp_path, inputs) == []
    assert results(tmp_path, inputs)
    assert not temporary(tmp_path)  # of those that were killed, too
    print(f"{name}: ended with {[(code, ended.count(code)) for code in sorted(set(ended))]}")


def temporary(folder):
    return {path.name for path in folder.rglob(".l2feat-*")}


def timed(runner, *shot):
    began = time.monotonic()
    code, said = runner.run(*shot)
    return time.monotonic() - began, code, said


def clean(folder, inputs, hidden=True):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name not in inputs and (hidden or not path.name.startswith(".")):
            path.unlink()
