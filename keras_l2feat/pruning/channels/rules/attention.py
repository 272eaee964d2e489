"""Attention: queries and keys that only their products are seen of, values that are mixed over
positions, head by head."""

import math

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Heads
from keras_l2feat.pruning.channels.operations import Attend, Product, Tensor
from keras_l2feat.pruning.channels.rules import elementwise, key, linear_of, of_constants, rule
from keras_l2feat.pruning.channels.rules.linear import read_only

ROLES = ("query", "value", "key")


@rule(
    "MultiHeadAttention",
    "CachedMultiHeadAttention",
    "WhisperCachedMultiHeadAttention",
    any_arguments=True,
)
def _attention(call):
    """Of KerasHub's layers with a cache, the call without one: it is Keras' own then."""
    layer = call.layer
    heads = layer._num_heads, layer._num_heads
    return _attend(call, heads, layer._key_dim, layer._value_dim, layer._use_gate)


@rule("CausalMask", any_arguments=True)
def _mask(call):
    return call.graph.barrier(call.name, None, call.inputs, call.shapes)


@rule("GroupedQueryAttention", any_arguments=True)
def _grouped(call):
    layer = call.layer
    heads = layer.num_query_heads, layer.num_key_value_heads
    return _attend(call, heads, layer.head_dim, layer.head_dim, layer.use_gate)


def _attend(call, heads, key_dim, value_dim, gated):
    given, masks = _roles(call)
    if given is None:
        return call.graph.barrier(
            call.name, "attention called in an unusual way", call.inputs, call.shapes
        )
    reason = _special(call.layer)
    if reason:
        return call.graph.barrier(call.name, reason, call.inputs, call.shapes)
    x = {role: call.graph.turned(call.name, given[role], -1) for role in ROLES}
    wide = any(len(mask.shape) > len(x["query"].shape) for mask in masks)
    if len(call.shapes) > 1 or wide or len(call.layer._output_dense._kernel.shape) != 3:
        return _closed(call, x, masks)
    for mask in masks:
        call.graph.pin(mask.units)
    parts = _Parts(call, heads, key_dim, value_dim)
    value = parts.values(x["value"])
    mixed = parts.mixed(x["query"], x["key"], value, masks)
    if gated:
        mixed = parts.gated(x["query"], mixed)
    return parts.output(mixed, x["query"])


def _roles(call):
    """Role → tensor, and all other tensors; `None` where the roles are not clear."""
    named = [*zip(ROLES, call.arguments.args), *call.arguments.kwargs.items()]
    order = {id(s): tensor for s, tensor in zip(call.arguments.keras_tensors, call.inputs)}
    given = {key: order[id(value)] for key, value in named if id(value) in order}
    if not {"query", "value"} <= set(given) or set(given) & {"cache", "cache_update_index"}:
        return None, []
    given.setdefault("key", given["value"])
    return given, [tensor for role, tensor in given.items() if role not in ROLES]


def _special(layer):
    """Why the layer's weights cannot be read, `None` where they can."""
    for part in ("query", "key", "value", "gate", "output"):
        dense = getattr(layer, f"_{part}_dense", None)
        if getattr(dense, "quantization_mode", None):
            return f"its weights are quantized ({dense.quantization_mode})"
        if getattr(dense, "lora_enabled", False):
            return "LoRA is on"
    return None


def _closed(call, x, masks):
    """Attention whose inside is left alone: it only reads."""
    if len(call.shapes) == 1:
        call.graph.fixed[call.name] = {"output_shape": call.shape[-1]}
    for role in ROLES:
        dense = getattr(call.layer, f"_{role}_dense")
        bias = call.index(dense.bias) if dense.bias is not None else None
        kernel = call.index(dense._kernel)
        read_only(call, x[role], f"{call.name}/{role}", kernel, 0, (bias, (), 1.0))
    return call.graph.barrier(call.name, None, masks, call.shapes)


def _scale(dims):
    """1 / √dims, as the layer has it: TensorFlow rounds a number to float32 before it is cast to
    the dtype of a tensor."""
    import keras

    factor = 1.0 / math.sqrt(dims)
    return float(np.float32(factor)) if keras.backend.backend() == "tensorflow" else factor


class _Parts:
    """The kernels of an attention layer, each with its heads and their dimensions on one axis."""

    def __init__(self, call, heads, key_dim, value_dim):
        self.call, self.name, self.graph = call, call.name, call.graph
        self.queries, self.keys = heads
        self.shared = np.repeat(np.arange(self.keys), self.queries // self.keys)
        fresh = f"{self.name}/key" not in self.graph.writers
        units = self._written("key", (None, self.keys * key_dim)).units
        self.dimensions = units.reshape(self.keys, key_dim)
        units = self._written("value", (None, self.keys * value_dim)).units
        self.value = units.reshape(self.keys, value_dim)
        self.alike = hasattr(call.layer, "head_dim")
        self._sizes()
        if fresh:
            scaled = dict.fromkeys(self.names("query"), (1, _scale))
            self.graph.heads.append(Heads([self.value, self.dimensions], self.alike, scaled))
        self.graph.stiffen(self.dimensions.ravel())

    def _sizes(self):
        call = self.call
        if self.alike:
            call.size(("num_key_value_heads",), self.value, 0)
            call.size(("num_query_heads",), self.value[self.shared], 0)
            call.size(("head_dim",), self.value, 1)
        else:
            call.size(("num_heads",), self.value, 0)
            call.size(("value_dim",), self.value, 1)
            call.size(("key_dim",), self.dimensions, 1)

    def _written(self, part, shape):
        return self.graph.written(f"{self.name}/{part}", shape[-1], shape, -1)

    def _kernel(self, part, units):
        """The index of a projection's kernel and of its bias, both seen flat; `units` (heads,
        dimensions) of what it computes.

        Returns: the indices, and the slot that says what the kernel writes.
        """
        dense = getattr(self.call.layer, f"_{part}_dense")
        index, bias = self.call.index(dense._kernel), self.call.index(dense.bias)
        flat = units.ravel()
        self.graph.views[self.name, index] = -1, len(flat)
        writes = self.graph.slot(self.name, index, 1, flat, "write")
        if bias is not None:
            self.graph.views[self.name, bias] = (len(flat),)
            self.graph.slot(self.name, bias, 0, flat, "write")
        return index, bias, writes

    def _linear(self, x, part, units):
        index, bias, writes = self._kernel(part, units)
        out = Tensor((*x.shape[:-1], units.size), len(x.shape) - 1, units.ravel())
        return self._computed(x, part, index, bias, writes, out)

    def _computed(self, x, part, index, bias, writes, out):
        """What a kernel, (inputs, outputs) as it is seen, makes of a tensor."""
        reader, place = f"{self.name}/{part}", None if bias is None else (bias, (), 1.0)
        self.graph.reads(reader, self.name, index, 0, x, bias=place, writes=writes)
        view = lambda array: array.reshape(1, -1, len(out.units))  # noqa: E731
        added = None if bias is None else lambda: self.call.array(bias).ravel()
        return linear_of(self.call, x, out, index, view, added, reader=reader)

    def values(self, x):
        """Values, (..., heads · dimensions)."""
        return self._linear(x, "value", self.value)

    def mixed(self, query, keyed, value, masks):
        """The values mixed over positions by what queries and keys say of them."""
        wide = self.dimensions[self.shared]
        through = {"query": self.value[self.shared], "key": self.value}
        units = {"query": wide, "key": self.dimensions}
        rows, scores, counts = {}, {}, 0
        for role, x in (("query", query), ("key", keyed)):
            index, bias, writes = self._kernel(role, units[role])
            place = None if bias is None else (bias, (), 1.0)
            reader = f"{self.name}/{role}"
            self.graph.reads(reader, self.name, index, 0, x, bias=place, writes=writes)
            scores[role] = self._scores(role, index, bias, units[role], through[role])
            rows[role] = self._rows(index, bias, units[role].shape)
            counts += math.prod(self.call.layer.weights[index].shape)
        channel = np.arange(self.value.size).reshape(self.value.shape)[self.shared]
        head = np.repeat(np.arange(self.queries), self.value.shape[1])
        out = Tensor((*query.shape[:-1], channel.size), -1 % len(query.shape), None)
        out.units = value.units[channel.ravel()]
        return self.call.emit(
            Attend,
            [query, keyed, value, *masks],
            out,
            rows["query"],
            rows["key"],
            channel.ravel(),
            head,
            (f"{self.name}/query", f"{self.name}/key"),
            self.dimensions,
            scores["query"],
            scores["key"],
            _scale(wide.shape[1]),
            not masks and not self._masked(),
            counts,
        )

    def _masked(self):
        tensors = self.call.arguments.keras_tensors
        return any(getattr(t, "_keras_mask", None) is not None for t in tensors)

    def _rows(self, index, bias, shape):
        def rows():
            kernel = self.call.array(index).reshape(-1, *shape)
            row = np.zeros(shape) if bias is None else self.call.array(bias).reshape(shape)
            return np.concatenate([kernel, row[None]])

        return rows

    def names(self, role):
        """The readers of what is multiplied with a role's kernel and with its bias."""
        return f"{self.name}/score/{role}", f"{self.name}/score/{role}/bias"

    def _scores(self, role, index, bias, units, through):
        """The readers of what is multiplied with these weights, dimension by dimension."""
        seen = Tensor((None, units.size), 1, units.ravel())
        through = np.repeat(through, units.shape[1], axis=0)
        names = self.names(role)
        self.graph.reads(names[0], self.name, index, 1, seen, through=through)
        if bias is None:
            return names[:1]
        self.graph.reads(names[1], self.name, bias, 0, seen, through=through)
        return names

    def gated(self, x, mixed):
        """The mixed values times gates, which are tied to them."""
        gates = self._linear(x, "gate", self.value[self.shared])
        function = self.call.layer._gate_dense.activation
        tag = ("activation", key(function))
        opened = elementwise(self.call, gates, Scaling.IDENTITY, tag, of_constants(function))
        out = Tensor(mixed.shape, mixed.axis, mixed.units)
        return self.call.emit(Product, [mixed, opened], out)

    def output(self, x, query):
        """What the heads are added up to."""
        dense = self.call.layer._output_dense
        index, bias = self.call.index(dense._kernel), self.call.index(dense.bias)
        count = dense._kernel.shape[-1]
        self.graph.views[self.name, index] = -1, count
        out = self.graph.written(self.name, count, self.call.shape, -1)
        writes = self.graph.slot(self.name, index, 1, out.units, "write")
        if bias is not None:
            self.graph.slot(self.name, bias, 0, out.units, "write")
        if self.alike:  # as many as the query has
            self.graph.tie(query.units, out.units)
        else:
            self.call.size(("output_shape",), out.units)
        return self._computed(x, "output", index, bias, writes, out)
