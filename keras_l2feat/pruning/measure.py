"""What a model costs: parameters, bytes of its file, floating point operations, seconds."""

import io
import statistics
import time
from collections.abc import Sequence

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


def file_bytes(model: Model) -> int:
    """Size of the model's `.keras` file."""
    from keras.src.saving import saving_lib  # what is public saves to paths alone

    content = _Counted()
    saving_lib.save_model(model, content)
    return content.size


class _Counted(io.RawIOBase):
    """A file of which nothing is kept but its size."""

    def __init__(self):
        self.place = self.size = 0

    def writable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.place

    def seek(self, offset, whence=io.SEEK_SET):
        self.place = offset + (0, self.place, self.size)[whence]
        return self.place

    def write(self, content):
        count = memoryview(content).nbytes
        self.place += count
        self.size = max(self.size, self.place)
        return count


def latencies(
    models: Sequence[Model], graph: Graph, *, seconds: float = 0.5, repeats: int = 30, seed: int = 0
) -> list:
    """Median seconds of a compiled forward pass on one batch of `BATCH` inputs (or of the size that
    the models were built for), for each of several equivalent models.

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
    return [statistics.median(taken) for taken in times]
