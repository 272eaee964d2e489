"""Make units of a network equal while it trains."""

import hashlib

import keras
import numpy as np

from keras_l2feat.errors import InputError, require, require_counts
from keras_l2feat.pruning.balance import balance_units
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.targets import share
from keras_l2feat.training.computed import on_data
from keras_l2feat.training.copies import make_copies
from keras_l2feat.training.rays import counted, within_angle, within_budget
from keras_l2feat.training.units import sites

__all__ = ["AlignNeurons"]

EVERY = 50  # epochs between two snaps within an angle
STEPS = 10  # snaps while the budget rises
POINTS = 1000  # that values are looked at on
HOLD = 100  # batches, after which what rounding drove apart is made equal


class AlignNeurons(keras.callbacks.Callback):
    """Make units of a network equal while it trains, so that a wide network ends equivalent to a
    small one.

    Every few epochs units that are almost one feature are moved onto a common ray, as equal copies
    with equal weights on both sides and an equal share of what the optimizer keeps. They stay equal
    as training goes on, under Adam, momentum, decay, gradient clipping and mixed precision alike
    (sums over a batch may round differently by channel, in batch normalization and in what XLA
    compiles, so groups are held: every 100 batches their copies are averaged). So at the end
    `keras_l2feat.prune` finds them exactly redundant: one unit a ray is left.

    It works on whatever the pruner reads: dense layers and convolutions with any activation, batch
    normalization, residual sums (channels that are tied go together), concatenations; units that a
    normalization over channels, attention heads or a recurrent layer count together stay. What rays
    are depends on the activation: neurons that are multiples of each other are one feature where it
    is positively homogeneous, and only equal ones (mirrored ones, where it is odd) elsewhere.

    Which units join is decided by a budget that rises over the epochs: the cheapest merges first,
    until a share of the units, FLOPs or parameters is left; or by an `angle`, for networks that
    weight decay turns towards a few rays anyway.

    Its place in the list of callbacks does not matter: from the last batch of each epoch, thus
    before validation, to the first of the next, the model holds the aligned weights, so what
    `EarlyStopping` restores and `ModelCheckpoint` saves is aligned. In the epochs between two snaps
    training then goes on from the weights that it had.

    The number of rays of each layer goes into the logs as `rays_1`, `rays_2`, …, after each epoch,
    numbered as layers are computed; layers that a residual sum ties count once.

    Args:
        angle: radians up to which a unit belongs to a ray, instead of a budget. The function moves
            by the order of it at a snap, and training goes on from there; a greater angle ends with
            fewer rays and, beyond some point, a higher loss.
        every: epochs (iterations in `training.fit`) after which training itself goes on from the
            aligned weights; by default 50 with an angle, and else a tenth of the rise.
        negligible: with an angle, the share of a layer's largest ‖w‖‖v‖ up to which a unit is set
            to zero.
        units, flops, parameters: the share that may stay, one of them; by default units=0.5.
        rise: share of the epochs over which the budget rises; the others recover.
        data: inputs, an array or a list of one a model input, of which 1000 are used: units are
            then as near as what they compute on them, instead of as their weights. It takes a pass
            over them after each epoch.

    Raises:
        InputError: an argument out of range, or several targets; or (when training begins) no layer
            of the model can lose units; what prevents it is named.

    Example:
    >>> from keras_l2feat import models, training
    >>> model = models.mlp(784, (30, 30), 3, lam=1e-2)
    >>> aligned = AlignNeurons(angle=0.1)
    >>> fitted = training.fit(model, "mnist-789-42", callbacks=[aligned], iterations=200)
    >>> fitted.history["rays_1"][-1] < 30
    True
    """

    def __init__(
        self,
        angle: float | None = None,
        every: int | None = None,
        negligible: float = 1e-4,
        *,
        units: float | None = None,
        flops: float | None = None,
        parameters: float | None = None,
        rise: float = 0.5,
        data: object = None,
    ) -> None:
        super().__init__()
        require_counts(every=every)
        require(0 < rise <= 1, "rise", "a share above 0 and of at most 1", rise)
        shares = {"units": units, "flops": flops, "parameters": parameters}
        given = {name: share(name, value) for name, value in shares.items() if value is not None}
        if len(given) + (angle is not None) > 1:
            names = [*given, *(["angle"] if angle is not None else [])]
            raise InputError(f"One target is expected. Received: {', '.join(names)}.")
        for name, value in given.items():
            require(value <= 1, name, "a share of at most 1 or 100%", shares[name])
        self.angle, self.every, self.negligible, self.rise = angle, every, negligible, rise
        self.target = next(iter(given.items()), ("units", 0.5)) if angle is None else None
        self.data = None if data is None else _spread(keras.tree.flatten(data))
        self._rays: tuple = ()
        self._batches: int | None = None
        self._seen: int | None = None
        self._epoch = 0
        self._held: list = []  # labels of the groups that training goes on with
        self._raw = None  # the weights to go on from, while others see aligned ones
        self._aligned = set()  # digests of all weights that were shown: a callback may restore them

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._graph = read(self.model)
        found = sites(self._graph)
        if not any(len(site.units) > 1 for site in found):
            reasons = "".join(f" {n!r}: {why}." for n, why in self._graph.barriers.items())
            raise InputError(f"Model {self.model.name!r} has no units that could join.{reasons}")
        self._rays = counted(self._labels(found))
        self._batches, self._seen, self._held = self.params.get("steps"), None, []
        epochs = self.params.get("epochs") or 1
        tenth = max(1, round(self.rise * epochs / STEPS))
        self._period = self.every or (tenth if self.angle is None else EVERY)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        self._hide()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._seen = batch + 1
        if self._held and self._seen % HOLD == 0:
            self._make_equal(self._held, self._optimizer)
        if self._batches is not None and self._seen >= self._batches:
            self._show()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._show()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._batches = self._batches or self._seen  # a generator's number shows only now
        if self._seen or self._settles:
            self._show()
        if logs is not None:
            logs.update({f"rays_{layer}": count for layer, count in enumerate(self._rays, start=1)})

    def on_train_end(self, logs: dict | None = None) -> None:
        self._show(settle=True)

    @property
    def _settles(self):
        """Whether training goes on from what is shown at the end of this epoch."""
        return (self._epoch + 1) % self._period == 0

    def _labels(self, found):
        """Which units join at the end of this epoch."""
        if self.data is not None:
            found = on_data(self._graph, found, self.data)
        if self.target is None:
            return within_angle(found, self.angle, self.negligible)
        size, left = self.target
        done = min(1.0, (self._epoch + 1) / max(1.0, self.rise * (self.params.get("epochs") or 1)))
        # quickly at first, as long as there is much that is cheap [Zhu and Gupta 2017]
        return within_budget(self._graph, found, size, left + (1 - left) * (1 - done) ** 3)

    def _show(self, settle=False):
        """Put aligned weights into the model, unless those it has came from here."""
        settle = settle or self._settles
        raw = self.model.get_weights()
        if _digest(raw) not in self._aligned:
            if self.angle is not None:  # where weights decay, this is free progress
                balance_units(self._graph)
            labels = self._labels(sites(self._graph))
            self._make_equal(labels, self._optimizer if settle else None)
            self._rays, self._raw = counted(labels), raw
            self._aligned.add(_digest(self.model.get_weights()))
            if settle:
                self._held = labels
        if settle:
            self._raw = None

    @property
    def _optimizer(self):
        return getattr(self.model, "optimizer", None)

    def _make_equal(self, labels, optimizer):
        make_copies(self._graph, list(zip(sites(self._graph), labels)), optimizer)

    def _hide(self):
        """Go on from the weights before the last `_show`, unless another callback has put others
        there."""
        if self._raw is not None and _digest(self.model.get_weights()) in self._aligned:
            self.model.set_weights(self._raw)
        self._raw = None


def _spread(arrays):
    """At most `POINTS` points, evenly."""
    count = len(arrays[0])
    chosen = np.linspace(0, count - 1, min(count, POINTS)).astype(int)
    return [np.asarray(array)[chosen] for array in arrays]


def _digest(arrays) -> bytes:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()
