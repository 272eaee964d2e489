"""The closed forms of removal are least squares, and the order takes what costs nothing first."""

import numpy as np
import pytest

from keras_l2feat.pruning.takeover.removal import Problem, fitted, fitted_rows, removal_order


def problem(x, kernel, blocks=1, ridge=1e-12):
    columns = np.arange(x.shape[1]).reshape(blocks, -1).T
    return Problem(x.T @ x / len(x), kernel, columns, ridge)


def left_error(x, kernel, columns):
    """What no kernel on the other columns can avoid."""
    others = np.delete(x, columns, axis=1)
    target = x @ kernel
    best = np.linalg.lstsq(others, target, rcond=None)[0]
    return ((others @ best - target) ** 2).sum() / len(x)


@pytest.mark.parametrize("blocks", [1, 3])
def test_costs_are_those_of_least_squares_without_the_units(blocks):
    random = np.random.default_rng(0)
    x = random.standard_normal((400, 18)) @ random.standard_normal((18, 18))
    kernel = random.standard_normal((18, 4))
    one = problem(x, kernel, blocks)
    order, costs = removal_order([one])
    assert sorted([*order, *np.setdiff1d(np.arange(18 // blocks), order)]) == [*range(18 // blocks)]
    for count in (1, 2, len(order)):
        gone = one.columns[order[:count]].reshape(-1)
        assert costs[:count].sum() == pytest.approx(left_error(x, kernel, gone), rel=1e-5)
    singles = [left_error(x, kernel, one.columns[unit]) for unit in range(18 // blocks)]
    assert order[0] == np.argmin(singles)


def test_batches_lose_next_to_nothing_against_one_at_a_time():
    random = np.random.default_rng(1)
    x = random.standard_normal((3000, 90)) @ random.standard_normal((90, 90))
    kernel = random.standard_normal((90, 3))
    costs = removal_order([problem(x, kernel)])[1]
    left, slow = list(range(90)), []  # a cost may fall when another goes: orders differ a little
    gram = x.T @ x / len(x)
    while len(left) > 1:
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        best = np.linalg.lstsq(gram[np.ix_(left, left)], gram[left] @ kernel, rcond=None)[0]
        cost = (best**2).sum(axis=1) / np.diag(inverse)
        slow.append(float(cost.min()))
        left.pop(int(cost.argmin()))
    assert (np.cumsum(costs) <= 1.1 * np.cumsum(slow)).all()
    assert (costs >= 0).all()


def test_dead_constant_aligned_and_dependent_units_cost_nothing_and_go_first():
    random = np.random.default_rng(2)
    x = np.maximum(random.standard_normal((500, 8)), 0)
    x[:, 1] = 0.0
    x[:, 3] = 2.5 * x[:, 2]
    x[:, 5] = x[:, 4] + x[:, 6] - 0.5 * x[:, 7]
    x = np.column_stack([x, np.ones(len(x))])
    x[:, 0] = 4.0
    kernel = random.standard_normal((9, 3))
    columns = np.arange(8).reshape(8, 1)
    order, costs = removal_order([Problem(x.T @ x / 500, kernel, columns, 1e-12)])
    first = set(order[:4].tolist())
    assert {0, 1} < first
    assert len(first & {2, 3}) == 1
    assert len(first & {4, 5, 6, 7}) == 1
    assert costs[:4].sum() < 1e-9 < 1e-4 < costs[4]


def test_of_two_readers_both_count():
    random = np.random.default_rng(3)
    x = random.standard_normal((200, 2))
    first, second = np.array([[1.0], [0.1]]), np.array([[0.0], [5.0]])
    assert removal_order([problem(x, first)])[0] == [1]
    assert removal_order([problem(x, first), problem(x, second)])[0] == [0]


def test_a_fit_keeps_what_the_data_say_nothing_about():
    random = np.random.default_rng(4)
    x = random.standard_normal((50, 4))
    x[:, 3] = 0.0
    kernel = random.standard_normal((4, 2))
    wanted = random.standard_normal((4, 2))
    new = fitted(x.T @ x, x.T @ (x @ wanted), kernel, 1e-10)
    assert np.allclose(new[:3], wanted[:3], atol=1e-6)
    assert np.allclose(new[3], kernel[3], atol=1e-6)


@pytest.mark.parametrize(("blocks", "constant"), [(1, 0), (4, 0), (3, 1)])
def test_fewer_rows_than_columns_do_without_a_matrix_of_all_columns(blocks, constant):
    """The same units go at the same costs, and the same kernels are fitted."""
    random = np.random.default_rng(5)
    x = np.maximum(random.standard_normal((40, 120 + constant)), -0.5)
    x[:, 120:] = 1.0
    kernel = random.standard_normal((120 + constant, 7))
    columns = np.arange(120).reshape(blocks, -1).T
    one, other = (removal_order([Problem(seen, kernel, columns, 1e-6)]) for seen in (x, x.T @ x))
    assert np.array_equal(one[0], other[0])
    assert np.allclose(one[1], other[1], rtol=1e-5)
    assert one[1][: len(one[1]) // 2].sum() < 1e-3 * one[1].sum()
    target = random.standard_normal((40, 7))
    found = fitted_rows(x, target, kernel, 1e-6)
    assert np.allclose(found, fitted(x.T @ x, x.T @ target, kernel, 1e-6), atol=1e-6)
    assert np.abs(x @ found - target).max() < 1e-3


def test_places_that_nobody_else_sees_may_go_with_units_that_nobody_reads():
    """What is left of the rows is singular but for the ridge."""
    random = np.random.default_rng(6)
    x = np.zeros((30, 80))
    x[:20, :40] = random.standard_normal((20, 40))
    x[20:, 40:] = random.standard_normal((10, 1)) * random.uniform(1, 2, 40)
    kernel = random.standard_normal((80, 3))
    kernel[40:] = 0.0
    order, costs = removal_order([Problem(x, kernel, np.arange(80).reshape(80, 1), 1e-15)])
    assert set(order[:40].tolist()) == set(range(40, 80))
    assert np.isfinite(costs).all()
    assert (costs[:40] == 0).all()
