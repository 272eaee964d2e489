"""Finding aligned units by sorting a few projections, against forming the Gram matrix of the layer.

One float32 layer of 16384 units and 4096 inputs, a quarter of the units planted in groups of 2 to
50, in both memory orders (rows of a matrix; columns of a Dense kernel). Prints seconds, the ratio,
what was found, the time of one pass over the weights, and the peak memory of the search, weights
included, as a multiple of the weights.

    python benchmarks/grouping.py [--units 16384] [--inputs 4096] [--seed 0]
"""

import argparse
import time
import tracemalloc

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.values.aligned import aligned_groups


def plant(n_units, n_inputs, seed, fraction=0.25, sizes=(2, 50)):
    """Random float32 rows, a fraction of them in aligned groups; each row's representative."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n_units, n_inputs), dtype=np.float32)
    root = np.arange(n_units)
    pool = random.permutation(n_units)[: int(fraction * n_units)]
    while len(pool) > 1:
        group, pool = np.split(pool, [random.integers(sizes[0], sizes[1] + 1)])
        factors = np.exp(random.uniform(-2, 2, len(group))).astype(np.float32)
        vectors[group] = factors[:, None] * vectors[group[0]]
        root[group] = group.min()
    return vectors, root


def timed(function, repeats=3):
    """The result and the least seconds of a few calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=16384)
    parser.add_argument("--inputs", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows, root = plant(arguments.units, arguments.inputs, arguments.seed)
    print(
        f"{arguments.units} x {arguments.inputs} float32, {rows.nbytes / 2**20:.0f} MiB, seed {arguments.seed}"
    )
    print(f"planted: {(root != np.arange(len(root))).sum()} redundant units")
    gram_seconds = timed(lambda: rows @ rows.T, repeats=1)[1]
    read_seconds = timed(lambda: rows.max())[1]
    print(f"Gram matrix {gram_seconds:.2f} s; one pass over the weights {read_seconds:.3f} s")
    for name, vectors in [("rows", rows), ("columns", np.asfortranarray(rows))]:
        groups, seconds = timed(lambda vectors=vectors: aligned_groups(vectors, Scaling.POSITIVE))
        tracemalloc.start()
        aligned_groups(vectors, Scaling.POSITIVE)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found = np.arange(len(root))
        for group in groups:
            found[group.members] = group.representative
        print(
            f"{name:8s} {seconds:.3f} s = {gram_seconds / seconds:.0f}x faster than the Gram matrix, "
            f"{seconds / read_seconds:.1f} passes; found {(found != np.arange(len(root))).sum()}, "
            f"all as planted: {bool((found == root).all())}; peak memory {1 + peak / rows.nbytes:.2f}x the weights"
        )


if __name__ == "__main__":
    main()
