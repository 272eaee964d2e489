"""A whole study of one data set: tasks, their results, where the plateau starts, tables and the
best network."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from keras_l2feat.data import Dataset
from keras_l2feat.files import write_json
from keras_l2feat.plateau.curves import EPSILONS, plateau_starts, table, write_csv
from keras_l2feat.plateau.from_above import START
from keras_l2feat.plateau.tasks import Task, run_tasks
from keras_l2feat.plateau.trial import POLISH, Trial
from keras_l2feat.training.gradient import Objective
from keras_l2feat.training.run import Budget

__all__ = ["Study", "best_at_start", "estimate", "plan", "run", "summary"]

# what each method does at a width unless it is told
BUDGETS = {"descent": POLISH, "growth": POLISH, "sweep": Budget()}


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        result: the content of curve.json.
        frame: the content of curve.csv, see `plateau.curves.table`.
        best: the trial of the least loss at the width where the plateau starts, for the least λ.
        sparsity: columns lam, n, width, low, high; None unless it was asked for.
    """

    result: dict
    frame: pd.DataFrame
    best: Trial
    sparsity: pd.DataFrame | None = None


def plan(
    method: str,
    lams: Sequence[float],
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    points: Sequence[int | None] = (None,),
    certify: bool = False,
    options: dict | None = None,
) -> list[Task]:
    """The tasks of a study: a descent or growth for each λ, N and seed; for a sweep one for each λ,
    N and width.

    Args: the fields of `Task`, with several λs and numbers of points N; `options` are further
        arguments of the method, and `iterations` those of its budget.
    """
    options = dict(options or {})
    if "iterations" in options:
        options["budget"] = replace(BUDGETS[method], iterations=options.pop("iterations"))
    settings = tuple(sorted(options.items()))
    parts: list[tuple] = [(tuple(widths), (seed,)) for seed in seeds]
    if method == "sweep":
        parts = [((width,), tuple(seeds)) for width in widths]
    return [
        Task(method, lam, recorded, runs, count, certify, settings)
        for lam, count, (recorded, runs) in itertools.product(lams, points, parts)
    ]


def estimate(task: Task, data: Dataset) -> float:
    """Seconds that a task will take on this machine, by timing a few gradients at each of its
    widths.

    It counts every width's iterations in full; runs that converge earlier end earlier.
    """
    options, problem = dict(task.options), task.problem(data)
    objective = Objective(problem, dtype=options.get("dtype", "float32"))
    iterations = options.get("budget", BUDGETS[task.method]).iterations
    widths = {width: iterations * len(task.seeds) for width in task.widths}
    if task.method == "descent":
        start = options.get("start", max(task.widths))
        widths[start] = widths.get(start, 0) + options.get("start_iterations", START * iterations)
    seconds = 0.0
    for width, count in widths.items():
        hidden = (width,) * (options.get("depth", 3) - 1)
        weights = objective.encode(problem.random(hidden))
        objective(weights)
        began = time.monotonic()
        for _ in range(3):
            objective(weights)
        seconds += count * (time.monotonic() - began) / 3
    return seconds


def run(
    tasks: Sequence[Task],
    data: Dataset,
    output: str | Path,
    *,
    epsilon: float = 0.01,
    sweep_lam: bool = False,
    **execution,
) -> Study:
    """Run the tasks of `plan` and write curve.csv and curve.json into `output`.

    Args:
        tasks, data: as for `run_tasks`.
        output: folder; the tasks' own results go to `output/tasks`.
        epsilon: the tolerance of the plateau whose start gives the best trial.
        sweep_lam: also write sparsity.csv, the start against λ for each N.
        **execution: of `run_tasks`: `jobs`, `scheduler`, `quiet`.

    Returns: a `Study`.
    """
    out = Path(output)
    results = run_tasks(tasks, data, out / "tasks", **execution)
    groups = _by_points(tasks, results, data)
    largest = max(points for _, points in groups)
    whole = [t for (_, n), trials in groups.items() if n == largest for t in trials]
    frame = table(whole)
    write_csv(frame, out / "curve.csv")
    lam = frame["lam"].min()
    best = best_at_start([trial for trial in whole if trial.lam == lam], epsilon)
    result = {
        **data.facts,
        "data_sha256": data.sha256,
        "points": largest,
        "starts": [
            {"method": method, "lam": lam, **start.as_dict()}
            for (method, lam), group in frame.groupby(["method", "lam"])
            for start in plateau_starts(
                group["width"], group["loss"], epsilons=sorted({*EPSILONS, epsilon})
            )
        ],
        "model": {key: None if value != value else value for key, value in best.row().items()},
        "trials": [
            {k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")
        ],
    }
    sparsity = None
    if sweep_lam:
        sparsity = _sparsity(groups, epsilon)
        write_csv(sparsity, out / "sparsity.csv")
        result["sparsity"] = sparsity.to_dict("records")
    write_json(out / "curve.json", result)
    return Study(result, frame, best, sparsity)


def summary(result: dict) -> list[str]:
    """Lines that say where the plateau starts and what model was kept."""
    lines = []
    for start in result["starts"]:
        interval = f" ({start['low']} to {start['high']})" if start["low"] < start["high"] else ""
        where = f"within {100 * start['epsilon']:g} % of the least loss from width {start['width']}"
        if not start["reached"]:
            where = (
                f"plateau at {100 * start['epsilon']:g} % not reached: the loss still falls at the "
                f"largest width tried, {start['width']}"
            )
        lines.append(f"{start['method']}, λ = {start['lam']:g}: {where}{interval}")
    model = result["model"]
    accuracy = model["test_accuracy"]
    lines.append(
        f"model.keras: width {model['width']}, loss {model['loss']:.5g}"
        + (f", test accuracy {accuracy:.4g}" if accuracy is not None else "")
        + (f", certificate gap {100 * model['gap']:.2g} %" if model["gap"] is not None else "")
    )
    return lines


def best_at_start(trials: Sequence[Trial], epsilon: float) -> Trial:
    """The trial of the least loss among those no wider than where the plateau starts."""
    limit = _start(trials, epsilon, bootstrap=0).width
    return min((t for t in trials if t.width <= limit), key=lambda trial: trial.loss)


def _start(trials, epsilon, **options):
    widths, losses = [t.width for t in trials], [t.loss for t in trials]
    return plateau_starts(widths, losses, epsilons=(epsilon,), **options)[0]


def _by_points(tasks, results, data):
    """(λ, N) → trials."""
    groups = {}
    for task, trials in zip(tasks, results):
        groups.setdefault((task.lam, task.points or len(data.x_train)), []).extend(trials)
    return groups


def _sparsity(groups, epsilon):
    """Plateau start for each λ and N: columns lam, n, width, low, high, reached."""
    rows = []
    for (lam, n), trials in sorted(groups.items()):
        found = _start(trials, epsilon).as_dict()
        del found["epsilon"]
        rows.append({"lam": lam, "n": n, **found})
    return pd.DataFrame(rows)
