"""The certificate: could one more neuron lower the loss? And for two layers: how low can any width
get?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from keras_l2feat.activations import slopes
from keras_l2feat.costs import cost_function, cost_with_gradient
from keras_l2feat.errors import require
from keras_l2feat.kernels.insertion import STARTS, STEPS, insertion_maximum
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.dual import CONJUGATES, dual_bound
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.plateau.kinks import stationary_gradients

__all__ = ["InsertionCertificate", "LayerInsertion", "certify"]


@dataclass(frozen=True)
class LayerInsertion:
    """What an insertion into one hidden layer could do.

    Attributes:
        layer: 1 … L−1.
        width: neurons the layer has.
        gap: max_w s(w) / 2λ − 1. At a minimum 0 says that no neuron of any direction lowers the
            loss to second order.
        enumerated: whether that maximum is over all sign patterns; else it is what a search found,
            a lower bound.
        live: (least, largest) s / 2λ over the neurons that are not dead; both 1 at a stationary
            point, so their distance from 1 tells how far the network is from one. (1, 1) if none is
            alive.
        scores: (K,) s(w) / 2λ of the best neurons found, best first.
        directions: (n_{l-1} + 1, K) their unit incoming weights.
        outgoing: (K, n_{l+1}) their unit outgoing weights, −Gᵀσ(A w) normalized;
            `network.with_neurons(layer, t * directions, t * outgoing)` with a small t lowers the
            loss where the score is above 1.
    """

    layer: int
    width: int
    gap: float
    enumerated: bool
    live: tuple
    scores: np.ndarray = field(repr=False)
    directions: np.ndarray = field(repr=False)
    outgoing: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class InsertionCertificate:
    """The insertion certificate of a network on data.

    Attributes:
        loss: C + λ Σ‖W_l‖².
        cost: the data term C alone.
        lam: λ.
        layers: a `LayerInsertion` for each hidden layer.
        lower_bound: for L = 2 and a cost whose conjugate is known, a lower bound on the loss at
            every width, as rigorous as the maximum it rests on (see `enumerated`); else None.
    """

    loss: float
    cost: float
    lam: float
    layers: tuple
    lower_bound: float | None

    @property
    def gap(self) -> float:
        """The largest gap of a layer, 0 without hidden layers."""
        return max((layer.gap for layer in self.layers), default=0.0)

    @property
    def enumerated(self) -> bool:
        """Whether every layer's maximum was enumerated."""
        return all(layer.enumerated for layer in self.layers)

    @property
    def relative_gap(self) -> float | None:
        """(loss − lower bound) / loss, None without a bound."""
        if self.lower_bound is None:
            return None
        return (self.loss - self.lower_bound) / self.loss if self.loss > 0 else 0.0

    def as_dict(self) -> dict:
        """Plain data for JSON, without the directions."""
        layers = []
        for layer in self.layers:
            row = {n: getattr(layer, n) for n in ("layer", "width", "gap", "enumerated")}
            layers.append({**row, "live": list(layer.live)})
        numbers = ("loss", "cost", "lam", "gap", "enumerated", "lower_bound", "relative_gap")
        return {**{name: getattr(self, name) for name in numbers}, "layers": layers}


def certify(
    network: DenseNetwork,
    problem: Problem,
    *,
    layers: Sequence[int] | None = None,
    count: int = 1,
    starts: int = STARTS,
    steps: int = STEPS,
    method: str = "auto",
    seed: int = 0,
) -> InsertionCertificate:
    """Ask for every hidden layer whether one more neuron could lower the L2-regularized loss.

    Points on a kink of a layer above count with the slopes that make the network most nearly
    stationary (`plateau.kinks`).

    Args:
        network: a `DenseNetwork` with a positively homogeneous σ.
        problem: what it was trained on, λ > 0; `Problem.of(network, data, lam)` is one.
        layers: the hidden layers to ask for, 1 … L−1; by default all.
        count: how many distinct neurons to name in a layer.
        starts: starts of the search beside the live neurons.
        steps: steps of the search; 40 find most of the gap.
        method: "auto", "enumerate" or "search", see `kernels.insertion.insertion_maximum`.
        seed: of the starts.

    Returns: an `InsertionCertificate`.

    Raises:
        InputError: λ is not positive, the network is none of the problem's, σ is not homogeneous,
            or an enumeration is out of reach.

    Reference: theory of insertion, [Jacot et al. 2022, §3.2, §4].
    """
    lam, cost, y = problem.lam, problem.cost, problem.y
    require(lam > 0, "lam", "positive", lam)
    problem.check(network)
    slopes(network.activation)
    with_gradient = _tape(cost, y) if callable(cost) else partial(cost_with_gradient(cost), y=y)
    z, a = network.forward(problem.x)
    value, upstream = with_gradient(z[-1])
    gradients = stationary_gradients(network, z, a, upstream, lam)
    search = {"count": count, "starts": starts, "steps": steps, "method": method}
    found = [
        _layer(network, layer, a[layer - 1], gradients[layer], lam, seed=seed + layer, **search)
        for layer in (range(1, network.depth) if layers is None else layers)
    ]
    bound = None
    if network.depth == 2 and found and cost in CONJUGATES:
        score = (1.0 + max(found[0].gap, found[0].live[1] - 1.0)) * 2 * lam
        bound = dual_bound(cost, gradients[1], y, score, lam, network.beta)
    return InsertionCertificate(value + lam * network.squared_norm, value, lam, tuple(found), bound)


def _tape(cost, y):
    """`z -> (C, ∂C/∂z)` for a cost that is a function."""
    import tensorflow as tf

    def value_and_gradient(z):
        outputs = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = cost_function(cost)(outputs, y)
        return float(value), tape.gradient(value, outputs).numpy()

    return value_and_gradient


def _layer(network, layer, a, gradient, lam, **search):
    weights = network.weights[layer - 1]
    norms = np.linalg.norm(weights, axis=0)
    alive = (norms > 0) & (np.linalg.norm(network.weights[layer][: weights.shape[1]], axis=1) > 0)
    live = weights[:, alive] / norms[alive]
    best = insertion_maximum(gradient, a, activation=network.activation, live=live, **search)
    ratios = np.linalg.norm(gradient.T @ network.activate(a @ live), axis=0) / (2 * lam)
    outgoing = -(gradient.T @ network.activate(a @ best.directions)).T
    sizes = np.linalg.norm(outgoing, axis=1, keepdims=True)
    return LayerInsertion(
        layer=layer,
        width=weights.shape[1],
        gap=best.score / (2 * lam) - 1.0,
        enumerated=best.enumerated,
        live=(float(ratios.min()), float(ratios.max())) if ratios.size else (1.0, 1.0),
        scores=best.scores / (2 * lam),
        directions=best.directions,
        outgoing=outgoing / np.maximum(sizes, np.finfo(np.float64).tiny),
    )
