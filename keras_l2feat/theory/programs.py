"""Two-layer networks as convex programs, once it is fixed on which points each neuron is active.

With σ linear on a cell (diagonal D of slopes, cone {w : sign_i a_i·w ≥ 0}) a group of neurons there
counts only through U = Σ w_i v_iᵀ (d, k), at cost 2λ‖U‖_cone, ‖U‖_cone = min {Σ ‖w_i‖ ‖v_i‖ : w_i
in the cone}: a nuclear norm whose left factors are kept in the cone. Two programs follow.

`solve_columns`: one outgoing direction v per column leaves U = u vᵀ and the norm ‖u‖: a
second-order cone program, complete for scalar outputs (v = ±1). [Pilanci and Ergen 2020; the
program of a region in "Benignity of loss landscape with weight decay" 2025]

`solve_matrices`: all v at once. ‖U‖_cone = ½ min tr(R X Rᵀ) + tr(Y) over U = R S, [[X, S], [Sᵀ, Y]]
completely positive over nonnegative × free vectors, R the rays of a simplicial cone. For at most 4
rays that is: positive semi-definite with X ≥ 0 entrywise, since copositive matrices of order 4 are
sums of a semi-definite and a nonnegative one [Diananda 1962]. So it is exact for points of rank up
to 4, and a lower bound beyond. [cf. Sahiner et al. 2021]
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from keras_l2feat.activations import slopes
from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import CheckFailed, InputError, require
from keras_l2feat.objectives import Problem
from keras_l2feat.theory.patterns import Cones

__all__ = ["ColumnSolution", "import_extra", "solve_columns", "solve_matrices"]

# relative, asked of the interior point solver; what it reaches is measured by the certificate
ACCURACY = 1e-9


def import_extra(name: str) -> ModuleType:
    """Import `clarabel` or `cvxpy`, which come with the extra `conic`."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"Convex programs need {name!r}, which is not installed. Install it with: pip "
            "install 'keras-l2feat[conic]'"
        ) from None


@dataclass(frozen=True)
class ColumnSolution:
    """The minimum of the program of some columns.

    Attributes:
        value: C + 2λ Σ‖u_c‖ + λ‖b‖², by the program.
        u: (C, d), what each column's neuron is, norm included.
        bias: (k,), b; zeros for β = 0.
        outputs: (N, k).
        gradient: (N, k), ∂C/∂Z there, by the program's dual; for "exact" the multipliers of the
            fit.
    """

    value: float
    u: np.ndarray
    bias: np.ndarray
    outputs: np.ndarray
    gradient: np.ndarray


def solve_columns(
    problem: Problem, signs: ArrayLike, outgoing: ArrayLike, *, exact: bool = False
) -> ColumnSolution:
    """min C(Σ_c D_c A u_c v_cᵀ + β 1 bᵀ) + 2λ Σ_c ‖u_c‖ + λ‖b‖² over u_c in the cone of its cell.

    Args:
        problem: λ > 0; A (N, d) is [x, β·1]; the cost is "squared" or "crossentropy".
        signs: (C, N) ±1 (0: the point's side does not matter), one row a column.
        outgoing: (C, k) unit vectors v_c.
        exact: the outputs have to be the targets: C = 0 there, else ∞.

    Raises:
        InputError: Clarabel is not installed, or the cost is unknown.
        CheckFailed: the solver found no solution.
    """
    clarabel = import_extra("clarabel")
    signs, outgoing = (np.asarray(value, dtype=np.float64) for value in (signs, outgoing))
    a, lam, beta = problem.augmented, problem.lam, problem.beta
    (points, d), (columns, outputs) = a.shape, outgoing.shape
    sides = _slopes(problem, signs)
    # Variables: u (C·d), t (C), bias (k), z (N·k), and what the cost needs.
    u, t = columns * d, columns
    bias = outputs if beta > 0 else 0
    z = points * outputs
    linear = np.einsum("cn,nd,ck->nkcd", sides, a, outgoing).reshape(z, u)
    to_bias = np.kron(np.ones((points, 1)), beta * np.eye(outputs))[:, :bias]
    fit = [sparse.csc_matrix(linear), sparse.csc_matrix((z, t)), to_bias, -sparse.eye(z)]
    rows = [sparse.hstack(fit)]
    right, cones = [np.zeros(z)], [clarabel.ZeroConeT(z)]
    known = u + t + bias

    walls = sparse.csc_matrix((0, 0))
    if columns:
        walls = sparse.block_diag([-sign[:, None] * a for sign in signs])
    rows.append(_at(walls, 0, known + z))
    right.append(np.zeros(columns * points))
    cones.append(clarabel.NonnegativeConeT(columns * points))
    # as Ax + s = 0, s = x_j: of each column its norm, then what it is the norm of
    order = np.column_stack([u + np.arange(columns), np.arange(u).reshape(columns, d)]).ravel()
    rows.append(-sparse.eye(known + z, format="csr")[order])
    right.append(np.zeros(columns * (d + 1)))
    cones += [clarabel.SecondOrderConeT(d + 1)] * columns

    cost = "exact" if exact else problem.cost
    quadratic, objective, more, more_right, more_cones, constant = _cost_block(
        clarabel, cost, problem.y, points, outputs, known
    )
    extra = len(objective) - known - z
    objective[u : u + t] = 2 * lam
    quadratic[u + t : known] = 2 * lam
    matrix = sparse.vstack(
        [sparse.hstack([block, sparse.csc_matrix((block.shape[0], extra))]) for block in rows]
        + more
    )
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = ACCURACY
    answer = clarabel.DefaultSolver(
        sparse.diags(quadratic).tocsc(),
        objective,
        sparse.csc_matrix(matrix),
        np.concatenate(right + more_right),
        cones + more_cones,
        settings,
    ).solve()
    if "Solved" not in str(answer.status) and "InsufficientProgress" not in str(answer.status):
        raise CheckFailed(f"The convex program was not solved: {answer.status}.")
    x = np.array(answer.x)
    return ColumnSolution(
        float(answer.obj_val) + constant,
        x[:u].reshape(columns, d),
        x[u + t : known] if bias else np.zeros(outputs),
        x[known : known + z].reshape(points, outputs),
        np.array(answer.z)[:z].reshape(points, outputs),
    )


def _slopes(problem, signs):
    """σ' on each point by its side; 0 where the side does not matter."""
    below, above = slopes(problem.activation)
    return np.where(signs > 0, above, np.where(signs < 0, below, 0.0))


def _at(block, offset, width):
    """A sparse block placed at columns `offset` of a matrix that is `width` wide."""
    block = sparse.coo_matrix(block)
    return sparse.csc_matrix(
        (block.data, (block.row, block.col + offset)), shape=(block.shape[0], width)
    )


def _cost_block(clarabel, cost, y, points, outputs, known):
    """Quadratic and linear objective, constraints and constant of the data term of z (N·k), which
    starts at `known`."""
    z = points * outputs
    if cost == "squared":
        y = np.reshape(np.asarray(y, dtype=np.float64), (points, outputs))
        quadratic, objective = np.zeros(known + z), np.zeros(known + z)
        quadratic[known:] = 2 / points
        objective[known:] = -2 / points * y.ravel()
        return quadratic, objective, [], [], [], float(np.vdot(y, y)) / points
    if cost == "exact":
        zeros, fit = np.zeros(known + z), _at(sparse.eye(z), known, known + z)
        targets = np.ravel(np.asarray(y, dtype=np.float64))
        return zeros, zeros.copy(), [fit], [targets], [clarabel.ZeroConeT(z)], 0.0
    require(cost == "crossentropy", "cost", "'squared', 'crossentropy' or 'exact'", cost)
    # log Σ_k exp z_ik ≤ m_i  ⇔  Σ_k e_ik ≤ 1 and (z_ik − m_i, 1, e_ik) in the exponential cone
    labels = np.asarray(y, dtype=np.int64)
    width = known + z + points + z
    m, e = known + z, known + z + points
    quadratic, objective = np.zeros(width), np.zeros(width)
    objective[m:e] = 1 / points
    objective[known + np.arange(points) * outputs + labels] -= 1 / points
    sums = _at(sparse.kron(sparse.eye(points), np.ones((1, outputs))), e, width)
    entry, point = np.arange(z), np.repeat(np.arange(points), outputs)
    shape = (3 * z, width)
    cone = sparse.csc_matrix((-np.ones(z), (3 * entry, known + entry)), shape=shape)
    cone += sparse.csc_matrix((np.ones(z), (3 * entry, m + point)), shape=shape)
    cone += sparse.csc_matrix((-np.ones(z), (3 * entry + 2, e + entry)), shape=shape)
    cones = [clarabel.NonnegativeConeT(points)] + [clarabel.ExponentialConeT()] * z
    right = [np.ones(points), np.tile([0.0, 1.0, 0.0], z)]
    return quadratic, objective, [sums, cone], right, cones, 0.0


def solve_matrices(problem: Problem, cones: Cones) -> float:
    """The least loss over all neurons in given cells and all outgoing weights, by semi-definite
    programming.

    Args:
        problem: as for `solve_columns`; exact for [x, β·1] of rank ≤ 4, otherwise a lower bound.
        cones: `patterns.Cones` of [x, β·1].

    Returns: C + 2λ Σ‖U‖_cone + λ‖b‖².

    Raises:
        InputError: CVXPY or Clarabel is not installed.
        CheckFailed: the solver found no solution.
    """
    import_extra("clarabel")
    cp = import_extra("cvxpy")
    a, lam, beta = problem.augmented, problem.lam, problem.beta
    points, outputs, labels = len(a), problem.data.outputs, problem.y
    cost_with_gradient(problem.cost)  # refuses a cost without a program
    z, norm, constraints = 0, 0, []
    for sign, group in zip(cones.signs, cones.generators, strict=True):
        side = _slopes(problem, sign)
        for rays in group:
            count = rays.shape[1]
            moment = cp.Variable((count + outputs, count + outputs), PSD=True)
            constraints.append(moment[:count, :count] >= 0)
            z = z + (side[:, None] * (a @ rays)) @ moment[:count, count:]
            norm = norm + cp.sum(cp.multiply(rays.T @ rays, moment[:count, :count]))
            norm = norm + cp.trace(moment[count:, count:])
    penalty = lam * norm
    if beta > 0:
        bias = cp.Variable((1, outputs))
        z = z + beta * np.ones((points, 1)) @ bias
        penalty = penalty + lam * cp.sum_squares(bias)
    if problem.cost == "squared":
        data = cp.sum_squares(z - np.reshape(labels, (points, outputs))) / points
    else:
        chosen = np.eye(outputs)[labels]
        data = (cp.sum(cp.log_sum_exp(z, axis=1)) - cp.sum(cp.multiply(chosen, z))) / points
    program = cp.Problem(cp.Minimize(data + penalty), constraints)
    program.solve(solver=cp.CLARABEL)
    if program.status not in {"optimal", "optimal_inaccurate"}:
        raise CheckFailed(f"The convex program was not solved: {program.status}.")
    return float(program.value)
