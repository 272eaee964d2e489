"""The rounds of the conditional gradient method (`training.covariance`): what the oracle says of a
network, and the steps that follow."""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import optimize

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.kernels.arrangement import row_space
from keras_l2feat.kernels.insertion import (
    Enumeration,
    InsertionMaximum,
    enumerable,
    insertion_maximum,
)
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives.dual import dual_bound
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.training import lbfgs
from keras_l2feat.training.balancing import balance
from keras_l2feat.training.group_lasso import group_lasso
from keras_l2feat.training.merge import tidy
from keras_l2feat.training.run import Budget
from keras_l2feat.types import Arrays

__all__ = ["ConditionalGradient", "Iterate"]

ENTERING = 10  # neurons that may join a layer in a round of the corrective method
# Norms of entering neurons' weights that are tried, relative to their layer's largest.
SIZES = (0.3, 0.1, 0.03, 0.01, 0.001)
SETTLED = 1e-10  # relative decrease at which a corrective step is done


class Iterate(NamedTuple):
    """What a round finds out about its network.

    Attributes:
        network: whose W_1 is in the basis.
        loss: with the λ term.
        a: A_0 … A_{L-1}; gradients: ∂C/∂Z_1 … ∂C/∂Z_L.
        answers: of the oracle, one a hidden layer.
        gap: 0 at a minimum; see `covariance.fit`.
        bound: for L = 2 the best lower bound so far, else −∞.
    """

    network: DenseNetwork
    loss: float
    a: Arrays
    gradients: Arrays
    answers: list[InsertionMaximum]
    gap: float
    bound: float


class ConditionalGradient:
    """The steps of the method on one problem, with the inputs in a basis of their row space.

    Args:
        problem: what is minimized.
        seed: of searches.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.lam, self.seed = problem, problem.lam, seed
        self.with_gradient = partial(cost_with_gradient(problem.cost), y=problem.y)
        self.basis = row_space(problem.augmented)
        self.a = problem.augmented @ self.basis
        self.enumeration = Enumeration(self.a, problem.activation) if enumerable(self.a) else None
        self.bound = -np.inf

    def encode(self, network: DenseNetwork) -> DenseNetwork:
        """The network with W_1 in the basis, balanced."""
        weights = [self.basis.T @ network.weights[0], *network.weights[1:]]
        return network.with_weights(balance(weights, network.activation))

    def decode(self, network: DenseNetwork) -> DenseNetwork:
        """The network with W_1 as it applies to the inputs."""
        return network.with_weights((self.basis @ network.weights[0], *network.weights[1:]))

    def backward(self, network: DenseNetwork) -> tuple[float, Arrays, Arrays]:
        """C, A_0 … and ∂C/∂Z_1 …, for a network whose W_1 is in the basis."""
        return network.backward(self.a, self.with_gradient, augmented=True)

    def loss(self, network: DenseNetwork) -> float:
        """C + λ Σ ‖W_l‖²."""
        return self.backward(network)[0] + self.lam * network.squared_norm

    def look(self, network: DenseNetwork, number: int) -> Iterate:
        """Ask the oracle about a network, in round `number`."""
        value, a, gradients = self.backward(network)
        loss = value + self.lam * network.squared_norm
        answers = [
            self._oracle(network, layer, a[layer - 1], gradients[layer], number)
            for layer in range(1, network.depth)
        ]
        gap = max(answer.score for answer in answers) / (2 * self.lam) - 1
        if network.depth == 2:  # convex: the oracle's answer is worth a lower bound
            problem, score = self.problem, answers[0].score
            given = problem.y, score, problem.lam, problem.beta
            self.bound = max(self.bound, dual_bound(problem.cost, gradients[1], *given))
            gap = (loss - self.bound) / loss if loss > 0 else 0.0
        return Iterate(network, loss, a, gradients, answers, gap, self.bound)

    def _oracle(self, network, layer, a, gradient, number):
        """The best atoms of a layer."""
        if layer == 1 and self.enumeration is not None:
            return self.enumeration.maximum(gradient, count=ENTERING, above=2 * self.lam)
        live = network.weights[layer - 1]
        live = live[:, np.linalg.norm(live, axis=0) > 0]
        search = {"count": ENTERING, "method": "search", "seed": self.seed + 1000 * layer + number}
        return insertion_maximum(gradient, a, activation=network.activation, live=live, **search)

    def slide(self, network: DenseNetwork, iterations: int) -> DenseNetwork:
        """L-BFGS on all weights."""

        def value_and_gradient(weights):
            moved = network.with_weights(weights)
            value, a, upstream = self.backward(moved)
            parts = zip(a, upstream, moved.weights)
            slopes = [x.T @ g + 2 * self.lam * w for x, g, w in parts]
            return value + self.lam * moved.squared_norm, slopes

        start, budget = list(network.weights), Budget(iterations, SETTLED)
        result = lbfgs.minimize(value_and_gradient, start, budget, quiet=True)
        return network.with_weights(balance(result.arrays, network.activation))

    def corrective_step(self, found: Iterate, slide: int) -> DenseNetwork:
        """Add what the oracle named, solve for the best combination, slide, merge."""
        network = found.network
        for layer in range(network.depth - 1, 0, -1):
            answer = found.answers[layer - 1]
            incoming = answer.directions[:, answer.scores > 2 * self.lam]
            if incoming.size:
                network = self._joined(network, found, layer, incoming)
        if network.depth == 2:
            network = self.tidy(self.combine(network))
        if slide:
            network = self.tidy(self.slide(network, slide))
        return network

    def _joined(self, network, found, layer, incoming):
        """The network with neurons in a layer, each with the outgoing weights that lower the loss
        fastest."""
        pulled = found.gradients[layer].T @ network.activate(found.a[layer - 1] @ incoming)
        outgoing = -(pulled / np.linalg.norm(pulled, axis=0)).T
        # neurons that joined the layer above just now take nothing yet
        more = network.weights[layer].shape[1] - outgoing.shape[1]
        outgoing = np.pad(outgoing, ((0, 0), (0, more)))
        largest = np.linalg.norm(network.weights[layer - 1], axis=0).max(initial=SIZES[-1])
        sizes = [t * largest for t in SIZES]
        if network.depth == 2:  # `combine` finds their sizes
            return network.with_neurons(layer, sizes[0] * incoming, sizes[0] * outgoing)
        trials = [
            network.with_neurons(layer, t * incoming[:, :count], t * outgoing[:count])
            for t in sizes
            for count in (len(outgoing), 1)  # together, or the best alone
        ]
        return min(trials, key=self.loss)

    def combine(self, network: DenseNetwork) -> DenseNetwork:
        """The best combination of the atoms of a two-layer network: its directions w stay."""
        directions = network.weights[0] / np.linalg.norm(network.weights[0], axis=0)
        atoms = network.activate(self.a @ directions)
        problem = self.problem
        kind = {"outputs": network.widths[-1], "cost": problem.cost, "beta": problem.beta}
        heads, bias = group_lasso(atoms, problem.y, problem.lam, **kind)
        sizes = np.sqrt(np.linalg.norm(heads, axis=1))
        return network.with_weights(
            (directions * sizes, np.concatenate([heads / sizes[:, None], bias]))
        )

    def tidy(self, network: DenseNetwork) -> DenseNetwork:
        """Without neurons that do nothing, and near ones merged, where the loss does not rise."""
        return tidy(network, self.loss)

    def plain_step(self, found: Iterate) -> DenseNetwork:
        """The best scale of the network's atoms together with the best size of one new atom."""
        network, w = found.network, found.answers[0].directions[:, :1]
        atom = network.activate(self.a @ w)
        head = -(found.gradients[1].T @ atom).T
        head /= np.linalg.norm(head)
        below, above = network.weights
        width = below.shape[1]
        old = network.activate(self.a @ below) @ above[:width]
        new, ones = atom @ head, network.beta * np.ones((len(old), 1))
        price = 2 * np.sum(np.linalg.norm(below, axis=0) * np.linalg.norm(above[:width], axis=1))

        def value_and_gradient(point):
            scale, size, bias = point[0], point[1], point[2:]
            shift = ones * (bias if len(bias) else 0.0)
            value, g = self.with_gradient(scale * old + size * new + shift)
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
