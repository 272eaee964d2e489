"""The oracle by column generation against CVXPY/Clarabel over all enumerated patterns at once.

Scalar outputs, Gaussian points and targets, λ = 1e-2, squared error. CVXPY is timed as a whole
(building, compiling, solving), since that is what a user waits for; Clarabel's own share is shown
beside it. The patterns are enumerated outside both times for CVXPY and inside for us. Then sizes at
which enumeration explodes, ours alone.

    python benchmarks/oracle.py [--repeat 3] [--seed 0] [--skip-large]
"""

import argparse
import time

import cvxpy as cp
import numpy as np

from keras_l2feat.objectives import Problem
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.theory.patterns import patterns

LAM = 1e-2
SIZES = ((10, 2), (20, 2), (30, 3))
LARGE = ((40, 10, 0.0), (60, 20, 1.0))


def all_patterns(x, y, active):
    """The program of Pilanci and Ergen over all patterns and both signs."""
    n, d = x.shape
    z, norm, constraints = 0, 0, []
    for row in active:
        sign = np.where(row, 1.0, -1.0)
        plus, minus = cp.Variable(d), cp.Variable(d)
        z = z + (row[:, None] * x) @ (plus - minus)
        norm = norm + cp.norm(plus) + cp.norm(minus)
        constraints += [(sign[:, None] * x) @ plus >= 0, (sign[:, None] * x) @ minus >= 0]
    return cp.Problem(cp.Minimize(cp.sum_squares(z - y) / n + 2 * LAM * norm), constraints)


def stacked(x, y, active):
    """The same as one block of variables: what an expert in CVXPY would write."""
    n, d = x.shape
    count = len(active)
    sign = np.where(active, 1.0, -1.0)
    u = [cp.Variable((count, d)) for _ in range(2)]
    wide = np.concatenate([row[:, None] * x for row in active], axis=1)  # (n, count * d)
    z = wide @ cp.reshape(u[0] - u[1], (count * d,), order="C")
    constraints = [cp.multiply(sign, part @ x.T) >= 0 for part in u]
    norm = sum(cp.sum(cp.norm(part, axis=1)) for part in u)
    return cp.Problem(cp.Minimize(cp.sum_squares(z - y) / n + 2 * LAM * norm), constraints)


def fastest(function, repeat):
    best = np.inf
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def problem_of(generator, n, d, beta=0.0):
    x, y = generator.standard_normal((n, d)), generator.standard_normal(n)
    return Problem((x, y), LAM, beta=beta)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip-large", action="store_true")
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    global_optimum(problem_of(generator, 4, 2))  # imports
    for n, d in SIZES:
        given = problem_of(generator, n, d)
        x, y = given.x, given.y[:, 0]
        ours, optimum = fastest(
            lambda given=given: global_optimum(given, tolerance=1e-7), options.repeat
        )
        active = patterns(x)
        print(f"N = {n}, d = {d}, {len(active)} patterns: ours {ours:.3f} s, "
        f"{optimum.rounds} rounds, "
              f"gap {optimum.gap:.1e}, {optimum.network.hidden[0]} neurons")  # fmt: skip
        for name, build in (
            ("one variable a pattern", all_patterns),
            ("one block of variables", stacked),
        ):

            def solve(build=build, x=x, y=y, active=active):
                problem = build(x, y, active)
                problem.solve(solver=cp.CLARABEL)
                return problem

            seconds, problem = fastest(solve, options.repeat if len(active) < 100 else 1)
            print(
                f"    CVXPY, {name}: {seconds:.3f} s (Clarabel "
                f"{problem.solver_stats.solve_time:.3f} s), value "
                f"{problem.value / optimum.value - 1:+.1e} of ours; ours is {seconds / ours:.1f} "
                f"times as fast, {problem.solver_stats.solve_time / ours:.1f} times its solver "
                "alone"
            )
    for n, d, beta in () if options.skip_large else LARGE:
        given = problem_of(generator, n, d, beta)
        seconds, optimum = fastest(lambda given=given: global_optimum(given, tolerance=1e-4), 1)
        print(
            f"N = {n}, d = {d}, β = {beta:g}, patterns searched: {seconds:.2f} s, {optimum.rounds} "
            f"rounds, gap {optimum.gap:.1e} as far as the search sees, {optimum.network.hidden[0]} "
            "neurons"
        )


if __name__ == "__main__":
    main()
