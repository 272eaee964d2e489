"""What a model costs: parameters, bytes of its file, floating point operations, seconds."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from keras_l2feat import files
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import arranged, batches, random_inputs
from keras_l2feat.types import Model

__all__ = ["costs", "file_bytes", "latencies"]

BATCH = 32


def costs(model: Model, graph: Graph | None = None) -> dict:
    """`parameters` and `flops` (multiplications and additions of linear operations, one input) of a
    model."""
    return {"parameters": int(model.count_params()), "flops": (graph or read(model)).flops()}


def file_bytes(model: Model) -> int | None:
    """Size of the model's `.keras` file; `None` where the disk has no room to make one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        path = Path(folder, "model.keras")
        with files.separately():
            files.save_model(model, path)
        return path.stat().st_size
    return None


def latencies(
    models: Sequence[Model], graph: Graph, *, seconds: float = 0.5, repeats: int = 30, seed: int = 0
) -> tuple[int, list]:
    """Of a compiled forward pass of each of several equivalent models: on how many inputs, `BATCH`
    unless they are large or the models were built for another number, and the median seconds.

    Models take turns, so whatever else the machine does meets them alike; `graph` is that of any of
    them.
    """
    part, _ = next(batches(graph.model, random_inputs(graph, BATCH, seed), BATCH))
    given = arranged(graph.model, part)
    for model in models:
        model.predict_on_batch(given)
    times = [[] for _ in models]
    start = time.perf_counter()
    while len(times[0]) < repeats and (
        len(times[0]) < 3 or time.perf_counter() - start < seconds * len(models)
    ):
        for model, taken in zip(models, times):
            before = time.perf_counter()
            model.predict_on_batch(given)
            taken.append(time.perf_counter() - before)
    return len(part[0]), [statistics.median(taken) for taken in times]
