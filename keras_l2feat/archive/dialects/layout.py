"""Arrays of weights whose layout or meaning changed between Keras 1 and today.

- Keras 1 keeps the gates of an LSTM (i, c, f, o) and a GRU (z, r, h) in arrays of their own, and
  the kernels of convolutions with `dim_ordering="th"` as (filters, channels, rows, columns).
- Theano convolves, today's backends correlate: kernels are mirrored.
- CuDNN's recurrent layers keep kernels transposed, and two biases.
- Until Keras 2 `hard_sigmoid` is clip(0.2 x + 0.5, 0, 1), today it is clip(x / 6 + 0.5, 0, 1): with
  x multiplied by 1.2 the two are one function, so what leads to x is multiplied.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_l2feat.archive.dialects.arguments import class_of
from keras_l2feat.archive.refusal import refused

__all__ = ["SLOPE", "Relayout", "change"]

SLOPE = 1.2
_GATES = {"LSTM": "ifco", "GRU": "zrh", "ConvLSTM2D": "ifco"}
_CANDIDATE = {"LSTM": "c", "GRU": "h", "ConvLSTM1D": "c", "ConvLSTM2D": "c", "ConvLSTM3D": "c"}
_APART = {"LSTM": "icfo", "GRU": "zrh", "ConvLSTM2D": "icfo"}  # as Keras 1 stores them
_MIRRORED = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")


@dataclass(frozen=True)
class Relayout:
    """What is stored for a layer, and what it becomes.

    Attributes:
        convert: from the stored arrays, in their order, to those of today's layer.
        stored: how many arrays are stored; None for as many as the layer has weights.
        output_shape: of the layer, where the file says it.
    """

    convert: Callable = list
    stored: int | None = None
    output_shape: list | None = None


def change(name: str, old: dict, new: dict, version: int, backend: str | None) -> Relayout | None:
    """How the arrays of a layer become its weights; None for as they are.

    Args:
        name: its class, as the file says.
        old: its arguments, as the file has them.
        new: the same in today's words.
        version: the first number of the version of Keras that wrote the file.
        backend: of Keras, where the file says.
    """
    kind, steps, stored, output_shape = class_of(name), [], None, None
    if kind in {"TimeDistributed", "Bidirectional", "RNN"}:
        return _wrapped(kind, old, version, backend)
    if version == 1 and kind in _APART and old.get("consume_less") != "gpu":
        steps.append(lambda arrays: _together(kind, arrays))
        stored = 3 * len(_APART[kind])
    if version == 1 and "Conv" in kind:
        steps.append(lambda arrays: _modern_kernels(kind, new, arrays))
    if backend == "theano" and kind in _MIRRORED:
        steps.append(lambda arrays: _mirrored(kind, arrays))
    if name.startswith("CuDNN"):
        steps.append(lambda arrays: _from_cudnn(kind, arrays))
    if version < 3:
        steps += _steeper(kind, new)
    if kind in {"Conv2DTranspose", "Conv3DTranspose"}:
        output_shape = old.get("output_shape")
    if not steps and output_shape is None:
        return None

    def convert(arrays):
        for step in steps:
            arrays = step(arrays)
        return arrays

    return Relayout(convert, stored, output_shape)


def _wrapped(kind, old, version, backend):
    from keras_l2feat.archive.dialects.arguments import layer_arguments

    within = old.get("cell") if kind == "RNN" else old.get("layer")
    name, config = within["class_name"].removesuffix("Cell" * (kind == "RNN")), within["config"]
    if name == "StackedRNNCells":
        if version < 3 and "hard_sigmoid" in str(config):
            raise refused("hard_sigmoid in stacked cells of Keras 2 is not read")
        return None
    inner = change(name, config, layer_arguments(name, config, version), version, backend)
    if inner is None or kind != "Bidirectional":
        return inner

    def convert(arrays):
        half = len(arrays) // 2
        return [*inner.convert(arrays[:half]), *inner.convert(arrays[half:])]

    return Relayout(convert, None if inner.stored is None else 2 * inner.stored)


def _together(kind, arrays):
    """One kernel, one recurrent kernel and one bias from those of single gates."""
    if len(arrays) == 3:
        return arrays
    gates = {gate: arrays[3 * place : 3 * place + 3] for place, gate in enumerate(_APART[kind])}
    # kernels of Keras 1 with their filters first are joined there
    axis = 0 if kind == "ConvLSTM2D" and _filters_first(arrays) else -1
    return [
        np.concatenate([gates[gate][part] for gate in _GATES[kind]], axis=axis if part < 2 else -1)
        for part in range(3)
    ]


def _filters_first(arrays) -> bool:
    return arrays[0].shape[0] == arrays[2].shape[0] and arrays[0].shape[-1] != arrays[2].shape[0]


def _modern_kernels(kind, new, arrays):
    """Kernels as (places…, channels, filters)."""
    kernel, *rest = arrays
    first = new.get("data_format") == "channels_first"
    if kind == "Conv1D":
        (length,) = np.ravel(new["kernel_size"])
        if kernel.shape != (length, 1, kernel.shape[2], new["filters"]):
            # (filters, channels, length, 1)
            kernel = np.transpose(kernel, (2, 3, 1, 0))
        return [kernel[:, 0], *rest]
    if kind == "Conv2DTranspose":
        return [np.transpose(kernel, (2, 3, 0, 1) if first else (0, 1, 3, 2)), *rest]
    if not first:
        return arrays
    if kind in {"Conv2D", "Conv3D"}:
        return [_filters_last(kernel), *rest]
    if kind == "ConvLSTM2D":
        return [_filters_last(kernel), _filters_last(rest[0]), *rest[1:]]
    raise refused(f"the weights of a {kind} of Keras 1 with its channels first are not read")


def _filters_last(kernel):
    return np.transpose(kernel, (*range(2, kernel.ndim), 1, 0))


def _mirrored(kind, arrays):
    places = {"Conv1D": 1, "Conv3D": 3}.get(kind, 2)
    count = 2 if kind == "ConvLSTM2D" else 1
    return [np.flip(a, range(places)) if k < count else a for k, a in enumerate(arrays)]


def _from_cudnn(kind, arrays):
    kernel, recurrent, bias = arrays
    gates = len(_GATES[kind])
    kernel = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, axis=1)]
    recurrent = [k.T for k in np.split(recurrent, gates, axis=1)]
    bias = bias.reshape(2, -1)
    return [
        np.concatenate(kernel, axis=1),
        np.concatenate(recurrent, axis=1),
        bias.sum(axis=0) if kind == "LSTM" else bias,
    ]


def _steeper(kind, new):
    """Multiply by `SLOPE` what leads to a hard sigmoid."""
    outer = new.get("activation") == "hard_sigmoid"
    gates = new.get("recurrent_activation") == "hard_sigmoid"
    if (not outer and not gates) or kind == "Activation":
        return []
    if kind not in _CANDIDATE:
        first = 1 if kind.startswith("SeparableConv") else 0  # products pass the last kernel
        return [lambda arrays: [a if k < first else _times(a) for k, a in enumerate(arrays)]]
    names = "ifco" if _CANDIDATE[kind] == "c" else "zrh"
    steep = np.array([outer if gate == _CANDIDATE[kind] else gates for gate in names])
    factors = np.where(steep, SLOPE, 1.0)

    def step(arrays):
        return [_times(a, np.repeat(factors, a.shape[-1] // len(names))) for a in arrays]

    return [step]


def _times(array, factor=SLOPE):
    return (array.astype("float64") * factor).astype(array.dtype)
