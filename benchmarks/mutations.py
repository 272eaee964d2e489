"""Networks with their pruned forms, and ways to break them: what the checker of certificates has to
notice.

`pair` makes a graph of one of five kinds with planted units (copies, mirrored and constant ones)
and prunes it; `mutants` changes one thing: an entry of a weight, two units, a factor's sign, a
constant, a balance; in a `wrong_merge` two units were merged as if an activation, a pooling or a
border commuted with what it does not commute with.
"""

import copy
from dataclasses import dataclass

import keras
import numpy as np
from gauge import widened
from keras import layers

from keras_l2feat.checking import Maps, check
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.channels.symbolic import functional
from keras_l2feat.pruning.evaluate import outputs, precise, random_inputs
from keras_l2feat.pruning.plan import BIAS
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.trace import trace

__all__ = ["KINDS", "MUTATIONS", "Pair", "changes_function", "mutants", "pair", "wrong_merge"]

ROUNDOFF = 2.0**-24
MOVED = 64  # roundoffs of its row's norm that an entry is moved by


@dataclass
class Pair:
    """Channel graphs of a network and of its pruned form, the maps between them, and the plan that
    was carried out."""

    graph: object
    pruned: object
    maps: Maps
    plan: object = None

    def accepted(self) -> bool:
        """Whether the checker says that they are one function."""
        return check(self.graph, self.pruned, self.maps).accepted


# ---- graphs


def dense(width):
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(width, "relu"),
            layers.Dense(width, "tanh"),
            layers.Dense(width),
            layers.Dense(width, "relu"),
            layers.Dense(3),
        ]
    )


def convolutional(width):
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(width, 3, activation="leaky_relu"),
            layers.Flatten(),
            layers.Dense(width, "tanh"),
            layers.Dense(3),
        ]
    )


def normalized(width):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(width, 1)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def residual(width):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        y = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        y = layers.Conv2D(width, 3, padding="same")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def concatenated(width):
    x = inputs = keras.Input((6,))
    x = layers.Dense(width, "relu")(x)
    y = layers.Dense(width, "relu")(x)
    z = layers.Dense(width, "tanh")(layers.Concatenate()([x, y]))
    x = layers.Concatenate()([x, y, z])
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(width, "relu")(x)))


KINDS = {
    "dense": dense,
    "convolution": convolutional,
    "batch normalization": normalized,
    "residual": residual,
    "concatenated": concatenated,
}


def filled(model, generator):
    """Generic weights of a size that keeps signals."""
    for weight in model.weights:
        if "variance" in weight.path:
            value = generator.uniform(0.5, 2.0, weight.shape)
        else:
            size = np.sqrt(max(1, np.prod(weight.shape[:-1])))
            value = generator.standard_normal(weight.shape) / size
        weight.assign(value)
    return model


def planted(model, generator):
    """An equivalent wider model, in other coordinates, in which some units are constant or mirrored
    besides."""
    wide = widened(model, lambda _: generator.integers(1, 4), seed=generator)
    for layer in wide.layers[:-1]:
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            kernel[:, 0], bias[0] = 0.0, generator.uniform(0.2, 1.0)
            if layer.activation is keras.activations.tanh:
                kernel[:, 2], bias[2] = -kernel[:, 1], -bias[1]
            layer.set_weights([kernel, bias])
    return wide


def pair(kind, seed) -> Pair:
    """A correct one, with something removed."""
    generator = np.random.default_rng(seed)
    model = filled(KINDS[kind](int(generator.integers(4, 8))), generator)
    wide = planted(model, generator)
    pruned, certificate = prune(wide)
    return Pair(read(wide), read(pruned), certificate.maps, certificate.plans[0])


# ---- what is changed


def an_entry(found, random):
    """One entry of a weight of the pruned model, by `MOVED` roundoffs of the norm of its row: what
    one unit is computed from, its bias included."""
    places = [
        (layer, weight)
        for layer in found.pruned.layers.values()
        if functional(layer) is None
        for weight in layer.weights
    ]
    layer, weight = places[random.integers(len(places))]
    old = weight.numpy()
    new = old.reshape(-1, old.shape[-1]).copy()
    row, column = (random.integers(size) for size in new.shape)
    rows = [new[:, column]]
    if hasattr(layer, "kernel") and not isinstance(layer, layers.DepthwiseConv2D):
        rows = [w.numpy().reshape(-1, old.shape[-1])[:, column] for w in layer.weights]
    new[row, column] += (
        MOVED * ROUNDOFF * np.linalg.norm(np.concatenate(rows)) * random.choice([-1, 1])
    )
    weight.assign(new.reshape(old.shape))
    return found


def swapped_units(found, random):
    """Two units of one layer, in what computes them alone."""
    graph = found.pruned
    slots = [s for s in graph.slots.values() if s.role == "write" and len(s.units) > 1]
    chosen = slots[random.integers(len(slots))]
    order = np.arange(len(chosen.units))
    i, j = random.choice(len(order), 2, replace=False)
    order[[i, j]] = j, i
    for slot in slots:
        if slot.layer == chosen.layer and np.array_equal(slot.units, chosen.units):
            weight = graph.layers[slot.layer].weights[slot.index]
            weight.assign(np.take(weight.numpy(), order, axis=slot.axis))
    return found


def a_forgotten_balance(found, random):
    """A unit's outgoing weights, as if only the incoming ones had been rescaled."""
    graph, scaled = found.pruned, sorted(found.maps.scale)
    if not scaled:
        return None
    layer, index = scaled[random.integers(len(scaled))]
    gone = np.asarray(found.maps.removed.get(layer, []), dtype=int)
    unit = graph.unit(layer, index - int((gone < index).sum()))
    for slot in graph.slots.values():
        if slot.role == "read" and (slot.units == unit).any():
            weight = graph.layers[slot.layer].weights[slot.index]
            factor = np.where(slot.units == unit, found.maps.scale[layer, index], 1.0)
            along = [-1 if axis == slot.axis else 1 for axis in range(len(weight.shape))]
            weight.assign(weight.numpy() * factor.reshape(along))
    return found


def a_sign(found, random):
    """The sign of a factor by which a reader was told to replace a unit."""
    return _replanned(found, random, lambda s, t, f: BIAS not in (s, t) and s != t, -1.0)


def a_dropped_constant(found, random):
    """A constant that belongs into a bias."""
    return _replanned(found, random, lambda s, t, f: t == BIAS and abs(f) > 1e-3, 0.0)


def _replanned(found, random, chosen, by):
    places = [
        (name, nth)
        for name, moves in found.plan.transfers.items()
        for nth, move in enumerate(moves)
        if chosen(*move)
    ]
    if not places:
        return None
    name, nth = places[random.integers(len(places))]
    plan = copy.deepcopy(found.plan)
    source, target, factor = plan.transfers[name][nth]
    plan.transfers[name][nth] = source, target, by * factor
    pruned = read(rewrite(found.graph, plan))
    return Pair(found.graph, pruned, trace([(found.graph, found.plan)], pruned), plan)


IN_PLACE = {
    "an entry": an_entry,
    "swapped units": swapped_units,
    "a forgotten balance": a_forgotten_balance,
}
ANEW = {"a sign": a_sign, "a dropped constant": a_dropped_constant}
MUTATIONS = {**IN_PLACE, **ANEW}


def mutants(found, name, count, random):
    """Pairs with one change; what was changed in place is put back when the next one is asked
    for."""
    for _ in range(count):
        before = found.pruned.model.get_weights()
        changed = MUTATIONS[name](found, random)
        if changed is not None:
            yield changed
        found.pruned.model.set_weights(before)


def wrong_merge(kind, random) -> Pair:
    """Two units, one a multiple of the other, that were merged although what lies between does not
    allow it: `kind` is one of "border", "maximum", "odd"."""
    activation = {"border": "relu", "maximum": None, "odd": "tanh"}[kind]
    factor = {"border": 1.0, "maximum": -1.0, "odd": 2.0}[kind] * random.uniform(0.5, 2.0)
    factor += 0.1 * (kind == "odd")  # not 1

    def build(filters):
        x = inputs = keras.Input((8, 1))
        x = layers.Conv1D(filters, 1, activation=activation, name="units")(x)
        x = layers.MaxPooling1D(2)(x) if kind == "maximum" else x
        padding = "same" if kind == "border" else "valid"
        x = layers.Conv1D(2, 3, padding=padding, name="end")(x)
        return keras.Model(inputs, x, name="model")

    wide, small = filled(build(3), random), build(2)
    kernel, bias = wide.get_layer("units").get_weights()
    if kind == "border":
        kernel[..., 1], bias[1] = 0.0, abs(factor)
    else:
        kernel[..., 1], bias[1] = factor * kernel[..., 0], factor * bias[0]
    wide.get_layer("units").set_weights([kernel, bias])
    small.get_layer("units").set_weights([kernel[..., [0, 2]], bias[[0, 2]]])
    kernel, bias = wide.get_layer("end").get_weights()
    if kind == "border":
        bias = bias + abs(factor) * kernel[:, 1].sum(axis=0)
    else:
        kernel[:, 0] += factor * kernel[:, 1]
    small.get_layer("end").set_weights([kernel[:, [0, 2]], bias])
    sources = {} if kind == "border" else {("units", 1): [{("units", 0): factor}]}
    return Pair(read(wide), read(small), Maps({"units": [1]}, sources))


def changes_function(found, *, before=None) -> bool:
    """Whether a pair's outputs differ in float64 by more than its own roundings, relative to the
    unchanged one's, where that is given."""
    inputs = random_inputs(found.graph, 16, 0)
    other = before if before is not None else outputs(precise(found.graph.model), inputs)
    new = outputs(precise(found.pruned.model), inputs)
    return bool(np.abs(new - other).max() > 1e-12 * np.abs(other).max())
