"""The insertion search: how much of the maximum it finds, and what it costs next to its matrix
products.

On enumerable sizes: the share of searches that find the exact maximum to 1e-3. On a network of
mnist-1k (L = 3, widths given, trained here): the certificate's gap and seconds by starts and steps,
plain ascent (no smoothing of kinks) beside it, and the time of the ascent's matrix products alone.

    python benchmarks/insertion.py [--width 20] [--iterations 600] [--seed 0]
"""

import argparse
import time

import numpy as np
import tensorflow as tf

from keras_l2feat import data
from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.kernels.insertion import insertion_ascent, insertion_maximum
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.plateau.insertion import certify
from keras_l2feat.training import fit

LAM = 1e-3


def products(g, a, starts, steps):
    """The matrix products that each step of the ascent needs, and nothing else."""
    for _ in range(steps):
        z = tf.matmul(a, starts)
        pulled = tf.matmul(g, z, transpose_a=True)
        starts = tf.matmul(a, tf.matmul(g, pulled), transpose_a=True) * 1e-9
    return starts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    for n, d, k in ((20, 2, 1), (30, 3, 2), (10, 4, 3), (8, 8, 2)):
        found = []
        for seed in range(20):
            g, a = generator.standard_normal((n, k)), generator.standard_normal((n, d))
            exact = insertion_maximum(g, a, method="enumerate").score
            found.append(insertion_maximum(g, a, method="search", seed=seed).score / exact)
        print(f"N = {n}, d = {d}, outputs {k}: exact to 1e-3 in "
        f"{np.mean(np.array(found) > 0.999):.0%} of 20, "
              f"least {min(found):.5f} of the maximum")  # fmt: skip

    digits = data.load("mnist-1k")
    network = DenseNetwork.random((784, options.width, options.width, 10), seed=options.seed)
    network = fit(network, digits, lam=LAM, iterations=options.iterations, quiet=True).network
    problem = Problem(digits, LAM)
    certify(network, problem, starts=4, steps=2)  # traces
    for starts, steps in ((25, 30), (50, 40), (100, 60), (400, 100)):
        start = time.perf_counter()
        certificate = certify(network, problem, starts=starts, steps=steps, seed=options.seed)
        gaps = ", ".join(f"{layer.gap:.2%}" for layer in certificate.layers)
        print(f"mnist-1k, width {options.width}: {starts} starts, {steps} steps: gaps {gaps}, "
              f"{time.perf_counter() - start:.2f} s")  # fmt: skip

    _, below, gradients = network.backward(
        digits.x_train, lambda z: cost_with_gradient("crossentropy")(z, digits.y_train)
    )
    g, a = (tf.constant(value, tf.float32) for value in (gradients[1] * 1e3, below[0]))
    begin = tf.constant(below[0].T @ generator.standard_normal((len(below[0]), 100)), tf.float32)
    times = {}
    for name, function in {
        "smoothed": tf.function(lambda: insertion_ascent(g, a, begin, steps=60)[0]),
        "plain": tf.function(lambda: insertion_ascent(g, a, begin, steps=60, smoothing=0.0)[0]),
        "products": tf.function(lambda: products(g, a, begin, 60)),
    }.items():
        function()
        times[name] = np.inf
        for _ in range(3):
            start = time.perf_counter()
            scores = function().numpy()
            times[name] = min(times[name], time.perf_counter() - start)
        if name != "products":
            print(
                f"layer 1, 100 starts, 60 steps, {name} kinks: gap "
                f"{scores.max() / 1e3 / (2 * LAM) - 1:.2%}"
            )
    print(
        f"ascent {times['smoothed']:.2f} s = {times['smoothed'] / times['products']:.2f} "
        "times its matrix products"
    )


if __name__ == "__main__":
    main()
