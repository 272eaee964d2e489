"""Recurrent layers: a unit is a column in each gate, a state, and a row of the recurrent kernel."""

import math

import numpy as np

from keras_l2feat.activations import Scaling, scaling
from keras_l2feat.pruning.channels.graph import Heads
from keras_l2feat.pruning.channels.operations import Concat, Product, Recurrent, Sum, Tensor
from keras_l2feat.pruning.channels.rules import of_constants, rule
from keras_l2feat.pruning.channels.rules.linear import read_only

# Of what each gate computes: which part changes its sign, or its size, with the state.
GATES = {"SimpleRNN": (1, 0), "GRU": (3, 2), "LSTM": (4, 2)}


@rule(*GATES, any_arguments=True)
def _recurrent(call):
    layer = call.layer
    x = call.turned(-1)
    reason = _closed_for(layer, call)
    if reason:
        _reads(call, layer, x, call.name)
        return call.graph.barrier(call.name, reason, call.inputs[1:], call.shapes)
    return _states(call, layer, x, call.name, call.shape, ("units",))


@rule("Bidirectional", any_arguments=True)
def _bidirectional(call):
    layer, graph = call.layer, call.graph
    sides = {"layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    odd = next((type(s).__name__ for s in sides.values() if type(s).__name__ not in GATES), None)
    if odd:
        return graph.barrier(call.name, f"Bidirectional {odd}", call.inputs, call.shapes)
    x = call.turned(-1)
    names = {key: f"{call.name}/{side.name}" for key, side in sides.items()}
    reason = next((r for s in sides.values() if (r := _closed_for(s, call))), None)
    if reason:
        for key, side in sides.items():
            _reads(call, side, x, names[key])
        return graph.barrier(call.name, reason, call.inputs[1:], call.shapes)
    fresh = names["layer"] not in graph.writers
    parts = []
    for key, side in sides.items():
        shape, path = (*call.shape[:-1], side.units), (key, "config", "units")
        parts.append(_states(call, side, x, names[key], shape, path))
    if fresh:  # Keras infers the output's shape from one side
        graph.heads.append(Heads([np.stack([part.units for part in parts])]))
    if layer.merge_mode is None:
        return parts
    if layer.merge_mode == "concat":
        units = np.concatenate([part.units for part in parts])
        return call.emit(Concat, parts, Tensor(call.shape, len(call.shape) - 1, units))
    graph.tie(parts[0].units, parts[1].units)
    out = Tensor(call.shape, len(call.shape) - 1, parts[0].units)
    if layer.merge_mode == "mul":
        return call.emit(Product, parts, out)
    weight = 0.5 if layer.merge_mode == "ave" else 1.0
    return call.emit(Sum, parts, out, (weight, weight))


def _closed_for(layer, call):
    """Why a layer's states are left alone, `None` where they are not."""
    if layer.stateful:
        return "its states outlive a call"
    if len(call.inputs) > 1:
        return "its first state is given"
    if layer.return_state:
        return "its last state is an output"
    if scaling(layer.cell.activation) is Scaling.COUPLED:
        return "couples channels"
    return None


def _weights(call, layer):
    """Indices of kernel, recurrent kernel and bias, seen gate by gate."""
    cell, graph = layer.cell, call.graph
    gates = GATES[type(layer).__name__][0]
    kernel, again = (call.index(w) for w in (cell.kernel, cell.recurrent_kernel))
    for index in (kernel, again):
        graph.views[call.name, index] = -1, gates, layer.units
    bias = call.index(cell.bias) if cell.use_bias else None
    if bias is not None:
        double = len(cell.bias.shape) == 2
        graph.views[call.name, bias] = (*([2] if double else []), gates, layer.units)
    return kernel, again, bias


def _place(layer, bias):
    """Where a constant goes."""
    return None if bias is None else (bias, (0,) if len(layer.cell.bias.shape) == 2 else (), 1.0)


def _reads(call, layer, x, name):
    """Only the kernel, which reads."""
    kernel, _, bias = _weights(call, layer)
    read_only(call, x, name, kernel, 0, _place(layer, bias))


def _states(call, layer, x, name, shape, path):
    """The states of a layer, or of a side of it, from the first to the last."""
    graph, units = call.graph, layer.units
    kernel, again, bias = _weights(call, layer)
    out = graph.written(name, units, shape, -1)
    graph.stiffen(out.units)
    writes = [graph.slot(call.name, index, 2, out.units, "write") for index in (kernel, again)]
    if bias is not None:
        graph.slot(call.name, bias, -1, out.units, "write")
    call.size(path, out.units)
    place = _place(layer, bias)
    graph.reads(name, call.name, kernel, 0, x, bias=place, writes=writes[0])
    graph.reads(f"{name}/again", call.name, again, 0, out, writes=writes[1])
    activation = layer.cell.activation
    taps, signed = _taps(layer)
    return call.emit(
        Recurrent,
        [x],
        out,
        lambda: _kernel(call, layer, (kernel, again, bias), taps),
        signed,
        scaling(activation),
        name,
        f"{name}/again",
        of_constants(activation)(np.zeros(1))[0] == 0,
        weights=math.prod(layer.cell.kernel.shape) + math.prod(layer.cell.recurrent_kernel.shape),
    )


def _taps(layer):
    """What is told apart: (gate, with the input, with the state) of each tap; and which of them
    are for the state itself. A GRU's reset gate stands between the two parts of one."""
    gates, state = GATES[type(layer).__name__]
    taps = [(gate, True, True) for gate in range(gates)]
    if type(layer).__name__ == "GRU":
        taps[state:] = [(state, True, False), (state, False, True)]
    return taps, np.array([gate == state for gate, *_ in taps])


def _kernel(call, layer, indices, taps):
    """(taps, inputs + units + 1, units) float64: input, state and bias below each other."""
    gates, units = GATES[type(layer).__name__][0], layer.units
    kernel, again = (call.array(index).reshape(-1, gates, units) for index in indices[:2])
    double = np.zeros((2, gates, units))
    if indices[2] is not None:
        bias = call.array(indices[2])
        double[: bias.size // (gates * units)] = bias.reshape(-1, gates, units)

    def tap(gate, inward, back):
        bias = double[:1, gate] * inward + double[1:, gate] * back
        return np.concatenate([kernel[:, gate] * inward, again[:, gate] * back, bias])

    return np.stack([tap(*each) for each in taps])
