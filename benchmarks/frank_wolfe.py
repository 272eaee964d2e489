"""Conditional gradients on the covariance form: the gap they reach against the oracle, and how
fast.

Two layers, N ≤ 10, d ≤ 3, scalar and vector outputs, squared error and cross-entropy, λ = 1e-2: the
relative distance to the oracle's optimum, the certificate's own gap, seconds. Then mnist-789-42:
two layers, and three layers against weight-space L-BFGS runs of widths 50.

    python benchmarks/frank_wolfe.py [--runs 10] [--iterations 400] [--seed 0]
"""

import argparse
import time

import numpy as np

from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.training import covariance, fit

LAM = 1e-2
CASES = (
    (10, 1, 1, 1.0, "squared"),
    (10, 2, 1, 0.0, "squared"),
    (10, 3, 1, 1.0, "squared"),
    (10, 2, 2, 0.0, "squared"),
    (10, 3, 3, 0.0, "squared"),
    (10, 2, 3, 1.0, "crossentropy"),
)
METHODS = {
    "corrective": {"tolerance": 1e-4},
    "corrective, no slide": {"tolerance": 1e-4, "slide": 0},
    "plain, 100 rounds": {"tolerance": 1e-4, "method": "plain", "iterations": 100},
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="weight-space runs on mnist-789-42")
    parser.add_argument("--iterations", type=int, default=400, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    for n, d, k, beta, cost in CASES:
        x = generator.standard_normal((n, d))
        y = generator.standard_normal((n, k)) if cost == "squared" else np.arange(n) % k
        start = time.perf_counter()
        optimum = global_optimum(Problem((x, y), LAM, cost, beta=beta))
        print(f"N = {n}, d = {d}, outputs {k}, β = {beta:g}, {cost}: oracle "
        f"{optimum.value:.8g} ± {optimum.gap:.0e}, "
              f"{time.perf_counter() - start:.2f} s")  # fmt: skip
        for name, settings in METHODS.items():
            empty = DenseNetwork.random((d, 0, k), beta=beta)
            found = covariance.fit(empty, (x, y), lam=LAM, cost=cost, quiet=True, **settings)
            above, gap = found.loss / optimum.value - 1, found.history["gap"][-1]
            print(
                f"    {name:<21} {above:+.1e} of it, certificate {gap:.1e}, "
                f"{found.iterations} rounds, {found.network.hidden[0]} neurons, "
                f"{found.seconds:.2f} s"
            )
    for lam in (1e-2, 1e-3):
        two = covariance.fit(DenseNetwork.random((784, 0, 3)), "mnist-789-42", lam=lam, quiet=True)
        print(f"mnist-789-42, L = 2, λ = {lam:g}: {two.loss:.6g}, gap "
        f"{two.history['gap'][-1]:.1e}, "
              f"{two.network.hidden[0]} neurons, {two.seconds:.1f} s")  # fmt: skip
        found = [
            covariance.fit(
                DenseNetwork.random((784, 10, 10, 3), seed=seed),
                "mnist-789-42",
                lam=lam,
                tolerance=1e-2,
                seed=seed,
                iterations=8,
                quiet=True,
            )
            for seed in range(3)
        ]
        wide = [
            fit(
                DenseNetwork.random((784, 50, 50, 3), seed=seed),
                "mnist-789-42",
                lam=lam,
                iterations=options.iterations,
                quiet=True,
            )
            for seed in range(options.runs)
        ]
        best, seconds = min(run.loss for run in wide), np.mean([run.seconds for run in wide])
        above = [f"{choose(run.loss for run in found) / best - 1:+.2%}" for choose in (min, max)]
        print(
            f"mnist-789-42, L = 3, λ = {lam:g}: conditional gradients "
            + ", ".join(f"{run.loss:.6g} ({run.seconds:.1f} s)" for run in found)
            + f"; best of {options.runs} weight-space runs {best:.6g} ({seconds:.1f} s each); "
            f"ours {above[0]} of it, the worst of ours {above[1]}"
        )


if __name__ == "__main__":
    main()
