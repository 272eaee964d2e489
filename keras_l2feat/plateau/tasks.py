"""Many runs: each is a task with result files of its own, so that a sweep can be killed at any
moment and go on.

A task's trials are computed in a process of this machine (joblib) or on a Dask cluster; the results
come back to the caller, which alone writes, each file whole or not at all. A task whose files are
all there is not run again.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from keras_l2feat import progress, workers
from keras_l2feat.archive.arrays import read_arrays
from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError, Interrupted
from keras_l2feat.files import atomic_path, output_folder, separately
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.trial import Trial

__all__ = ["Task", "read_trial", "run_task", "run_tasks", "write_trial"]

RETRIES = 5  # of a task whose Dask worker died


@dataclass(frozen=True)
class Task:
    """One unit of work: all trials of one descent or growth, or the seeds of one width of a sweep.

    Attributes:
        method: "descent", "growth" or "sweep".
        lam: λ.
        widths: the widths to record; one width for a sweep.
        seeds: of the runs; several for a sweep, whose seeds are one batched computation.
        points: use the first so many training points; None for all.
        certify: add the insertion certificate to each trial.
        options: further arguments of the method, `budget` among them, as sorted `(name, value)`
            pairs.
    """

    method: str
    lam: float
    widths: tuple
    seeds: tuple = (0,)
    points: int | None = None
    certify: bool = False
    options: tuple = ()

    def key(self, data: Dataset) -> str:
        """A file name that changes with everything the result depends on."""
        text = json.dumps([asdict(self), data.sha256], sort_keys=True)
        width = f"-w{self.widths[0]}" if self.method == "sweep" else ""
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.method}-lam{self.lam:g}{width}-{digest}"

    def problem(self, data: Dataset) -> Problem:
        """What is minimized: λ, and of the whole data set as many points as the task says."""
        return Problem(data if self.points is None else data.head(self.points), self.lam)


def run_task(task: Task, data: Dataset) -> list[Trial]:
    """Compute a task's trials, in this process.

    Args:
        task: the `Task`.
        data: the `data.Dataset`, before `points` are taken.
    """
    from keras_l2feat.plateau import descent, growth, independent_trials

    problem, options = task.problem(data), dict(task.options)
    if task.method == "sweep":
        trials = independent_trials(problem, task.widths[0], task.seeds, **options)
    else:
        options |= {"seed": task.seeds[0], "quiet": True}
        if task.method == "descent":
            trials = descent(problem, task.widths, **options)
        else:
            trials = growth(problem, width_limit=max(task.widths), **options)
    if task.certify:
        trials = [t.certified(problem) if t.certificate is None else t for t in trials]
    return trials


def run_tasks(
    tasks: Sequence[Task],
    data: Dataset,
    folder: str | Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    quiet: bool = False,
) -> list[list[Trial]]:
    """Run what is not done yet and read the results of all.

    Args:
        tasks: list of `Task`s.
        data: the `data.Dataset`.
        folder: where result files go, made if it is missing.
        jobs: processes on this machine.
        scheduler: address of a Dask scheduler, "tcp://…", to use in their place; its workers need
            this package.
        quiet: no progress bar.

    Returns: for each task the list of its `Trial`s, in the order of `tasks`.

    Raises:
        Interrupted: by Ctrl-C; the tasks that were finished are stored.
    """
    folder = output_folder(folder)
    names = [task.key(data) for task in tasks]
    pending = [(task, name) for task, name in zip(tasks, names) if _stored(folder, name) is None]
    best = {}
    left = len(pending)
    try:
        with progress.bar(total=left, description="tasks", quiet=quiet, unit="task") as bar:
            for (task, name), trials in _results(pending, data, jobs, scheduler):
                with separately():
                    _store(folder, name, trials)
                left -= 1
                least = min(trial.loss for trial in trials)
                best[task.lam] = min(least, best.get(task.lam, np.inf))
                shown = {f"best at λ={lam:g}": f"{loss:.5g}" for lam, loss in best.items()}
                bar.set_postfix(shown, refresh=False)
                bar.update()
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"{len(tasks) - left} of {len(tasks)} tasks are finished and kept in "
            f"{str(folder)!r}; the same call goes on from there."
        ) from interrupt
    return [_stored(folder, name) for name in names]


def _results(pending, data, jobs, scheduler):
    """Yield `((task, name), trials)` as they are finished."""
    if not pending:
        return
    if scheduler is not None:
        yield from _on_cluster(pending, data, scheduler)
    elif jobs == 1 or len(pending) == 1:
        for task, name in pending:
            yield (task, name), run_task(task, data)
    else:
        work = functools.partial(run_task, data=data)
        for index, trials in workers.unordered(work, [task for task, _ in pending], jobs):
            yield pending[index], trials


def _on_cluster(pending, data, scheduler):
    try:
        from dask.distributed import Client, as_completed
    except ImportError as error:
        raise InputError(
            "Argument 'scheduler' needs Dask: pip install 'keras-l2feat[cluster]'. "
            f"Received: {scheduler!r}"
        ) from error
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers at {scheduler!r}: {error}") from error
    with client:
        shared = client.scatter(data, broadcast=True)
        futures = {}
        for task, name in pending:
            future = client.submit(run_task, task, shared, key=name, pure=False, retries=RETRIES)
            futures[future] = task, name
        for future in as_completed(futures):
            yield futures[future], future.result()


def _store(folder, name, trials):
    """One file a trial; the last to be written says how many there are."""
    for index, trial in enumerate(trials[1:], start=1):
        write_trial(folder / f"{name}.{index}.npz", trial)
    write_trial(folder / f"{name}.0.npz", trials[0], count=len(trials))


def _stored(folder, name):
    """The trials of a finished task, or None; also where a file is damaged."""
    try:
        count = int(_arrays(folder / f"{name}.0.npz")["count"])
        return [read_trial(folder / f"{name}.{index}.npz") for index in range(count)]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_trial(path: str | Path, trial: Trial, *, count: int = 1) -> None:
    """Write a trial, weights included, to an `.npz` file, whole or not at all."""
    values = {
        field.name: getattr(trial, field.name) for field in fields(Trial) if field.name != "network"
    }
    network = trial.network
    description = {**values, "activation": network.activation, "beta": network.beta}
    weights = {f"weight_{layer}": weight for layer, weight in enumerate(network.weights, start=1)}
    with atomic_path(path) as temporary:
        np.savez(temporary, description=json.dumps(description), count=count, **weights)


def read_trial(path: str | Path) -> Trial:
    """Read what `write_trial` wrote."""
    arrays = _arrays(path)
    description = json.loads(str(arrays["description"]))
    count = sum(name.startswith("weight_") for name in arrays)
    weights = [arrays[f"weight_{layer}"] for layer in range(1, count + 1)]
    network = DenseNetwork(tuple(weights), description.pop("activation"), description.pop("beta"))
    description["widths"] = tuple(description["widths"])
    return Trial(**description, network=network)


def _arrays(path):
    """All arrays of an `.npz` file by name."""
    return read_arrays(path)[0]
