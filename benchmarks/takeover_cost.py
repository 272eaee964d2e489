"""What taking over costs on a large network: ResNet50 with random weights.

Processor seconds, of all threads (and seconds that passed), of a forward pass over all images, of
the pass that accumulates the Gram matrices, of everything that leads to the order of all removals,
and of the handover, which runs both networks; the largest memory of the process until then. On a
busy machine threads that wait for each other count too: OPENBLAS_NUM_THREADS=1 and
TF_NUM_INTRAOP_THREADS=1 leave the work alone.

    python benchmarks/takeover_cost.py [--images 256] [--pixels 224] [--share 0.5]
"""

import argparse
import resource
import time

import keras
import numpy as np

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.targets import harm
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.sizes import Sizes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--share", type=float, default=0.5, help="of the operations that stay")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    shape = (arguments.pixels, arguments.pixels, 3)
    model = keras.applications.ResNet50(weights=None, input_shape=shape)
    x = np.random.default_rng(0).uniform(-1, 1, (arguments.images, *shape)).astype("float32")
    model(x[:1], training=False)
    start = [time.process_time(), time.perf_counter()]

    def lap(what):
        now = time.process_time(), time.perf_counter()
        spent, passed = (after - before for after, before in zip(now, start))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:24s} {spent:7.1f} s ({passed:.1f} s), peak {memory:.1f} GiB", flush=True)
        start[:] = time.process_time(), time.perf_counter()
        return spent

    for first in range(0, len(x), 32):
        model(x[first : first + 32], training=False)
    forward = lap("forward")
    graph = read(model)
    lap("channel graph")
    engine = Takeover(graph, [x])
    print(f"{lap('Gram matrices') / forward:.2f} times the forward pass")
    sizes = Sizes(graph)
    steps = engine.order(harm(), sizes.saved("flops"))
    lap("order of all removals")
    gone = np.zeros(len(graph.pinned), dtype=bool)
    whole = sizes.of(~gone)["flops"]
    for count, step in enumerate(steps):
        gone[engine.sites[step.site].units[step.index]] = True
        if count % 64 == 0 and sizes.of(~gone)["flops"] <= arguments.share * whole:
            break
    engine.hand_over(gone)
    lap("handover")
    print(f"{gone.sum()} of {sum(len(site.units) for site in engine.sites)} units gone")


if __name__ == "__main__":
    main()
