"""Without data: Gaussian inputs that are drawn, against their moments carried through the network.

784-300-100-10 of `networks.py` at 150-50, what goes taken over on standard normal inputs:

    drawn        `Takeover` on COUNT inputs, as `prune(gaussian=True)` does
    propagated   mean and covariance in closed form: exact through linear maps; through a relu as if
                 its input were Gaussian, E f(x)f(y) = Σ_k a_k b_k ρ^k (Mehler's formula), of the
                 original and the smaller network together

The accuracy on MNIST, and the root mean square of the change of an output on other normal inputs
and on MNIST. LeNet-5 is drawn alone: a maximum over places has no such formula.

    python benchmarks/moments.py [--seeds 3] [--folder benchmarks/trained] [-o results/moments]
"""

import time
from functools import partial

import networks
import numpy as np

from keras_l2feat.network import DenseNetwork
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.takeover.engine import RIDGE, Takeover
from keras_l2feat.pruning.takeover.removal import Problem, fitted, removal_order

WIDTHS = {"mlp": (150, 50), "lenet": (10, 25, 120)}
COUNTS = (1024, 8192)
TERMS, NODES = 40, 200


def relu_moments(mean, cov):
    """Mean and covariance of relu(x) for Gaussian x, (n,) and (n, n)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    deviation = np.sqrt(np.maximum(np.diag(cov), 1e-300))
    values = np.maximum(mean[:, None] + deviation[:, None] * nodes, 0.0)
    correlation = np.clip(cov / np.outer(deviation, deviation), -1.0, 1.0)
    before, now = np.zeros(NODES), np.ones(NODES)
    out, power = np.zeros_like(cov), np.ones_like(cov)
    for k in range(TERMS):
        along = values @ (weights * now)
        if k == 0:
            middle = along
        else:
            power = power * correlation
            out += np.outer(along, along) * power
        before, now = now, (nodes * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return middle, out


def second(mean, cov):
    """E[x, 1][x, 1]ᵀ."""
    full = np.block([[cov, np.zeros((len(mean), 1))], [np.zeros((1, len(mean) + 1))]])
    return full + np.outer(np.append(mean, 1.0), np.append(mean, 1.0))


def propagated(network, widths):
    """The smaller network, by moments."""
    weights = [np.asarray(w, dtype=np.float64) for w in network.weights]
    size = weights[0].shape[0] - 1
    mean, cov = np.zeros(2 * size), np.kron(np.ones((2, 2)), np.eye(size))
    kept, small = np.arange(size), []
    for layer, weight in enumerate(weights):
        half = len(mean) // 2
        moments = second(mean, cov)
        old = np.append(np.arange(half), 2 * half)
        new = np.append(half + kept, 2 * half)
        start = weight[[*kept, half]]
        gram, cross = moments[np.ix_(new, new)], moments[np.ix_(new, old)] @ weight
        change = fitted(gram, cross, start, RIDGE) if layer else start
        whole = np.zeros_like(weight)
        whole[[*kept, half]] = change
        small.append(whole)
        if layer == len(widths):
            break
        both = np.zeros((2 * half + 1, 2 * weight.shape[1]))
        both[old, : weight.shape[1]] = weight
        both[half : 2 * half, weight.shape[1] :] = whole[:half]
        both[-1, weight.shape[1] :] = whole[-1]
        mean, cov = np.append(mean, 1.0) @ both, both[:-1].T @ cov @ both[:-1]
        mean, cov = relu_moments(mean, cov)
        own = slice(0, weight.shape[1])
        columns = np.arange(weight.shape[1])[:, None]
        problem = Problem(second(mean[own], cov[own, own]), weights[layer + 1], columns, RIDGE)
        gone = removal_order([problem])[0][: weight.shape[1] - widths[layer]]
        kept = np.setdiff1d(np.arange(weight.shape[1]), gone)
    return network.with_weights(small).to_model()


def drawn(model, widths, count):
    """The smaller model, by inputs that are drawn."""
    x = np.random.default_rng(0).standard_normal((count, *model.inputs[0].shape[1:]))
    graph = read(model)
    engine = Takeover(graph, [x.astype("float32")])
    orders = [removal_order(engine.problems(site))[0] for site in engine.sites]
    return networks.cut(graph, engine, orders, widths)


def main():
    arguments = networks.parser(__doc__, WIDTHS).parse_args()
    record = networks.Recorder(arguments.output, "moments.csv")
    for name, seed, model, points in networks.each(arguments):
        test = points.inputs(model, "test")
        normal = np.random.default_rng(1).standard_normal((10_000, *test.shape[1:]))
        ways = {f"drawn, {n}": partial(drawn, model, WIDTHS[name], n) for n in COUNTS}
        if name == "mlp":
            network = DenseNetwork.from_model(model)
            ways["propagated"] = partial(propagated, network, WIDTHS[name])
        answers = [networks.outputs(model, x) for x in (normal, test)]
        for way, made in ways.items():
            start = time.perf_counter()
            small = made()
            seconds = time.perf_counter() - start
            after = [networks.outputs(small, x) for x in (normal, test)]
            rms = [float(np.sqrt(((b - a) ** 2).mean())) for a, b in zip(answers, after)]
            record(
                {
                    "network": name,
                    "seed": seed,
                    "way": way,
                    "rms_normal": rms[0],
                    "rms_mnist": rms[1],
                    "accuracy": float((after[1].argmax(1) == points.y_test).mean()),
                    "seconds": round(seconds, 1),
                }
            )


if __name__ == "__main__":
    main()
