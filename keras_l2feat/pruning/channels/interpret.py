"""One walk over a channel graph for every question that is asked of it.

What a tensor's channels are worth (their values up to a factor, the interval that they stay in, how
far rounding may move them) is a `Semantics`: one method for each kind of operation, from the values
of its inputs to the value of its output. `interpret` applies it to a whole graph, each operation
once, inputs first.
"""

import abc
from typing import Generic, TypeVar

from keras_l2feat.pruning.channels import operations as ops
from keras_l2feat.pruning.channels.graph import Graph

__all__ = ["Semantics", "interpret", "visit"]


V = TypeVar("V")  # what a semantics says of a tensor


class Semantics(abc.ABC, Generic[V]):
    """What each operation does to some kind of value; a new operation has to be given a meaning in
    all of them.

    Every method takes the operation and the values of its inputs, and returns that of its output.
    """

    @abc.abstractmethod
    def source(self, op: ops.Source, *inputs: V) -> V: ...

    @abc.abstractmethod
    def linear(self, op: ops.Linear, x: V) -> V: ...

    @abc.abstractmethod
    def depthwise(self, op: ops.Depthwise, x: V) -> V: ...

    @abc.abstractmethod
    def affine(self, op: ops.Affine, x: V) -> V: ...

    @abc.abstractmethod
    def map(self, op: ops.Map, *inputs: V) -> V: ...

    @abc.abstractmethod
    def passed(self, op: ops.Pass, x: V) -> V: ...

    @abc.abstractmethod
    def normalize(self, op: ops.Normalize, x: V) -> V: ...

    @abc.abstractmethod
    def attend(self, op: ops.Attend, query: V, key: V, value: V, *masks: V) -> V: ...

    @abc.abstractmethod
    def recurrent(self, op: ops.Recurrent, x: V) -> V: ...

    @abc.abstractmethod
    def sum(self, op: ops.Sum, *inputs: V) -> V: ...

    @abc.abstractmethod
    def product(self, op: ops.Product, *inputs: V) -> V: ...

    @abc.abstractmethod
    def concat(self, op: ops.Concat, *inputs: V) -> V: ...

    @abc.abstractmethod
    def spread(self, op: ops.Spread, x: V) -> V: ...


# Called like their operations; `pass` is no name.
METHODS = {kind: kind.__name__.lower() for kind in ops.Op.__subclasses__()} | {ops.Pass: "passed"}


def visit(semantics: Semantics[V], op: ops.Op, *values: V) -> V:
    """What a semantics says of one operation."""
    return getattr(semantics, METHODS[type(op)])(op, *values)


def interpret(
    graph: Graph,
    semantics: Semantics[V],
    known: dict[int, V] | None = None,
    *,
    forget: bool = False,
) -> dict[int, V]:
    """The value of every tensor of a graph.

    Args:
        graph: a finished `Graph`.
        semantics: a `Semantics`.
        known: tensor number → value, where it is given (the model's inputs); filled in place, so a
            semantics that holds it too sees all that came before.
        forget: drop a value once its last reader has seen it: large ones need not all be held.

    Returns: tensor number → value.
    """
    values = {} if known is None else known
    last = {tensor.number: op for op in graph.ops for tensor in op.inputs}
    for op in graph.ops:
        if op.out.number not in values:
            inputs = [values[tensor.number] for tensor in op.inputs]
            values[op.out.number] = visit(semantics, op, *inputs)
        if forget:
            for number in {t.number for t in op.inputs if last[t.number] is op}:
                del values[number]
    return values
