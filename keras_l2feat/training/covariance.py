"""Direct optimization of the covariance form by conditional gradients (Frank-Wolfe), neuron by
neuron.

    L_k = C(Z_L) + λ Σ_l tr[K_l (K^σ_{l-1})⁺],  (K_l, K^σ_l) in the conical hull of {(x xᵀ,
    σ(x)σ(x)ᵀ)}

No projection onto that cone is known, but the linear oracle is the insertion score's maximum
(`kernels.insertion`): every round asks it for the neurons whose atoms lower the loss fastest, and
then takes a step. An iterate is a conical combination of atoms x_i = A w_i with weights μ_i, which
is a network with ‖w_i‖² = μ_i and v_i the least norm weights that reach Z; so iterates are kept as
networks. For L = 2, where L_k is jointly convex, min over μ with fixed atoms is

    min_V C(Φ V + β 1 bᵀ) + 2λ Σ_i ‖v_i‖ + λ‖b‖²,   Φ = σ(A w_i),

and the gap of the oracle bounds the distance to the global minimum over all widths. [Jacot et al.
2022, §3.2]

At a minimum the M of the oracle, K^σ M = Z, is −G/(2λ), G = ∂C/∂Z; M is fixed by K^σ only up to its
kernel, and G is its one choice that sees what atoms outside the image of K^σ are worth. So G is
what the oracle gets.
"""

import time

from keras_l2feat import progress
from keras_l2feat.activations import slopes
from keras_l2feat.errors import bad_argument, keeping, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training.conditional_gradient import ConditionalGradient
from keras_l2feat.training.fitting import Fit
from keras_l2feat.types import Cost, Data

__all__ = ["fit"]


def fit(
    network: DenseNetwork,
    data: Data,
    *,
    lam: float,
    cost: Cost | None = None,
    method: str = "corrective",
    tolerance: float = 1e-4,
    iterations: int = 100,
    slide: int = 100,
    seconds: float | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Fit:
    """Minimize the covariance form by conditional gradients, from a network that may be empty.

    "corrective" solves, after each answer of the oracle, for the best combination of all atoms
    (convex), then lets them slide (L-BFGS on the weights), and merges those that met. "plain" only
    takes the best step towards the new atom and the best scale of what was there: the textbook
    method, slow in the end.

    For L = 2 the end is the global minimum over all widths up to `tolerance`, proved where the
    oracle enumerates, as far as its search sees otherwise. For L > 2 the loss is convex in each
    layer's pair alone: every round goes through the layers, and the end depends on the start, which
    must not be empty (10 random neurons a layer do well).

    Args:
        network: where to start; its depth, σ and β are kept, its widths are not.
            `DenseNetwork.random((n_0, 0, n_2))` is the empty start.
        data: a `Dataset`, its name, or a pair (x, y) of arrays.
        lam: λ > 0.
        cost: "crossentropy" or "squared", by default that of the data.
        method: "corrective" or "plain" (L = 2 only).
        tolerance: stop when the certificate's gap is at most this: for L = 2 (loss − lower bound) /
            loss, else max_w s(w) / 2λ − 1 over the layers.
        iterations: the greatest number of rounds.
        slide: L-BFGS iterations on all weights in a round; 0 is the pure method for L = 2.
        seconds: wall-clock time after which to stop, `None` for no limit.
        seed: of searches.
        quiet: no progress bar.

    Returns: a `Fit` with a new `DenseNetwork`; `history` has "loss", "seconds", "gap", "neurons" by
        round, and for L = 2 "lower_bound". `reason` is "converged", "max_iterations", "seconds",
        "stalled" (the oracle's neurons no longer lower the loss) or "interrupted".

    Raises:
        Interrupted: by Ctrl-C; its `best` is the `Fit` so far.
        InputError: an argument is out of range, or σ is not homogeneous.
    """
    _check(network, lam, method)
    problem = Problem.of(network, data, lam, cost)
    problem.check(network)
    rounds = ConditionalGradient(problem, seed)
    began, network = time.monotonic(), rounds.encode(network)
    if network.depth > 2:  # a point from which single neurons make sense
        network = rounds.slide(network, 10 * slide)
    names = ("loss", "seconds", "gap", "neurons", *(("lower_bound",) if network.depth == 2 else ()))
    result = Fit(network, reason="max_iterations", history={name: [] for name in names})
    bar = progress.bar(
        total=iterations, description=f"Frank-Wolfe, {method}", quiet=quiet, unit="round"
    )
    try:
        with keeping(result):
            for number in range(iterations + 1):
                found = rounds.look(network, number)
                moment = time.monotonic() - began
                _note(result, number, found, moment)
                bar.set_postfix(loss=f"{found.loss:.6g}", gap=f"{found.gap:.2g}", refresh=False)
                bar.update()
                if found.gap <= tolerance:
                    result.reason = "converged"
                elif seconds is not None and moment > seconds:
                    result.reason = "seconds"
                if result.reason != "max_iterations" or number == iterations:
                    break
                if method == "plain":
                    network = rounds.plain_step(found)
                else:
                    network = rounds.corrective_step(found, slide)
                if not rounds.loss(network) < found.loss:
                    result.reason = "stalled"
                    break
    finally:
        bar.close()
        result.network = rounds.decode(result.network)
        result.seconds = time.monotonic() - began
    return result


def _check(network, lam, method):
    slopes(network.activation)  # refuses what is not homogeneous
    require(lam > 0, "lam", "positive", lam)
    if network.depth < 2 or (network.depth > 2 and not all(network.hidden)):
        raise bad_argument(
            "network", "of two layers, or deeper with neurons in each", network.widths
        )
    require(method in {"corrective", "plain"}, "method", "'corrective' or 'plain'", method)
    if method == "plain" and network.depth > 2:
        raise bad_argument("method", "'corrective' for more than two layers", method)


def _note(result, number, found, moment):
    """Keep what a round found, and its network if none was better."""
    row = found.loss, moment, found.gap, sum(found.network.hidden), found.bound
    for numbers, value in zip(result.history.values(), row):
        numbers.append(value)
    if found.loss < result.loss:
        result.loss, result.network = found.loss, found.network
    result.iterations = number
