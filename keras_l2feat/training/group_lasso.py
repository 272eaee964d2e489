"""The best outgoing weights of fixed neurons: a group lasso, by Newton's method on a smoothed norm
(NumPy)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.types import Cost

__all__ = ["group_lasso"]

SHRINK = 0.2  # of the smoothing from stage to stage
STAGES = 13  # 0.2^13 = 8e-10: the part of C(0) that the smoothing may add to the minimum
STEPS = 12  # Newton steps a stage; two or three are usual


def group_lasso(
    atoms: np.ndarray,
    y: ArrayLike,
    lam: float,
    *,
    outputs: int,
    cost: Cost = "squared",
    beta: float = 0.0,
) -> tuple:
    """min C(Φ V + β 1 bᵀ) + 2λ Σ_i ‖v_i‖ + λ‖b‖².

    ‖v‖ is smoothed to √(‖v‖² + ε²), ε is lowered in stages and the minimum followed by damped
    Newton steps, each a dense system of all m·k unknowns.

    Args:
        atoms: Φ, (N, m).
        y: targets, as for `costs.cost_with_gradient`.
        lam: λ > 0.
        outputs: k.
        cost: "squared" or "crossentropy".
        beta: amount of bias β.

    Returns: V (m, k) and b (1, k), or b (0, k) when β = 0. Groups that vanish at the minimum are
        tiny, not 0.
    """
    atoms = np.asarray(atoms, dtype=np.float64)
    points, count = atoms.shape
    with_gradient = cost_with_gradient(cost)
    design = np.concatenate([atoms, np.full((points, int(beta > 0)), beta)], axis=1)
    # Σ‖v_i‖ is at most C(0) / 2λ
    epsilon = max(
        with_gradient(np.zeros((points, outputs)), y)[0] / (2 * lam * max(count, 1)), 1e-300
    )
    theta = np.zeros((design.shape[1], outputs))

    def value_and_gradient(theta, epsilon):
        value, upstream = with_gradient(design @ theta, y)
        groups, bias = theta[:count], theta[count:]
        rho = np.sqrt(np.sum(groups**2, axis=1, keepdims=True) + epsilon**2)
        value += 2 * lam * float(rho.sum()) + lam * float(np.vdot(bias, bias))
        gradient = design.T @ upstream
        gradient[:count] += 2 * lam * groups / rho
        gradient[count:] += 2 * lam * bias
        return value, gradient, rho

    for stage in range(STAGES):
        settled = 1e-13 if stage == STAGES - 1 else 1e-3 * SHRINK**stage
        value, gradient, rho = value_and_gradient(theta, epsilon)
        for _ in range(STEPS):
            hessian = _curvature(design, theta, cost)
            _add_penalty(hessian, theta[:count], rho, lam, outputs)
            step = _solve(hessian, -gradient.ravel()).reshape(theta.shape)
            slope = float(np.vdot(step, gradient))
            length = 1.0
            while length > 1e-8:
                trial = value_and_gradient(theta + length * step, epsilon)
                if trial[0] <= value + 1e-4 * length * slope:
                    break
                length /= 2
            else:
                break
            theta = theta + length * step
            value, gradient, rho = trial
            if -slope <= settled * abs(value):
                break
        # a group that vanishes does so in proportion to ε: follow it
        small = np.linalg.norm(theta[:count], axis=1) < 3 * epsilon
        theta[:count][small] *= SHRINK
        epsilon *= SHRINK
    return theta[:count], theta[count:]


def _curvature(design, theta, cost):
    """The Hessian of C(design @ θ) in θ, (m·k, m·k), θ flattened by rows."""
    points, rows = design.shape
    outputs = theta.shape[1]
    hessian = np.zeros((rows, outputs, rows, outputs))
    if cost == "squared":
        gram = (2 / points) * design.T @ design
        for k in range(outputs):
            hessian[:, k, :, k] = gram
    else:
        z = design @ theta
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        for j in range(outputs):
            for k in range(j + 1):
                weight = p[:, j] * ((j == k) - p[:, k]) / points
                hessian[:, j, :, k] = hessian[:, k, :, j] = (design * weight[:, None]).T @ design
    return hessian.reshape(rows * outputs, rows * outputs)


def _add_penalty(hessian, groups, rho, lam, outputs):
    """Add the Hessian of 2λ Σ √(‖v‖² + ε²) + λ‖b‖² in place."""
    count = len(groups)
    unit = groups / rho
    blocks = 2 * lam / rho[:, :, None] * (np.eye(outputs) - unit[:, :, None] * unit[:, None, :])
    view = hessian.reshape(-1, outputs, len(hessian) // outputs, outputs)
    index = np.arange(count)
    view[index, :, index, :] += blocks
    bias = np.arange(count * outputs, len(hessian))
    hessian[bias, bias] += 2 * lam


def _solve(matrix, right):
    try:
        return linalg.cho_solve(
            linalg.cho_factor(matrix, check_finite=False), right, check_finite=False
        )
    except linalg.LinAlgError:  # parallel atoms, no longer told apart by a penalty near its kink
        shift = 1e-12 * np.trace(matrix) / len(matrix)
        return linalg.solve(
            matrix + shift * np.eye(len(matrix)), right, assume_a="sym", check_finite=False
        )
