import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_l2feat.data import load
from keras_l2feat.errors import InputError
from keras_l2feat.files import OURS
from keras_l2feat.plateau import table
from keras_l2feat.plateau.study import plan
from keras_l2feat.plateau.tasks import read_trial, run_tasks, write_trial

DATA = load("teacher:inputs=4,n=30,width=3")
TASKS = plan("sweep", (1e-3,), (1, 2, 3, 4), (0, 1), options={"iterations": 15})
SCRIPT = """
import sys
from test_tasks import DATA, TASKS
from keras_l2feat.plateau.tasks import run_tasks
run_tasks(TASKS, DATA, sys.argv[1], quiet=True)
"""


def frame(results):
    """The table without its times, which no two runs share."""
    return table([trial for trials in results for trial in trials]).drop(columns="seconds")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return frame(run_tasks(TASKS, DATA, tmp_path_factory.mktemp("whole"), quiet=True))


def test_trials_survive_their_files(tmp_path, expected):
    results = run_tasks(TASKS[:1], DATA, tmp_path, quiet=True)
    trial = results[0][1]
    write_trial(tmp_path / "one.npz", trial)
    again = read_trial(tmp_path / "one.npz")
    assert again == trial or np.isnan(again.gap)
    for got, want in zip(again.network.weights, trial.network.weights):
        np.testing.assert_array_equal(got, want)
    assert (again.network.beta, again.network.activation) == (
        trial.network.beta,
        trial.network.activation,
    )


def test_what_is_done_is_not_done_again_and_only_our_leftovers_go(tmp_path, expected):
    run_tasks(TASKS[:2], DATA, tmp_path, quiet=True)
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / ".mine.npz").write_bytes(b"of the user")
    (tmp_path / f"{OURS}{2**23}-1.npz").write_bytes(b"half")  # no process has so high a number
    assert frame(run_tasks(TASKS, DATA, tmp_path, quiet=True)).equals(expected)
    for name, moment in done.items():
        assert (tmp_path / name).stat().st_mtime_ns == moment
    assert [path.name for path in tmp_path.glob(".*")] == [".mine.npz"]


@pytest.mark.parametrize("damage", [b"", b"no archive", None, 300], ids=str)
def test_a_damaged_result_is_computed_again(tmp_path, expected, damage):
    run_tasks(TASKS, DATA, tmp_path, quiet=True)
    for path in sorted(tmp_path.iterdir())[:3]:
        content = path.read_bytes()
        path.unlink()
        if damage is not None:
            path.write_bytes(damage if isinstance(damage, bytes) else content[:damage])
    assert frame(run_tasks(TASKS, DATA, tmp_path, quiet=True)).equals(expected)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_table(tmp_path, expected):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    generator = random.Random(0)
    kills = 0
    while kills < 20:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment)
        time.sleep(generator.uniform(0.2, 6.0))
        if process.poll() is not None:  # it got through: begin again, half the results gone
            for path in sorted(tmp_path.glob("*.npz"))[::2]:
                path.unlink()
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert frame(run_tasks(TASKS, DATA, tmp_path, quiet=True)).equals(expected)


@pytest.mark.slow
def test_processes_give_the_same_table(tmp_path, expected):
    assert frame(run_tasks(TASKS, DATA, tmp_path, jobs=2, quiet=True)).equals(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_gives_the_same_table(tmp_path, expected):
    distributed = pytest.importorskip("distributed")
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--port",
        "0",
        "--host",
        "127.0.0.1",
    ]
    address_file = tmp_path / "scheduler.json"
    processes = [
        subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(address_file)])
    ]
    try:
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(address_file),
        ]
        worker += [
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
            "--local-directory",
            str(tmp_path / "dask"),
        ]
        processes += [subprocess.Popen(worker) for _ in range(2)]
        with distributed.Client(scheduler_file=str(address_file), timeout="60s") as client:
            client.wait_for_workers(2, timeout=90)
            address = client.scheduler.address
            threading_kill(processes[1])
            results = run_tasks(TASKS, DATA, tmp_path / "results", scheduler=address, quiet=True)
        assert processes[1].wait(30) != 0
        assert frame(results).equals(expected)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def threading_kill(process):
    """Kill a worker two seconds from now, in the middle of its work."""
    import threading

    threading.Timer(2.0, process.kill).start()


def test_no_scheduler_is_told(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="No Dask scheduler answers at 'tcp"):
        run_tasks(TASKS[:1], DATA, tmp_path, scheduler="tcp://127.0.0.1:1", quiet=True)
