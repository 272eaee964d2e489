"""What a reader sees of its input, as rows of numbers, and its kernel as a matrix on their columns.

A dense layer sees the channels of each place; a convolution sees a patch, so that each of its
channels is a block of columns, one a tap. A column of ones stands for the bias. Where there is none
but batch normalization follows, its mean takes the constant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph, Reader
from keras_l2feat.pruning.channels.operations import (
    Affine,
    Attend,
    Depthwise,
    Linear,
    Product,
    Recurrent,
    Spread,
)
from keras_l2feat.pruning.channels.sites import Site

__all__ = ["Reading", "readings", "sites"]

GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, are spread more evenly than random numbers


@dataclass(eq=False)
class Reading:
    """One reader of the graph.

    Attributes:
        reader: the graph's `Reader`; patch: `(size, strides, dilation, padding)` where it sees
            patches, else `None`.
        units: (columns,) unit of each column; the column of ones is not among them.
        constant: where the constant goes: `(layer, index, inside, factor)`, the bias or the mean
            of a normalization is `factor` times it; `None` if it has no place.
        filter: what its layer does to the input before, a function of arrays, or `None`.
    """

    reader: Reader
    patch: tuple | None
    units: np.ndarray
    constant: tuple | None
    filter: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def layer(self) -> str:
        return self.reader.layer

    def rows(self, value: np.ndarray, axis: int, share: float = 1.0, first: int = 0) -> np.ndarray:
        """What is seen at a share of all places.

        Args:
            value: the input of the layer, batch first; axis: of its channels.
            share: of the places, see `spread`; first: how many came before.

        Returns: (rows, columns and one for the constant), of the input's dtype, float32 at least.
        """
        value = np.asarray(value if self.filter is None else self.filter(value))
        value = np.moveaxis(value, axis, -1)
        if self.patch is None:
            flat = value.reshape(-1, value.shape[-1])
            seen = flat[spread(len(flat), share, first)]
        else:
            windows = _windows(value, *self.patch)
            places = windows.shape[: value.ndim - 1]
            chosen = spread(int(np.prod(places)), share, first)
            seen = windows[np.unravel_index(chosen, places)].reshape(len(chosen), -1)
        shape = len(seen), seen.shape[1] + (self.constant is not None)
        full = np.ones(shape, dtype=np.result_type(seen.dtype, np.float32))
        full[:, : seen.shape[1]] = seen
        return full

    def kernel(self, weights: Mapping) -> np.ndarray:
        """The matrix (columns and one for the constant, outputs) float64; `weights`: layer → its
        weights."""
        own = np.asarray(weights[self.layer][self.reader.slot.index], dtype=np.float64)
        matrix = np.moveaxis(own, self.reader.slot.axis, self._inward(own.ndim))
        matrix = matrix.reshape(len(self.units), -1)
        if self.constant is None:
            return matrix
        layer, index, inside, factor = self.constant
        if layer != self.layer:  # a normalization's mean: what is there is not ours
            return np.vstack([matrix, np.zeros(matrix.shape[1])])
        row = np.asarray(weights[layer][index], dtype=np.float64)[inside]
        return np.vstack([matrix, row.reshape(1, -1) / factor])

    def store(self, weights: dict, matrix: np.ndarray) -> None:
        """Put a matrix like that of `kernel` into `weights`, layer → its weights, in place."""
        own = weights[self.layer]
        old = np.asarray(own[self.reader.slot.index])
        axis, inward = self.reader.slot.axis, self._inward(old.ndim)
        shape = np.moveaxis(old, axis, inward).shape
        own[self.reader.slot.index] = np.moveaxis(
            matrix[: len(self.units)].reshape(shape), inward, axis
        )
        if self.constant is not None:
            layer, index, inside, factor = self.constant
            target = np.array(weights[layer][index], dtype=np.float64)
            row = factor * matrix[-1].reshape(target[inside].shape)
            target[inside] = row if layer == self.layer else target[inside] + row
            weights[layer][index] = target

    def _inward(self, rank):
        return 0 if self.patch is None else rank - 2


def sites(graph: Graph, found: Mapping[str, Reading]) -> list[Site]:
    """All units that may go, by the layer that computes them first, in that order.

    Args:
        found: reader name → `Reading`, see `readings`; units read by anything else stay.
    """
    result = []
    for layer, channels in graph.computed_first(graph.pinned):
        free = graph.writers[layer][channels]
        names = [(layer, index) for index in channels.tolist()]
        readers = [name for name, r in graph.readers.items() if np.isin(r.units, free).any()]
        if len(free) > 1 and readers and all(name in found for name in readers):
            result.append(Site(free, names, [found[name] for name in readers]))
    return result


def readings(graph: Graph) -> dict:
    """Reader name → `Reading`, of the readers whose input is what their layer is called on, or that
    filtered channel by channel."""
    found = {}
    read = [(op, name) for op in graph.ops for name in _read_by(op)]
    for op, name in read:
        if name not in graph.readers or name in found:
            continue
        reader = graph.readers[name]
        source = graph.ops[op.inputs[0].number]
        if isinstance(source, Spread) and source.tag[0] == "group":  # it sees a part of the input
            continue
        if isinstance(source, (Attend, Product)) and source.layer == op.layer:  # inside the layer
            continue
        inside = isinstance(source, Depthwise) and source.layer == op.layer
        kernel = graph.layers[reader.layer].weights[reader.slot.index]
        geometry = getattr(op, "geometry", None)
        patch = None
        if geometry is not None and geometry[0] != "transpose":
            patch = geometry[:4]
        taps = 1 if patch is None else int(np.prod(kernel.shape)) // int(np.prod(kernel.shape[-2:]))
        units = np.tile(reader.units, taps)
        before = _filter(graph.layers[reader.layer]) if inside else None
        found[name] = Reading(reader, patch, units, _constant(graph, op, reader), before)
    return found


def _filter(layer):
    """What a separable convolution does first."""
    from keras import ops

    def filtered(value):
        kernel = ops.cast(layer.depthwise_kernel, value.dtype)
        options = layer.strides, layer.padding, layer.data_format, layer.dilation_rate
        return ops.convert_to_numpy(ops.depthwise_conv(value, kernel, *options))

    return filtered


def _read_by(op):
    """The names of the readers of what an operation's layer is called on."""
    if isinstance(op, Attend):
        return op.reads
    return [op.reader] if isinstance(op, (Linear, Recurrent)) else []


def _constant(graph, op, reader):
    """Where a reader's constant goes: its bias, or the mean of the normalization that follows."""
    if reader.bias is not None:
        index, inside, beta = reader.bias
        return (reader.layer, index, inside or (...,), 1.0 / beta) if beta else None
    if reader.writes is None:
        return None
    return _bias_at_a_border(graph, reader) or _mean_behind(graph, op, reader)


def _bias_at_a_border(graph, reader):
    """The bias of a padded convolution is a constant too, though none is folded into it."""
    weights = graph.layers[reader.layer].weights
    written = (s for s in graph.slots.values() if (s.layer, s.role) == (reader.layer, "write"))
    biases = [s.index for s in written if len(weights[s.index].shape) == 1]
    return (reader.layer, biases[0], (...,), 1.0) if biases else None


def _mean_behind(graph, op, reader):
    """The mean of the one normalization that is called once, behind what is read once."""
    after = [other for other in graph.ops if any(t is op.out for t in other.inputs)]
    normalized = [o for o in graph.ops if isinstance(o, Affine) and o.statistics]
    if len(after) != 1 or after[0] not in normalized or len(reader.inputs) != 1:
        return None
    layer, mean, *_ = after[0].statistics
    once = sum(o.statistics[0] == layer for o in normalized) == 1
    return (layer, mean, (...,), -1.0) if once else None


def spread(count, share, first=0):
    """A share of the places `first` … `first + count - 1`, evenly and always the same: indices from
    0."""
    if share >= 1:
        return np.arange(count)
    return np.flatnonzero((np.arange(first, first + count) * GOLDEN) % 1.0 < share)


def _windows(value, size, strides, dilation, padding):
    """Views on the patches of (batch, *places, channels): (batch, *places, *size, channels)."""
    rank = len(size)
    if padding != "valid":
        widths = [(0, 0)]
        for n, k, s, d in zip(value.shape[1:-1], size, strides, dilation):
            reach = (k - 1) * d
            total = reach if padding == "causal" else max((-(-n // s) - 1) * s + reach + 1 - n, 0)
            before = total if padding == "causal" else total // 2
            widths.append((before, total - before))
        value = np.pad(value, [*widths, (0, 0)])
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation))
    windows = np.lib.stride_tricks.sliding_window_view(value, reach, axis=tuple(range(1, rank + 1)))
    places = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilation)
    windows = windows[(slice(None), *places, slice(None), *taps)]
    return np.moveaxis(windows, rank + 1, -1)  # the channels behind the taps
