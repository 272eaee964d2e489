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
from functools import partial

import numpy as np
from scipy import optimize

from keras_l2feat import progress
from keras_l2feat.activations import append_bias, slopes
from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import bad_argument, keeping
from keras_l2feat.kernels.arrangement import row_space
from keras_l2feat.kernels.insertion import Enumeration, enumerable, insertion_maximum
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.dual import dual_bound
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training import lbfgs
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.fitting import Fit
from keras_l2feat.training.group_lasso import group_lasso
from keras_l2feat.training.merge import tidy
from keras_l2feat.training.run import Budget
from keras_l2feat.types import Cost, Data

__all__ = ["fit"]

ENTERING = 10  # neurons that may join a layer in a round of the corrective method
# Norms of entering neurons' weights that are tried, relative to their layer's largest.
SIZES = (0.3, 0.1, 0.03, 0.01, 0.001)
SETTLED = 1e-10  # relative decrease at which a corrective step is done


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
    depth, beta = network.depth, network.beta
    slopes(network.activation)
    if not lam > 0:
        raise bad_argument("lam", "positive", lam)
    if depth < 2 or (depth > 2 and not all(network.hidden)):
        raise bad_argument(
            "network", "of two layers, or deeper with neurons in each", network.widths
        )
    if method not in {"corrective", "plain"}:
        raise bad_argument("method", "'corrective' or 'plain'", method)
    if method == "plain" and depth > 2:
        raise bad_argument("method", "'corrective' for more than two layers", method)
    problem = Problem.of(network, data, lam, cost)
    problem.check(network)
    rounds = _Rounds(problem, seed)
    network = rounds.encode(network)
    result = Fit(
        network,
        reason="max_iterations",
        history={"loss": [], "seconds": [], "gap": [], "neurons": []},
    )
    began = time.monotonic()
    if depth > 2:  # a point from which single neurons make sense
        network = rounds.slide(network, 10 * slide)
    bound = -np.inf
    bar = progress.bar(
        total=iterations, description=f"Frank-Wolfe, {method}", quiet=quiet, unit="round"
    )
    try:
        with keeping(result):
            for round_ in range(iterations + 1):
                value, a, gradients = rounds.backward(network)
                loss = value + lam * network.squared_norm
                answers = [
                    rounds.oracle(network, layer, a[layer - 1], gradients[layer], ENTERING, round_)
                    for layer in range(1, depth)
                ]
                gap = max(answer.score for answer in answers) / (2 * lam) - 1
                if depth == 2:
                    score = answers[0].score
                    below = dual_bound(problem.cost, gradients[1], problem.y, score, lam, beta)
                    bound = max(bound, below)
                    gap = (loss - bound) / loss if loss > 0 else 0.0
                    result.history.setdefault("lower_bound", []).append(bound)
                moment = time.monotonic() - began
                for key, number in zip(
                    ("loss", "seconds", "gap", "neurons"), (loss, moment, gap, sum(network.hidden))
                ):
                    result.history[key].append(number)
                if loss < result.loss:
                    result.loss, result.network = loss, network
                result.iterations = round_
                bar.set_postfix(loss=f"{loss:.6g}", gap=f"{gap:.2g}", refresh=False)
                bar.update()
                if gap <= tolerance:
                    result.reason = "converged"
                    break
                if seconds is not None and moment > seconds:
                    result.reason = "seconds"
                    break
                if round_ == iterations:
                    break
                if method == "plain":
                    network = rounds.plain_step(network, answers[0], gradients[1])
                else:
                    network = rounds.corrective_step(network, answers, a, gradients, slide)
                if not rounds.loss(network) < loss:
                    result.reason = "stalled"
                    break
    finally:
        bar.close()
        result.network = rounds.decode(result.network)
        result.seconds = time.monotonic() - began
    return result


class _Rounds:
    """The steps of the method on one problem, with the inputs in a basis of their row space."""

    def __init__(self, problem, seed):
        self.problem, self.lam, self.seed = problem, problem.lam, seed
        self.with_gradient = partial(cost_with_gradient(problem.cost), y=problem.y)
        a = append_bias(problem.x, problem.beta)
        self.basis = row_space(a)
        self.a = a @ self.basis
        self.enumeration = Enumeration(self.a, problem.activation) if enumerable(self.a) else None

    def encode(self, network):
        """The network with W_1 in the basis, balanced."""
        weights = [self.basis.T @ network.weights[0], *network.weights[1:]]
        return network.with_weights(balance(weights, network.activation))

    def decode(self, network):
        return network.with_weights((self.basis @ network.weights[0], *network.weights[1:]))

    def backward(self, network):
        """C, A_0 … and ∂C/∂Z_1 …, for a network whose W_1 is in the basis."""
        return network.backward(self.a, self.with_gradient, augmented=True)

    def loss(self, network):
        return self.backward(network)[0] + self.lam * network.squared_norm

    def oracle(self, network, layer, a, gradient, count, round_):
        """The best atoms of a layer."""
        if layer == 1 and self.enumeration is not None:
            return self.enumeration.maximum(gradient, count=count, above=2 * self.lam)
        live = network.weights[layer - 1]
        live = live[:, np.linalg.norm(live, axis=0) > 0]
        return insertion_maximum(
            gradient,
            a,
            activation=network.activation,
            live=live,
            count=count,
            method="search",
            seed=self.seed + 1000 * layer + round_,
        )

    def slide(self, network, iterations):
        """L-BFGS on all weights."""

        def value_and_gradient(weights):
            moved = network.with_weights(weights)
            value, a, upstream = self.backward(moved)
            value += self.lam * moved.squared_norm
            return value, [
                x.T @ g + 2 * self.lam * w for x, g, w in zip(a, upstream, moved.weights)
            ]

        result = lbfgs.minimize(
            value_and_gradient, network.weights, Budget(iterations, SETTLED), quiet=True
        )
        return network.with_weights(balance(result.arrays, network.activation))

    def corrective_step(self, network, answers, a, gradients, slide):
        """Add what the oracle named, solve for the best combination, slide, merge."""
        for layer, answer in reversed(list(enumerate(answers, start=1))):
            incoming = answer.directions[:, answer.scores > 2 * self.lam]
            if not incoming.size:
                continue
            pulled = gradients[layer].T @ network.activate(a[layer - 1] @ incoming)
            outgoing = -(pulled / np.linalg.norm(pulled, axis=0)).T
            # neurons that joined the layer above just now take nothing yet
            outgoing = np.pad(
                outgoing, ((0, 0), (0, network.weights[layer].shape[1] - outgoing.shape[1]))
            )
            largest = np.linalg.norm(network.weights[layer - 1], axis=0).max(initial=SIZES[-1])
            sizes = [t * largest for t in SIZES]
            if network.depth == 2:
                network = network.with_neurons(layer, sizes[0] * incoming, sizes[0] * outgoing)
            else:  # together or the best alone, whatever lowers the loss most
                trials = [
                    network.with_neurons(layer, t * incoming[:, :count], t * outgoing[:count])
                    for t in sizes
                    for count in (len(outgoing), 1)
                ]
                network = min(trials, key=self.loss)
        if network.depth == 2:
            network = self.tidy(self.combine(network))
        if slide:
            network = self.tidy(self.slide(network, slide))
        return network

    def combine(self, network):
        """The best combination of the atoms of a two-layer network: its directions w stay."""
        directions = network.weights[0] / np.linalg.norm(network.weights[0], axis=0)
        atoms = network.activate(self.a @ directions)
        problem = self.problem
        heads, bias = group_lasso(
            atoms,
            problem.y,
            problem.lam,
            outputs=network.widths[-1],
            cost=problem.cost,
            beta=problem.beta,
        )
        sizes = np.sqrt(np.linalg.norm(heads, axis=1))
        return network.with_weights(
            (directions * sizes, np.concatenate([heads / sizes[:, None], bias]))
        )

    def tidy(self, network):
        """Without neurons that do nothing, and near ones merged, where the loss does not rise."""
        return tidy(network, self.loss)

    def plain_step(self, network, answer, gradients):
        """The best scale of the network's atoms together with the best size of one new atom."""
        w = answer.directions[:, :1]
        atom = network.activate(self.a @ w)
        head = -(gradients.T @ atom).T
        head /= np.linalg.norm(head)
        below, above = network.weights
        width = below.shape[1]
        old = network.activate(self.a @ below) @ above[:width]
        new, ones = atom @ head, network.beta * np.ones((len(old), 1))
        price = 2 * np.sum(np.linalg.norm(below, axis=0) * np.linalg.norm(above[:width], axis=1))

        def value_and_gradient(point):
            scale, size, bias = point[0], point[1], point[2:]
            value, g = self.with_gradient(
                scale * old + size * new + ones * (bias if len(bias) else 0.0)
            )
            value += self.lam * (scale * price + 2 * size + bias @ bias)
            slope = [np.vdot(g, old) + self.lam * price, np.vdot(g, new) + 2 * self.lam]
            return value, np.concatenate(
                [slope, (ones.T @ g)[0] + 2 * self.lam * bias if len(bias) else []]
            )

        bias = above[width:].ravel()
        point = optimize.minimize(
            value_and_gradient,
            np.concatenate([[1.0, 0.0], bias]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * 2 + [(None, None)] * len(bias),
            options={"ftol": 1e-15, "gtol": 1e-12},
        ).x
        scale, size = np.sqrt(point[:2])
        heads = [scale * above[:width], size * head, point[2:].reshape(-1, above.shape[1])]
        return network.with_weights(
            (np.concatenate([scale * below, size * w], axis=1), np.concatenate(heads))
        )
