"""A Keras network of `networks.py` as a PyTorch module, for torch-pruning."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class TorchTwin(nn.Module):
    """The same layers with the same weights, called in the same order; takes channels last."""

    def __init__(self, model):
        super().__init__()
        self.parts = nn.ModuleDict()
        self.calls, self.active, self.rank = [], set(), len(model.inputs[0].shape)
        graph = getattr(model, "_functional", model)
        flat = None
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                layer, kind = node.operation, type(node.operation).__name__
                given = [id(t) for t in node.input_tensors]
                self.calls.append((kind, layer.name, given, id(node.outputs[0]), _pads(node)))
                if kind == "Flatten":
                    flat = tuple(node.input_tensors[0].shape[1:])
                elif kind == "Dense":
                    self.parts[layer.name] = _linear(*layer.get_weights(), flat)
                    flat = None
                elif kind in ("Conv1D", "Conv2D"):
                    self.parts[layer.name] = _convolution(layer)
                elif kind == "BatchNormalization":
                    self.parts[layer.name] = _normalization(layer, self.rank)
                if getattr(getattr(layer, "activation", None), "__name__", "") == "relu":
                    self.active.add(layer.name)
        self.start, self.end = id(graph.inputs[0]), id(graph.outputs[0])

    def forward(self, x):
        values = {self.start: torch.movedim(x, -1, 1)}
        for kind, name, given, out, pads in self.calls:
            x = values[given[0]]
            if kind in ("Conv1D", "Conv2D"):
                x = self.parts[name](F.pad(x, pads) if any(pads) else x)
                x = F.relu(x) if name in self.active else x
            elif kind == "Dense":
                x = self.parts[name](x)
                x = F.relu(x) if name in self.active else x
            elif kind == "BatchNormalization":
                x = self.parts[name](x)
            elif kind == "ReLU":
                x = F.relu(x)
            elif kind == "MaxPooling2D":
                x = F.max_pool2d(x, 2)
            elif kind == "Flatten":
                x = torch.flatten(x, 1)
            elif kind.startswith("GlobalAverage"):
                x = x.mean(dim=tuple(range(2, x.dim())))
            elif kind == "Add":
                x = x + values[given[1]]
            else:
                raise NotImplementedError(kind)
            values[out] = x
        return values[self.end]


def _pads(node):
    """What TensorFlow's padding "same" adds, last axis first."""
    layer = node.operation
    if getattr(layer, "padding", None) != "same" or not hasattr(layer, "kernel_size"):
        return ()
    pads = []
    for n, k, s in zip(node.input_tensors[0].shape[1:-1], layer.kernel_size, layer.strides):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads = [total // 2, total - total // 2, *pads]
    return tuple(pads)


def _linear(kernel, bias, flat):
    if flat is not None and len(flat) > 1:  # channels first, then places
        order = np.moveaxis(np.arange(np.prod(flat)).reshape(flat), -1, 0).reshape(-1)
        kernel = kernel[order]
    part = nn.Linear(*kernel.shape)
    part.weight.data, part.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
    return part


def _convolution(layer):
    kernel, *bias = layer.get_weights()
    kind = nn.Conv1d if kernel.ndim == 3 else nn.Conv2d
    part = kind(*kernel.shape[-2:], layer.kernel_size, layer.strides, bias=bool(bias))
    part.weight.data = torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy())
    if bias:
        part.bias.data = torch.tensor(bias[0])
    return part


def _normalization(layer, rank):
    gamma, beta, mean, variance = (torch.tensor(w) for w in layer.get_weights())
    part = (nn.BatchNorm1d if rank == 3 else nn.BatchNorm2d)(len(gamma), eps=layer.epsilon)
    part.weight.data, part.bias.data = gamma, beta
    part.running_mean.data, part.running_var.data = mean, variance
    return part
