"""How far rounding may move the outputs of a pruned model: a bound from the weights.

Pruned and original weights differ as if every stored entry had been rounded a few times (`aligned.tolerance` says how
often). To first order in the unit roundoff, with |x| ≤ a channel by channel and Δx what has come so far,

    |W x + b| ≤ |W| a + |b|        |Δ(W x + b)| ≤ |W| |Δx| + η ‖[W, b]‖ ‖[a, 1]‖      (row by row; taps: the same a)

and activations multiply by their Lipschitz constant on the range that is reached. That is rigorous, and sharp to an
order of magnitude for a few layers, but it grows with every layer. Where it has grown past being of use, the bound is
sampled instead: how far the outputs of the original move when its weights are rounded at random, with a safety factor.
"""

import functools

import numpy as np

from keras_l2feat.pruning import graph as g
from keras_l2feat.pruning.aligned import tolerance
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.pruning.groups import ROUNDINGS, Values

__all__ = ["a_priori", "perturbed", "sampled"]

SAFETY = 4.0
DRAWS = 3
GRID = 4001


def a_priori(graph, sizes):
    """Bound on the deviation of each output channel for inputs of bounded size.

    Args:
        graph: of the original model.
        sizes: the largest |x| for each of the model's inputs, numbers.

    Returns: the largest bound over all outputs, infinite if a layer on the way is not understood.
    """
    dtype = Values.coarsest(graph)
    reach = {}
    for tensor, size in zip(graph.inputs, sizes):
        reach[id(tensor)] = np.full(len(tensor.units), float(size)), np.zeros(len(tensor.units))
    for op in graph.ops:
        if id(op.out) not in reach:
            reach[id(op.out)] = _reach(op, dtype, *[reach[id(tensor)] for tensor in op.inputs])
    return max(float(np.max(reach[id(tensor)][1], initial=0.0)) for tensor in graph.outputs)


def sampled(graph, precise_model, inputs, seed):
    """Largest move of the outputs on `inputs` when every weight is off by ± what storing explains, times `SAFETY`."""
    before = precise_model.get_weights()
    reference = outputs(precise_model, inputs)
    moved = 0.0
    try:
        for draw in range(DRAWS):
            precise_model.set_weights(perturbed(before, tolerance(Values.coarsest(graph), 1, ROUNDINGS), seed + draw))
            moved = max(moved, float(np.abs(outputs(precise_model, inputs) - reference).max(initial=0.0)))
    finally:
        precise_model.set_weights(before)
    return SAFETY * moved


def perturbed(weights, amount, seed):
    """Weights with every entry off by a factor 1 ± amount, signs at random."""
    generator = np.random.default_rng(seed)
    return [
        w * (1 + amount * (2.0 * generator.integers(0, 2, w.shape) - 1)) if np.asarray(w).dtype.kind == "f" else w
        for w in weights
    ]


@functools.singledispatch
def _reach(op, dtype, *inputs):
    """(a, e): how large each channel gets, and by how much it may be off."""
    raise TypeError(op)


@_reach.register
def _(op: g.Source, dtype, *inputs):
    count = len(op.out.units)
    if op.lipschitz is not None and inputs:
        size, error = (float(np.max(v)) for v in inputs[0])
        return np.full(count, max(1.0, size)), np.full(count, op.lipschitz * error)
    return np.full(count, np.inf), np.full(count, np.inf)


@_reach.register
def _(op: g.Linear, dtype, x=None):
    kernel = op.kernel()
    bias = np.zeros(kernel.shape[2]) if op.bias is None else op.bias()
    if op.reader is None:
        x = np.ones(kernel.shape[1]) / kernel.shape[1], np.zeros(kernel.shape[1])
        largest = np.abs(kernel).max(axis=(0, 1))
        return largest, tolerance(dtype, 1, ROUNDINGS) * np.linalg.norm(kernel[0], axis=0)
    eta = tolerance(dtype, kernel.shape[0] * kernel.shape[1], ROUNDINGS)
    absolute = np.abs(kernel).sum(axis=0).T
    norm = np.sqrt(np.einsum("tio,tio->o", kernel, kernel) + bias**2)
    fresh = eta * norm * np.sqrt(kernel.shape[0] * (x[0] @ x[0]) + 1)
    return absolute @ x[0] + np.abs(bias), absolute @ x[1] + fresh


@_reach.register
def _(op: g.Depthwise, dtype, x):
    kernel = op.kernel()
    taps, _, multiplier = kernel.shape
    absolute = np.abs(kernel).sum(axis=0).reshape(-1)
    bias = np.zeros(len(absolute)) if op.bias is None else np.abs(op.bias())
    size, error = (np.repeat(v, multiplier) for v in x)
    out = absolute * size + bias
    return out, absolute * error + tolerance(dtype, taps, ROUNDINGS) * out * np.sqrt(taps)


@_reach.register
def _(op: g.Affine, dtype, x):
    scale, _, terms = op.coefficients()
    out = np.abs(scale) * x[0] + terms
    return out, np.abs(scale) * x[1] + tolerance(dtype, 2, ROUNDINGS) * out


@_reach.register
def _(op: g.Map, dtype, *inputs):
    size, error = (np.max([v[k] for v in inputs], axis=0) for k in (0, 1))
    if op.function is None:
        return op.slope * size, op.slope * error
    top = float(np.max(size))
    if not np.isfinite(top):
        return np.full_like(size, np.inf), np.full_like(size, np.inf)
    grid = np.concatenate([np.linspace(-top, top, GRID), np.linspace(-8, 8, GRID)])  # the second: where they bend
    values = op.function(grid)
    slopes = np.abs(np.diff(values) / np.where(np.diff(grid) == 0, 1.0, np.diff(grid)))
    slopes[GRID - 1] = 0.0
    steepest = float(slopes.max()) * 1.01
    return np.abs(float(op.function(np.zeros(1))[0])) + steepest * size, steepest * error


@_reach.register
def _(op: g.Pass, dtype, x):
    return x


@_reach.register
def _(op: g.Sum, dtype, *inputs):
    return tuple(sum(abs(w) * v[k] for w, v in zip(op.weights, inputs)) for k in (0, 1))


@_reach.register
def _(op: g.Product, dtype, *inputs):
    size, error = inputs[0]
    for other, off in inputs[1:]:
        size, error = size * other, error * other + size * off
    return size, error


@_reach.register
def _(op: g.Concat, dtype, *inputs):
    return tuple(np.concatenate([v[k] for v in inputs]) for k in (0, 1))


@_reach.register
def _(op: g.Spread, dtype, x):
    return x[0][op.channel], x[1][op.channel]
