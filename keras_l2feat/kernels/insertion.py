"""Which neuron could be inserted: the maximum of s(w) = ‖Gᵀ σ(A w)‖ over the unit sphere.

Legend: A (N, n) the activations that feed a layer (bias column included), G (N, k) the gradient of
the data term with respect to what the layer feeds, w (n) a new neuron's incoming weights. To second
order a new neuron (w, v) changes the loss by ⟨G, σ(A w) vᵀ⟩ + λ(‖w‖² + ‖v‖²), so it can lower it
iff s(w) > 2λ for some unit w; v is then along −Gᵀσ(A w). σ is positively homogeneous: slope p on
the right of 0, q on the left.

The sphere in w is the ellipsoid xᵀ(A Aᵀ)⁺x = 1 in x = A w: the linear oracle of the covariance form
is this one with G = −2λM, M = (K^σ)⁺Z, and where only a matrix K^σ is known, a factor A of it
serves. [Jacot et al. 2022, §3.2]
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_l2feat.activations import slopes
from keras_l2feat.errors import bad_argument
from keras_l2feat.kernels import arrangement
from keras_l2feat.types import Tensor

__all__ = ["Enumeration", "InsertionMaximum", "enumerable", "insertion_ascent", "insertion_maximum"]

STARTS = 100  # the maximum found rises slowly (log-like) with their number on the networks tried
STEPS = 60
REFINED = 8  # how many of the best are refined in float64
ANNEALING = 2.0 ** (-1 / 10)  # the smoothing of the kinks halves every 10 steps
GROWTH, SHRINK = 1.1, 0.3  # of a start's step length, after progress and after none
REFINING = 0.01  # initial smoothing then
SAME = 0.999  # directions of a larger cosine (2.6 degrees) count as one
ENUMERATED = 5_000_000  # numbers up to which the maximum is enumerated: about a second


def insertion_ascent(
    g: Tensor,
    a: Tensor,
    starts: Tensor,
    *,
    positive: float = 1.0,
    negative: float = 0.0,
    steps: int | Tensor = STEPS,
    smoothing: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Ascend s(w) = ‖gᵀ σ(a w)‖ on the unit sphere from many starts at once.

    Projected ascent with momentum; each start keeps its own step length and accepts no step that
    lowers s, so s never falls. The maxima sit among many kinks, where plain ascent stops early:
    directions are taken from a σ whose kink is smoothed over `smoothing` times the root mean square
    of a w, halved every 10 steps (measured on mnist-1k: a maximum 1 to 4 % higher at the same
    cost). s itself is never smoothed.

    Args:
        g: (..., N, k) float32 or float64 tensor.
        a: (..., N, n) tensor.
        starts: (..., n, S) tensor, one start a column, of any norm; zero columns stay where they
            are, with score 0.
        positive: slope p of σ on the right of 0.
        negative: slope q on the left.
        steps: how many, a number or an integer tensor.
        smoothing: initial width of the smoothed kink; 0 for none.

    Returns: scores (..., S) and unit directions (..., n, S).
    """
    g, a, starts = (tf.convert_to_tensor(value) for value in (g, a, starts))
    tiny = np.finfo(a.dtype.as_numpy_dtype).tiny
    smallest = tf.constant(tiny**0.5, a.dtype)

    def norm(x):
        return tf.sqrt(tf.reduce_sum(tf.square(x), axis=-2, keepdims=True))

    def unit(w):
        return w / tf.maximum(norm(w), smallest)

    def evaluate(w, width):
        """s (..., 1, S) and its tangent ascent direction (..., n, S) at unit w."""
        z = tf.matmul(a, w)
        response = negative * z + (positive - negative) * tf.nn.relu(z)
        pulled = tf.matmul(g, response, transpose_a=True)
        score = norm(pulled)
        spread = tf.sqrt(tf.reduce_mean(tf.square(z), axis=-2, keepdims=True))
        side = tf.clip_by_value(0.5 + z / (2.0 * tf.maximum(width * spread, smallest)), 0.0, 1.0)
        force = tf.matmul(g, pulled / tf.maximum(score, smallest))
        gradient = tf.matmul(a, force * (negative + (positive - negative) * side), transpose_a=True)
        return score, gradient - w * tf.reduce_sum(w * gradient, axis=-2, keepdims=True)

    def step(k, w, score, ascent, velocity, length, age, width):
        moved = age / (age + 3.0) * velocity + length * ascent
        candidate = unit(w + moved)
        width = width * ANNEALING
        new_score, new_ascent = evaluate(candidate, width)
        better = new_score >= score
        zeros = tf.zeros_like(velocity)
        return (
            k + 1,
            tf.where(better, candidate, w),
            tf.maximum(new_score, score),
            tf.where(better, new_ascent, ascent),
            tf.where(better, moved, zeros),
            length * tf.where(better, tf.constant(GROWTH, a.dtype), tf.constant(SHRINK, a.dtype)),
            tf.where(better, age + 1.0, tf.zeros_like(age)),
            width,
        )

    w = unit(starts)
    width = tf.cast(smoothing, a.dtype)
    score, ascent = evaluate(w, width)
    length = 0.1 / tf.maximum(norm(ascent), smallest)
    velocity, age = tf.zeros_like(w), tf.zeros_like(score)
    state = (tf.constant(0), w, score, ascent, velocity, length, age, width)
    _, w, score, *_ = tf.while_loop(lambda k, *_: k < steps, step, state)
    return tf.squeeze(score, axis=-2), w


@functools.cache
def _compiled(dtype, negative, positive):
    """`insertion_ascent` traced once for every shape."""
    matrix = tf.TensorSpec((None, None), dtype)
    signature = [matrix, matrix, matrix, tf.TensorSpec((), tf.int32), tf.TensorSpec((), dtype)]

    def ascend(g, a, starts, steps, smoothing):
        return insertion_ascent(
            g, a, starts, positive=positive, negative=negative, steps=steps, smoothing=smoothing
        )

    return tf.function(ascend, input_signature=signature)


@dataclass(frozen=True)
class InsertionMaximum:
    """The best neurons to insert, best first.

    Attributes:
        scores: (K,) float64, s(w) of each.
        directions: (n, K) float64, unit incoming weights w, one a column.
        enumerated: whether `scores[0]` is the maximum over the whole sphere; else it is the best
            that a search found.
    """

    scores: np.ndarray
    directions: np.ndarray
    enumerated: bool

    @property
    def score(self) -> float:
        """The largest s(w)."""
        return float(self.scores[0])


def enumerable(a: ArrayLike, limit: int = ENUMERATED) -> bool:
    """Whether the maximum over the arrangement of `a` (N, n) is enumerated rather than searched."""
    rank = arrangement.row_space(a).shape[1] if min(np.shape(a)) <= 16 else 17
    return rank <= 16 and arrangement.face_numbers(len(a), rank) <= limit


def insertion_maximum(
    g: ArrayLike,
    a: ArrayLike,
    *,
    activation: str = "relu",
    live: np.ndarray | None = None,
    count: int = 1,
    starts: int = STARTS,
    steps: int = STEPS,
    method: str = "auto",
    seed: int = 0,
) -> InsertionMaximum:
    """The neurons of largest insertion score s(w) = ‖gᵀ σ(a w)‖, ‖w‖ = 1.

    Args:
        g: (N, k) array, ∂C/∂Z of the layer above.
        a: (N, n) array of the activations that feed the layer, bias column included.
        activation: name of a positively homogeneous σ.
        live: (n, m) array of incoming weights of the layer's neurons: starts of the search.
        count: the greatest number of distinct neurons to return.
        starts: starts of the search beside the live neurons.
        steps: steps of the search from each.
        method: "enumerate" (exact, see `Enumeration`), "search", or "auto": enumerate where that is
            quick.
        seed: of the starts.

    Returns: an `InsertionMaximum`.

    Raises:
        InputError: σ is not homogeneous, `method` is unknown, or an enumeration is out of reach.
    """
    if method not in {"auto", "enumerate", "search"}:
        raise bad_argument("method", "'auto', 'enumerate' or 'search'", method)
    g, a = (np.asarray(value, dtype=np.float64) for value in (g, a))
    if method == "enumerate" or (method == "auto" and enumerable(a)):
        return Enumeration(a, activation).maximum(g, count=count)
    return _search(g, a, activation, live, count, starts, steps, seed)


def _search(g, a, activation, live, count, starts, steps, seed):
    if a.shape[1] > len(a):  # what the points do not see only costs norm
        basis = arrangement.row_space(a)
        live = None if live is None else basis.T @ live
        found = _search(g, a @ basis, activation, live, count, starts, steps, seed)
        return replace(found, directions=basis @ found.directions)
    ascend = {dtype: _compiled(dtype, *slopes(activation)) for dtype in (tf.float32, tf.float64)}
    scales = [
        max(float(np.abs(value).max(initial=0.0)), np.finfo(np.float64).tiny) for value in (g, a)
    ]
    g, a = g / scales[0], a / scales[1]
    begin = _starts(a, live, starts, seed)
    scores, directions = ascend[tf.float32](
        *(value.astype(np.float32) for value in (g, a, begin)), steps, 1.0
    )
    best = distinct(scores.numpy(), directions.numpy(), max(count, REFINED))
    begin = directions.numpy()[:, best].astype(np.float64)
    scores, directions = ascend[tf.float64](g, a, begin, steps, REFINING)
    scores, directions = scores.numpy(), directions.numpy()
    best = distinct(scores, directions, count)
    return InsertionMaximum(scores[best] * scales[0] * scales[1], directions[:, best], False)


def _starts(a, live, count, seed):
    """Live neurons, and random combinations of the points, half of them centred."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((len(a), max(count, 1)))
    half = mixed.shape[1] // 2
    mixed[:, :half] -= mixed[:, :half].mean(axis=0)
    begin = a.T @ mixed
    parts = [begin] if live is None else [np.asarray(live, dtype=np.float64), begin]
    return np.concatenate(parts, axis=1)


def distinct(scores, directions, count):
    """Indices of the best `count` columns of `directions` (unit, or zero) of which no two are the
    same."""
    chosen = []
    for index in np.argsort(-scores, kind="stable"):
        if len(chosen) == count:
            break
        if not chosen or np.max(directions[:, index] @ directions[:, chosen]) < SAME:
            chosen.append(index)
    return np.array(chosen)


class Enumeration:
    """The exact maximum, by every sign pattern, for one `a` and any number of `g`.

    On a cell of the arrangement of the points, σ(a w) = T w is linear and s(w) = ‖gᵀT w‖ has its
    maximum over the sphere at the top singular vector. Over the cell it is there, if that lies in
    the cell, or else on a facet, where the same holds in one dimension less, down to the rays. The
    singular value bounds s on the cell, which spares most of the lower faces.

    Args:
        a: (N, n) float64 array; its rank r and N decide the cost, about
            `arrangement.face_numbers(N, r)` numbers.
        activation: name of a positively homogeneous σ.

    Raises:
        InputError: σ is not homogeneous, or there are too many faces.
    """

    def __init__(self, a: ArrayLike, activation: str = "relu") -> None:
        self.a = np.asarray(a, dtype=np.float64)
        negative, positive = slopes(activation)
        self._blocks = []
        for block in arrangement.faces(self.a):
            sides = np.where(block.signs > 0, positive, np.where(block.signs < 0, negative, 0.0))
            inside = np.matmul(self.a, block.bases)[block.flats]
            self._blocks.append((block.bases, block.flats, block.signs, inside * sides[:, :, None]))
        self._slack = arrangement.ANGLE * np.linalg.norm(self.a, axis=1)

    @property
    def cells(self) -> np.ndarray:
        """The sign vectors (P, N) of the arrangement's cells."""
        return self._blocks[0][2] if self._blocks else np.zeros((0, len(self.a)), dtype=np.int8)

    def maximum(self, g: ArrayLike, *, count: int = 1, above: float = np.inf) -> InsertionMaximum:
        """The best neurons for `g` (N, k): the maximum first, then maxima over other faces.

        Args:
            g: (N, k) array.
            count: the greatest number of distinct ones.
            above: go on to lower faces, though the maximum is known, as long as they may hold
                scores above this.

        Returns: an `InsertionMaximum`, `enumerated`.
        """
        scores, directions, best = [], [], 0.0
        for bases, flats, signs, linear in self._blocks:
            local, bounds = _top_singular(
                np.matmul(linear.transpose(0, 2, 1), np.asarray(g, dtype=np.float64))
            )
            candidates = np.matmul(bases[flats], local[:, :, None])[:, :, 0]
            heights = (candidates @ self.a.T) * signs
            ahead = (heights >= -self._slack).all(axis=1)
            behind = (heights <= self._slack).all(axis=1)
            inside = ahead | behind
            scores.append(bounds[inside])
            directions.append((candidates * np.where(ahead, 1.0, -1.0)[:, None])[inside])
            best = max(best, bounds[inside].max(initial=0.0))
            if bounds[~inside].max(initial=0.0) <= min(best, above):
                break
        if best == 0.0:  # no points, or no gradient: every neuron is a maximum
            return InsertionMaximum(np.zeros(1), np.eye(self.a.shape[1], 1), True)
        scores, directions = np.concatenate(scores), np.concatenate(directions).T
        chosen = distinct(scores, directions, count)
        return InsertionMaximum(scores[chosen], directions[:, chosen], True)


def _top_singular(matrices):
    """Top left singular vectors (P, d) and singular values (P,) of matrices (P, d, k)."""
    if matrices.shape[2] == 1:
        vectors = matrices[:, :, 0]
        values = np.linalg.norm(vectors, axis=1)
        return vectors / np.maximum(values, np.finfo(np.float64).tiny)[:, None], values
    left, values, _ = np.linalg.svd(matrices, full_matrices=False)
    return left[:, :, 0], values[:, 0]
