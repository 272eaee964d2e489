"""What a channel computes: the thirteen kinds of operation of a channel graph, and the tensors
between them.

`interpret` gives them a meaning; nothing here knows of layers.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import Scaling

__all__ = [
    "KERNELS",
    "Affine",
    "Attend",
    "Concat",
    "Depthwise",
    "Linear",
    "Map",
    "Normalize",
    "Op",
    "Pass",
    "Product",
    "Recurrent",
    "Source",
    "Spread",
    "Sum",
    "Tensor",
]


Weights = Callable[[], np.ndarray]  # read when they are asked for


@dataclass(eq=False)
class Tensor:
    """A tensor between layers: `shape` with the batch first, its channel `axis`, and the unit of
    each position. `number` is the place of the operation that computes it in `Graph.ops`."""

    shape: tuple
    axis: int
    units: np.ndarray
    number: int = -1

    @property
    def places(self) -> int:
        """How many places have each channel, for one point; unknown sizes count as 1."""
        inner = (n for axis, n in enumerate(self.shape) if axis not in (0, self.axis))
        return math.prod(n or 1 for n in inner)


@dataclass(eq=False)
class Op:
    """`out` is computed from `inputs` (both `Tensor`s); `layer`: by which one, where known."""

    inputs: list
    out: Tensor
    layer = ""


@dataclass(eq=False)
class Source(Op):
    """Channels about which nothing is known, except perhaps a Lipschitz constant in the maximum
    norm (softmax)."""

    lipschitz: float | None = None


@dataclass(eq=False)
class Linear(Op):
    """out[o] = Σ_{tap, i} kernel[tap, i, o] · (input i seen through tap) + bias[o].

    `geometry` is `None` where there is one tap that sees the input as it is; `folds`: a constant
    input is a constant added to the output. `reader` names the axis that reads; `None` where the
    inputs are no tensor (an embedding).
    """

    stored: Weights  # () -> the kernel, to read only, in float32 where its weight is
    bias: Weights | None  # () -> (outputs,) float64
    geometry: Hashable = None
    folds: bool = True
    reader: str | None = None
    weights: int = 0  # of the kernel

    def kernel(self) -> np.ndarray:
        """(taps, inputs, outputs) float64."""
        return np.asarray(self.stored(), dtype=np.float64)


@dataclass(eq=False)
class Depthwise(Op):
    """out[c·m + k] = Σ_tap kernel[tap, c, k] · (input c seen through tap) + bias[c·m + k]."""

    kernel: Weights  # () -> (taps, channels, multiplier) float64
    bias: Weights | None
    geometry: Hashable
    folds: bool
    weights: int = 0


@dataclass(eq=False)
class Affine(Op):
    """out[c] = scale[c] · input[c] + shift[c]."""

    # () -> (scale, shift, magnitude of the terms of shift), each (channels,) float64
    coefficients: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]
    # (layer, index of the mean, of the variance, epsilon) of a normalization
    statistics: tuple | None = None


@dataclass(eq=False)
class Map(Op):
    """out[c] = f(inputs[0][c], inputs[1][c], ...), f commuting with the rescalings of `scaling`.

    `tag` tells functions apart; `labels` (channels,), where given, are equal for channels with the
    same f; `function` gives f of constants, (channels,) float64 to the same, `None` where a
    constant does not stay one.
    """

    scaling: Scaling
    tag: tuple
    labels: np.ndarray | None = None
    function: Callable[[np.ndarray], np.ndarray] | None = None
    slope: float = 1.0  # Lipschitz constant where there is no function


@dataclass(eq=False)
class Pass(Op):
    """out[c] = P(input[c]) with P linear and the same for all channels; `tag` is `None` for the
    identity."""

    tag: Hashable = None
    constants: bool = True  # P(1) = 1


@dataclass(eq=False)
class Normalize(Op):
    """out[c] = g_k · (input[c] - m_k), k = group[c], with g and m functions of all channels of the
    group, all of which have to be there; m is 0 unless `centered`."""

    group: np.ndarray
    centered: bool

    @property
    def tag(self) -> tuple:
        """What tells its functions from those of other calls."""
        return "normalize", self.out.number


@dataclass(eq=False)
class Sum(Op):
    """out[c] = Σ_i weights[i] · inputs[i][c]."""

    weights: tuple = ()


@dataclass(eq=False)
class Product(Op):
    """out[c] = Π_i inputs[i][c]."""


@dataclass(eq=False)
class Concat(Op):
    """Channels side by side."""


@dataclass(eq=False)
class Spread(Op):
    """Position p of `out` is channel `channel[p]` at place `place[p]`."""

    tag: tuple
    channel: np.ndarray
    place: np.ndarray


@dataclass(eq=False)
class Attend(Op):
    """out[c](i) = Σ_j A_h(i, j) · inputs[2][channel[c]](j), with h = head[c] and A_h the softmax
    over j of scale · Σ_d query_hd(i) · key_hd(j). `inputs[3:]` say what is masked.

    query_h and key_h are linear in `inputs[0]` and `inputs[1]`, and nobody else sees them: only
    their products count, so a dimension that depends linearly on others can go on either side.
    """

    query: Weights  # () -> (inputs and a row for the bias, query heads, dims) float64
    key: Weights  # () -> (inputs and a row for the bias, key heads, dims) float64
    channel: np.ndarray
    head: np.ndarray
    reads: tuple  # names of the readers of `inputs[0]` and `inputs[1]`
    units: np.ndarray  # (key heads, dims), those of the dimensions of queries and keys
    keys: tuple  # names of readers, of what reads the keys' dimensions: weights of the queries
    queries: tuple  # the reverse
    scale: float
    constants: bool  # Σ_j A_h(i, j) = 1 for all i: no position is masked for all others
    weights: int = 0

    @property
    def tag(self) -> tuple:
        """What tells its patterns from those of other calls."""
        return "attend", self.out.number


@dataclass(eq=False)
class Recurrent(Op):
    """State by state, out(t) = F(G, out(t - 1)), with G[tap, o] = Σ_i kernel[tap, i, o] · z[i] and
    z the input at t, out(t - 1) and 1, side by side. F treats all channels o alike, each by itself,
    and commutes with the rescalings of `scaling` of the taps of `signed` and out(t - 1) together.
    out(0) = 0."""

    kernel: Weights  # () -> (taps, inputs + outputs + 1, outputs) float64
    signed: np.ndarray  # (taps,) bool
    scaling: Scaling
    reader: str
    again: str  # name of the reader of out(t - 1)
    rests: bool  # F is 0 as long as the taps of `signed` are
    weights: int = 0

    @property
    def tag(self) -> tuple:
        """What tells its taps from those of other layers."""
        return "recurrent", self.reader


KERNELS = Linear, Depthwise, Attend, Recurrent  # operations that multiply with weights
