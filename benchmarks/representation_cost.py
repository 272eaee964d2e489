"""The representation cost with both gradients against the ways around it, in one run, in turn;
float64.

Sides: `ours`; the N×N system solved by autodiff, as the paper describes; autodiff through
`tf.linalg.pinv`; the four matrix products that no method of this kind avoids (AᵀA, AᵀZ, A W, M Wᵀ)
alone. Ratios are of the least times of the rounds. Then growth with N, and N = 100 000 in bounded
memory by the streaming path.

    python benchmarks/representation_cost.py [--rounds 15]
"""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from keras_l2feat.kernels import representation_cost, streamed_representation_cost

N, WIDTH, RIDGE = 2000, 200, 1e-2
SIZES = (1000, 2000, 4000, 8000, 16000)


def with_gradients(cost):
    """The compiled value and gradients in Z and A of `cost(z, a)`."""

    @tf.function(reduce_retracing=True)
    def run(z, a):
        with tf.GradientTape() as tape:
            tape.watch([z, a])
            value = cost(z, a)
        return value, *tape.gradient(value, [z, a])

    return run


def ours(z, a):
    return representation_cost(z, a, RIDGE)


def dense(z, a):
    system = tf.matmul(a, a, transpose_b=True) + RIDGE * tf.eye(len(a), dtype=a.dtype)
    return tf.reduce_sum(z * tf.linalg.solve(system, z))


def pinv(z, a):
    return tf.reduce_sum(tf.square(tf.matmul(tf.linalg.pinv(a), z)))


@tf.function
def products(z, a, w):
    return (
        tf.matmul(a, a, transpose_a=True),
        tf.matmul(a, z, transpose_a=True),
        tf.matmul(a, w),
        tf.matmul(z, w, transpose_b=True),
    )


def seconds(function, *arguments):
    start = time.perf_counter()
    tf.nest.map_structure(lambda x: x.numpy(), function(*arguments))
    return time.perf_counter() - start


def draw(points, seed=0):
    generator = np.random.default_rng(seed)
    return tf.constant(generator.standard_normal((points, WIDTH))), tf.constant(
        generator.standard_normal((points, WIDTH))
    )


def compare(rounds):
    z, a = draw(N)
    w = tf.constant(np.random.default_rng(1).standard_normal((WIDTH, WIDTH)))
    sides = {
        "ours": lambda: seconds(kernel, z, a),
        "matrix products alone": lambda: seconds(products, z, a, w),
        "autodiff through pinv": lambda: seconds(by_pinv, z, a),
        "N×N system, autodiff": lambda: seconds(by_system, z, a),
    }
    kernel, by_system, by_pinv = (with_gradients(cost) for cost in (ours, dense, pinv))
    for ours_part, dense_part in zip(kernel(z, a), by_system(z, a)):
        assert np.max(np.abs(ours_part - dense_part)) <= 1e-8 * np.max(np.abs(dense_part))
    best = dict.fromkeys(sides, np.inf)
    for round_ in range(rounds):
        for name, run in sides.items():
            if "N×N" in name and round_ % 5:
                continue  # a hundred times slower: fewer rounds
            best[name] = min(best[name], run())
    flops = 4 * 2 * N * WIDTH**2
    print(f"value and both gradients, float64, N = {N}, n = {WIDTH}, least of {rounds} rounds")
    for name, value in best.items():
        print(f"  {name:<24} {1e3 * value:9.2f} ms   {value / best['ours']:7.2f} × ours")
    limit = best["ours"] / best["matrix products alone"]
    print(
        f"  ours / matrix products = {limit:.2f} "
        f"({flops / best['matrix products alone'] / 1e9:.0f} GFLOP/s in them)"
    )


def growth(rounds):
    kernel, times = with_gradients(ours), []
    for points in SIZES:
        z, a = draw(points)
        times.append(min(seconds(kernel, z, a) for _ in range(rounds + 1)))
    exponent = np.polyfit(np.log(SIZES), np.log(times), 1)[0]
    print("growth with N: " + ", ".join(f"{n}: {1e3 * t:.1f} ms" for n, t in zip(SIZES, times)))
    print(f"  fitted exponent {exponent:.2f}")


def streaming(points=100_000, batch=2000):
    z, a = draw(batch)
    batches = tf.data.Dataset.range(points // batch).map(
        lambda index: (
            z + tf.random.stateless_normal(z.shape, [0, tf.cast(index, tf.int32)], dtype=z.dtype),
            a + tf.random.stateless_normal(a.shape, [1, tf.cast(index, tf.int32)], dtype=a.dtype),
        )
    )
    streamed_representation_cost(batches.take(2), RIDGE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    streamed = streamed_representation_cost(batches, RIDGE)
    passed = time.perf_counter() - start
    count = sum(len(dz) for dz, _ in streamed.gradients)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"N = {points} streamed in batches of {batch}: value {passed:.1f} s, with {count} rows of "
        f"gradients {time.perf_counter() - start:.1f} s; peak memory grew by {grown:.0f} MB (Z, A "
        f"and both gradients would take {4 * 8 * points * WIDTH / 2**20:.0f} MB)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    streaming()  # first, so that the peak is its own
    compare(rounds)
    growth(rounds // 3)
