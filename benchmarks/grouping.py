"""Finding aligned units by sorting a few projections, against forming the Gram matrix of the layer.

One float32 layer of 16384 units and 4096 inputs, a quarter of the units planted in groups of 2 to
50, in both memory orders (rows of a matrix; columns of a Dense kernel). Prints seconds, the ratio,
what was found, the time of one pass over the weights, and the peak memory of the search, weights
included, as a multiple of the weights.

Then two layers that once took minutes: units almost on one ray, closer than projections tell apart;
and a square linear layer without redundancy, and with a tenth of its units combinations of others.

    python benchmarks/grouping.py [--units 16384] [--inputs 4096] [--crowd 20000]
        [--square 2000 3000] [--seed 0]
"""

import argparse
import time
import tracemalloc

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.values.aligned import aligned_groups
from keras_l2feat.pruning.values.dependence import dependence


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
    parser.add_argument("--crowd", type=int, default=20000)
    parser.add_argument("--square", type=int, nargs="*", default=[2000, 3000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows, root = plant(arguments.units, arguments.inputs, arguments.seed)
    print(
        f"{arguments.units} x {arguments.inputs} float32, {rows.nbytes / 2**20:.0f} MiB, "
        f"seed {arguments.seed}"
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
            f"{name:8s} {seconds:.3f} s = {gram_seconds / seconds:.0f}x faster than the Gram "
            f"matrix, {seconds / read_seconds:.1f} passes; found "
            f"{(found != np.arange(len(root))).sum()}, all as planted: "
            f"{bool((found == root).all())}; peak memory {1 + peak / rows.nbytes:.2f}x the weights"
        )

    print(f"{arguments.crowd} units almost on one ray: {crowd(arguments.crowd, arguments.seed)}")
    for n in arguments.square:
        print(f"square linear layer of {n} units: {square(n, arguments.seed)}")


def crowd(n_units, seed):
    """Seconds for units that differ from one ray by a few roundings in each of 256 entries."""
    random = np.random.default_rng(seed)
    ray = random.standard_normal(256)
    vectors = (ray * (1 + 3e-6 * random.standard_normal((n_units, 256)))).astype(np.float32)
    groups, seconds = timed(lambda: aligned_groups(vectors, Scaling.POSITIVE), repeats=1)
    return f"{seconds:.2f} s, {len(groups)} groups"


def square(n, seed):
    """Seconds for finding the combinations among n columns of n entries."""
    random = np.random.default_rng(seed)
    columns = random.standard_normal((n, n)) / np.sqrt(n)
    report = []
    for planted in (0, n // 10):
        columns[:, :planted] = columns[:, planted : 2 * planted] + columns[:, n - planted :]
        stored = columns.astype(np.float32).astype(np.float64)
        found, seconds = timed(
            lambda stored=stored: dependence(stored, np.abs(stored), np.ones(n, bool), 5e-7),
            repeats=1,
        )
        report.append(f"{seconds:.2f} s with {planted} combinations, {len(found.others)} found")
    return "; ".join(report)


if __name__ == "__main__":
    main()
